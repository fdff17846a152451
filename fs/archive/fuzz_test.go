package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime/metrics"
	"testing"

	"ssefs/crypto"
)

// allocated returns how many bytes were allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// checkReaders reads bytes as a backup in both ways, and checks what is promised for any bytes: no crash, no more memory than
// there is input, an error that says what it is, and that both ways say the same of what is accepted.
func checkReaders(t *testing.T, b []byte) {
	t.Helper()
	before := allocated()
	c, s, err := read(bytes.NewReader(b))
	// A listing shares prefixes: an entry of nine bytes has a key of up to 512, which is collected here.
	if got := allocated() - before; got > 8<<20+200*uint64(len(b)) {
		t.Fatalf("%d bytes allocated for %d", got, len(b))
	}
	l, listingErr := OpenListing(bytes.NewReader(b), int64(len(b)))
	var listed []Entry
	for listingErr == nil {
		var e Entry
		if e, listingErr = l.Next(); listingErr == nil {
			e.Key = bytes.Clone(e.Key)
			listed = append(listed, e)
		}
	}
	for _, err := range []error{err, listingErr} {
		known := false
		for _, want := range []error{nil, io.EOF, ErrFormat, ErrVersion, ErrTruncated, ErrDamaged} {
			known = known || errors.Is(err, want)
		}
		if !known {
			t.Fatalf("an error of its own: %v", err)
		}
	}
	if err != nil {
		return
	}
	if !errors.Is(listingErr, io.EOF) || len(listed) != len(c.listed) || !bytes.Equal(l.Marshal(), s.Marshal()) {
		t.Fatalf("its listing: %v", listingErr)
	}
	for i, e := range listed {
		if !equal(e, c.listed[i]) {
			t.Fatalf("entry %d is %+v and %+v", i, e, c.listed[i])
		}
	}
	// What it says can be said again, and then the digests of the parts are the same.
	key := testKey(t, 1)
	again, _ := c.write(t, key, 1<<30)
	c2, s2, err := read(bytes.NewReader(again))
	if err != nil {
		t.Fatalf("written again: %v", err)
	}
	same(t, c2, c)
	if s2.Listed != s.Listed || s2.Records != s.Records {
		t.Fatalf("written again it has %d and %d records, not %d and %d", s2.Listed, s2.Records, s.Listed, s.Records)
	}
}

// FuzzReader reads any bytes.
func FuzzReader(f *testing.F) {
	key := testKey(f, 1)
	for _, base := range []*Base{nil, {Version: 600, Tag: crypto.BackupTag{1}}} {
		b, _ := sampleOf(1, 5, []int{0, 3, 30}, base).write(f, key, 5)
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte(magic))
	f.Fuzz(checkReaders)
}

// FuzzFrames reads frames of any kinds and bodies whose checksums and digests are right, which bytes by chance never are. The
// input is a row of u8 kind, u16 length, body.
func FuzzFrames(f *testing.F) {
	key := testKey(f, 1)
	for _, base := range []*Base{nil, {Version: 600, Tag: crypto.BackupTag{1}}} {
		b, _ := sampleOf(2, 5, []int{0, 3, 30}, base).write(f, key, 5)
		var input []byte
		for _, frame := range split(f, b)[1:] {
			if body := frameBody(frame); len(body) < 1<<16 && kind(frame[0]) != kindEnd {
				input = append(input, frame[0])
				input = binary.BigEndian.AppendUint16(input, uint16(len(body)))
				input = append(input, body...)
			}
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var frames [][]byte
		for len(input) >= 3 {
			n := min(int(binary.BigEndian.Uint16(input[1:])), len(input)-3)
			frames = append(frames, finishFrame(append(startFrame(nil, kind(input[0])), input[3:3+n]...)))
			input = input[3+n:]
		}
		if len(frames) == 0 {
			return
		}
		checkReaders(t, seal(t, frames, key))
	})
}

// FuzzStatement parses any bytes as a statement.
func FuzzStatement(f *testing.F) {
	_, s := sample(1, 3, &Base{Version: 5}).write(f, testKey(f, 1), 5)
	f.Add(s.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStatement(b)
		if err == nil && !bytes.Equal(s.Marshal(), b) {
			t.Errorf("%x parsed and encoded is %x", b, s.Marshal())
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("an error of its own: %v", err)
		}
	})
}
