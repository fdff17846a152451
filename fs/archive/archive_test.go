package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"ssefs/crypto"
)

// testKey is a backup key.
func testKey(t testing.TB, fill byte) *crypto.Key {
	t.Helper()
	k, err := crypto.KeyFromBytes(bytes.Repeat([]byte{fill}, crypto.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}

// contents is what is in a backup.
type contents struct {
	begin   Begin
	files   []File
	listed  []Entry
	records []Entry
	values  [][]byte
}

// Visitor methods that collect.
func (c *contents) Listed(e Entry) error {
	e.Key = bytes.Clone(e.Key)
	c.listed = append(c.listed, e)
	return nil
}

func (c *contents) ListingEnds() error { return nil }

func (c *contents) Record(e Entry, value []byte) error {
	e.Key = bytes.Clone(e.Key)
	c.records = append(c.records, e)
	c.values = append(c.values, bytes.Clone(value))
	return nil
}

// write makes a backup of c, with at most perFrame elements in a frame.
func (c *contents) write(t testing.TB, key *crypto.Key, perFrame int) ([]byte, *Statement) {
	t.Helper()
	var out bytes.Buffer
	a, err := NewWriter(&out, c.begin)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range c.files {
		check(a.File(f.Name, f.Contents))
	}
	n := 0
	flush := func() {
		if n++; a.Full() || n%perFrame == 0 {
			check(a.Flush())
		}
	}
	for _, e := range c.listed {
		check(a.List(e))
		flush()
	}
	for i, e := range c.records {
		check(a.Record(e.Key, e.Version, c.values[i]))
		flush()
	}
	s, err := a.End(key)
	check(err)
	return out.Bytes(), s
}

// read reads a backup.
func read(r io.Reader) (*contents, *Statement, error) {
	a, err := NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	c := &contents{begin: a.Begin()}
	if err := a.Files(func(f File) error { c.files = append(c.files, f); return nil }); err != nil {
		return nil, nil, err
	}
	s, err := a.Read(c)
	return c, s, err
}

// sample is a backup with n records; some of them are below the base's version if there is one.
func sample(seed uint64, n int, base *Base) *contents {
	return sampleOf(seed, n, []int{0, 1, 150, summed - 1, summed, 9_000}, base)
}

// sampleOf is sample with values of the given sizes.
func sampleOf(seed uint64, n int, sizes []int, base *Base) *contents {
	r := rand.New(rand.NewPCG(seed, 1))
	c := &contents{begin: Begin{
		Volume: crypto.VolumeID{1, byte(seed)}, Version: 1000, Made: time.Unix(1_700_000_000, 0).UTC(), Base: base,
	}}
	c.files = []File{{"keystore.a", []byte("sealed")}, {"volume.json", nil}}
	keys := make(map[string]bool)
	for len(keys) < n {
		key := fmt.Appendf(nil, "%c%0*d", "DEI"[r.IntN(3)], 1+r.IntN(12), r.IntN(100_000))
		keys[string(key)] = true
	}
	keys[string(bytes.Repeat([]byte("z"), maxKey))] = true
	sorted := make([]string, 0, n)
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.Sort(sorted)
	for i, k := range sorted {
		value := make([]byte, sizes[i%len(sizes)])
		for j := range value {
			value[j] = byte(r.Uint32())
		}
		e := Entry{Key: []byte(k), Version: 1 + r.Uint64N(1000), Size: uint64(len(value)), Sum: Sum(value)}
		c.listed = append(c.listed, e)
		if c.begin.Follows(e) {
			c.records = append(c.records, e)
			c.values = append(c.values, value)
		}
	}
	return c
}

func equal(a, b Entry) bool { return a.Version == b.Version && a.Same(b) }

func same(t *testing.T, got, want *contents) {
	t.Helper()
	if got.begin.Volume != want.begin.Volume || got.begin.Version != want.begin.Version || !got.begin.Made.Equal(want.begin.Made) ||
		(got.begin.Base == nil) != (want.begin.Base == nil) || got.begin.Base != nil && *got.begin.Base != *want.begin.Base {
		t.Errorf("begins with %+v, want %+v", got.begin, want.begin)
	}
	if !slices.EqualFunc(got.files, want.files, func(a, b File) bool { return a.Name == b.Name && bytes.Equal(a.Contents, b.Contents) }) {
		t.Errorf("files %v, want %v", got.files, want.files)
	}
	if !slices.EqualFunc(got.listed, want.listed, equal) {
		t.Errorf("another listing")
	}
	if !slices.EqualFunc(got.records, want.records, equal) || !slices.EqualFunc(got.values, want.values, bytes.Equal) {
		t.Errorf("other records")
	}
}

func TestRoundTrip(t *testing.T) {
	key := testKey(t, 1)
	for name, base := range map[string]*Base{"full": nil, "incremental": {Version: 700, Tag: crypto.BackupTag{7}}, "nothing new": {Version: 1000}} {
		for _, perFrame := range []int{1, 7, 1 << 30} {
			t.Run(fmt.Sprint(name, " ", perFrame), func(t *testing.T) {
				want := sample(3, 300, base)
				b, s := want.write(t, key, perFrame)
				got, read1, err := read(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				same(t, got, want)
				if err := read1.Check(key); err != nil || !bytes.Equal(read1.Marshal(), s.Marshal()) {
					t.Errorf("statement: %v", err)
				}
				if err := read1.Check(testKey(t, 2)); !errors.Is(err, crypto.ErrAuth) {
					t.Errorf("with another key: %v", err)
				}
				parsed, err := ParseStatement(s.Marshal())
				if err != nil || !bytes.Equal(parsed.Marshal(), s.Marshal()) {
					t.Errorf("statement parsed: %v", err)
				}
				if _, _, err := read(iotest.OneByteReader(bytes.NewReader(b))); err != nil {
					t.Errorf("byte by byte: %v", err)
				}
				l, err := OpenListing(bytes.NewReader(b), int64(len(b)))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(l.Marshal(), s.Marshal()) {
					t.Error("the listing has another statement")
				}
				for _, w := range want.listed {
					if e, err := l.Next(); err != nil || !equal(e, w) {
						t.Fatalf("listing has %+v, want %+v: %v", e, w, err)
					}
				}
				for range 2 {
					if _, err := l.Next(); !errors.Is(err, io.EOF) {
						t.Errorf("end of the listing: %v", err)
					}
				}
			})
		}
	}
}

// TestEveryChangeIsRefused: each bit of a backup, each length, each order of its frames.
func TestEveryChangeIsRefused(t *testing.T) {
	key := testKey(t, 1)
	c := sample(5, 12, &Base{Version: 500, Tag: crypto.BackupTag{9}})
	b, _ := c.write(t, key, 4)
	refused := func(name string, changed []byte) {
		t.Helper()
		_, s, err := read(bytes.NewReader(changed))
		if err == nil {
			err = s.Check(key)
		}
		switch {
		case err == nil:
			t.Errorf("%s: accepted", name)
		case !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrDamaged) && !errors.Is(err, crypto.ErrAuth):
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; i < len(b); i += 1 + i/200 {
		flipped := bytes.Clone(b)
		flipped[i] ^= 1 << (i % 8)
		refused(fmt.Sprintf("bit of byte %d", i), flipped)
	}
	for i := 0; i < len(b); i += 1 + i/200 {
		refused(fmt.Sprintf("cut off at %d", i), b[:i])
		if _, _, err := read(bytes.NewReader(b[:i])); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut off at %d: %v", i, err)
		}
		if _, err := OpenListing(bytes.NewReader(b), int64(i)); !errors.Is(err, ErrTruncated) {
			t.Errorf("listing of one cut off at %d: %v", i, err)
		}
	}
	refused("a byte more", append(bytes.Clone(b), 0))
	frames := split(t, b)
	for i := range frames {
		without := slices.Concat(frames[:i], frames[i+1:])
		refused(fmt.Sprintf("without frame %d", i), join(without))
		refused(fmt.Sprintf("frame %d twice", i), join(slices.Insert(slices.Clone(frames), i, frames[i])))
		if i > 0 {
			swapped := slices.Clone(frames)
			swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
			refused(fmt.Sprintf("frames %d and %d exchanged", i-1, i), join(swapped))
		}
	}
}

// split returns the preface and the frames of a backup.
func split(t testing.TB, b []byte) [][]byte {
	t.Helper()
	parts := [][]byte{b[:prefaceSize]}
	for b = b[prefaceSize:]; len(b) > 0; {
		n := frameHead + int(binary.BigEndian.Uint32(b[1:])) + frameTail
		parts = append(parts, b[:n])
		b = b[n:]
	}
	return parts
}

func join(parts [][]byte) []byte { return bytes.Join(parts, nil) }

// TestForgeries are backups of which digests, checksums and tag are right, as only whoever has the key could make them.
// What is refused of them is no backup, whoever made it.
func TestForgeries(t *testing.T) {
	key := testKey(t, 1)
	good := func() *contents { return sample(6, 20, &Base{Version: 500}) }
	b, _ := good().write(t, key, 3)
	frames := split(t, b)
	if _, _, err := read(bytes.NewReader(seal(t, frames[1:len(frames)-1], key))); err != nil {
		t.Fatalf("made as it was: %v", err)
	}
	for name, change := range map[string]func(c *contents){
		"a record missing":       func(c *contents) { c.records, c.values = c.records[1:], c.values[1:] },
		"a record too many":      func(c *contents) { c.listed = c.listed[1:] },
		"a record not to follow": func(c *contents) { c.begin.Base.Version = slices.MinFunc(c.records, byVersion).Version },
		"another version":        func(c *contents) { c.records[3].Version++ },
		"another value":          func(c *contents) { c.values[slices.IndexFunc(c.values, short)][0] ^= 1 },
		"a longer value":         func(c *contents) { c.values[0] = append(c.values[0], 0) },
		"newer than the backup":  func(c *contents) { c.begin.Version = 600 },
	} {
		c := good()
		change(c)
		b, _ := c.write(t, key, 3)
		if _, _, err := read(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string][]byte{
		"a long number":       {0, 0x81, 0x00, 'a', 1, 1, 1},
		"a shared prefix":     {1, 1, 'a', 1, 1, 0, 0, 0, 0},
		"less shared":         {0, 1, 'a', 1, 0, 0, 0, 0, 0, 0, 2, 'a', 'b', 1, 0, 0, 0, 0, 0},
		"an empty key":        {0, 0, 1, 0, 0, 0, 0, 0},
		"not in order":        {0, 1, 'b', 1, 0, 0, 0, 0, 0, 0, 1, 'a', 1, 0, 0, 0, 0, 0},
		"twice":               {0, 1, 'b', 1, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0},
		"cut off":             {0, 1, 'b', 1, 0, 0, 0},
		"an empty frame":      {},
		"a number too large":  {0, 1, 'b', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 0},
		"a key out of bounds": append([]byte{0, 0x81, 0x04}, make([]byte, 600)...),
	} {
		for _, k := range []kind{kindListing, kindRecords} {
			changed := slices.Insert(slices.Clone(frames[1:len(frames)-1]), 3, finishFrame(append(startFrame(nil, k), body...)))
			if k == kindRecords {
				changed = append(slices.Clone(frames[1:len(frames)-1]), finishFrame(append(startFrame(nil, k), body...)))
			}
			if _, _, err := read(bytes.NewReader(seal(t, changed, key))); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s in a frame of kind %d: %v", name, k, err)
			}
		}
	}
	begin := good().begin
	for name, change := range map[string]func(b []byte){
		"kind 2":                 func(b []byte) { b[32] = 2 },
		"full, with a base":      func(b []byte) { b[32] = 0; b[72] = 1 },
		"version 0":              func(b []byte) { clear(b[16:24]) },
		"a base that came later": func(b []byte) { b[33] = 1 },
	} {
		body := begin.append(nil)
		change(body)
		changed := slices.Clone(frames[1 : len(frames)-1])
		changed[0] = finishFrame(append(startFrame(nil, kindBegin), body...))
		if _, _, err := read(bytes.NewReader(seal(t, changed, key))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func byVersion(a, b Entry) int { return int(a.Version) - int(b.Version) }

func short(value []byte) bool { return len(value) > 0 && len(value) < summed }

// seal makes a backup of frames, with an end that is right as far as it can be.
func seal(t testing.TB, frames [][]byte, key *crypto.Key) []byte {
	t.Helper()
	var out bytes.Buffer
	a := startWriter(&out, Begin{})
	preface := binary.BigEndian.AppendUint16([]byte(magic), formatVersion)
	a.digest.Write(preface)
	out.Write(preface)
	for _, f := range frames {
		inside := frameBody(f)
		switch kind(f[0]) {
		case kindBegin:
			if begin, err := decodeBegin(inside); err == nil {
				a.s.Begin = begin
			}
		case kindListing:
			var last, spare []byte
			_ = eachEntry(inside, &last, &spare, func(Entry) error { a.s.Listed++; return nil })
		case kindRecords:
			d := body{b: inside}
			for d.err == nil && len(d.b) > 0 {
				if d.record(); d.err == nil {
					a.s.Records++
				}
			}
		}
		a.buf = append(a.buf[:0], f[:len(f)-frameTail]...)
		if err := a.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	a.stage = kindEnd
	if _, err := a.End(key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestWriterRefuses(t *testing.T) {
	begin := Begin{Version: 1}
	made := func() *Writer {
		a, err := NewWriter(io.Discard, begin)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for name, err := range map[string]error{
		"a file after the listing": func() error {
			a := made()
			return errors.Join(a.List(Entry{Key: []byte("k")}), a.File("f", nil))
		}(),
		"files not in order": func() error { a := made(); return errors.Join(a.File("b", nil), a.File("a", nil)) }(),
		"keys not in order": func() error {
			a := made()
			return errors.Join(a.List(Entry{Key: []byte("k")}), a.List(Entry{Key: []byte("k")}))
		}(),
		"no key":        made().Record(nil, 1, nil),
		"a long key":    made().Record(make([]byte, maxKey+1), 1, nil),
		"a huge record": made().Record([]byte("k"), 1, make([]byte, maxBody)),
		"a huge file":   made().File("f", make([]byte, maxBody)),
		"many files": func() error {
			a := made()
			return errors.Join(a.File("a", make([]byte, maxBody-10)), a.File("b", make([]byte, maxBody-10)), a.File("c", make([]byte, 100)))
		}(),
		"no name":           made().File("", nil),
		"a version of zero": func() error { _, err := NewWriter(io.Discard, Begin{}); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
