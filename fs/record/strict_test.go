package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// headerSize is the layout byte and the version that every plaintext begins
// with.
const headerSize = 9

func TestEveryDecoderHasSamples(t *testing.T) {
	for _, c := range codecs() {
		if !slices.ContainsFunc(samples(), func(s sample) bool { return s.codec == c.name }) {
			t.Errorf("no sample of %s", c.name)
		}
	}
}

// each runs a check on every sample, with its codec.
func each(t *testing.T, check func(t *testing.T, c codec, plain []byte)) {
	for _, s := range samples() {
		t.Run(s.codec+"/"+s.name, func(t *testing.T) { check(t, codecOf(t, s.codec), s.plain) })
	}
}

// refuses wants ErrFormat.
func refuses(t *testing.T, c codec, b []byte, what string, args ...any) {
	t.Helper()
	if _, err := c.recode(b); !errors.Is(err, record.ErrFormat) {
		t.Errorf(what+": got %v, want ErrFormat", append(args, err)...)
	}
}

// acceptsOnlyItself wants bytes to be refused or to be what encoding gives.
func acceptsOnlyItself(t testing.TB, c codec, b []byte) {
	t.Helper()
	again, err := c.recode(b)
	switch {
	case err != nil:
		if !errors.Is(err, record.ErrFormat) {
			t.Fatalf("%x: error %v is not ErrFormat", b, err)
		}
	case !bytes.Equal(again, b):
		t.Fatalf("two encodings of one value:\n%x\n%x", b, again)
	}
}

func TestSamplesDecodeToThemselves(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		again, err := c.recode(plain)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, plain) {
			t.Fatalf("encoded again:\n%x\nwant\n%x", again, plain)
		}
	})
}

func TestTruncated(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		for n := range plain {
			if n > 1024 && n < len(plain)-1024 {
				continue // the inside of a large value
			}
			refuses(t, c, plain[:n:n], "%d bytes of %d", n, len(plain))
		}
	})
}

func TestTrailingBytes(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		for _, extra := range []byte{0, 1, 0x80, 0xff} {
			refuses(t, c, append(bytes.Clone(plain), extra), "with %#x appended", extra)
		}
	})
}

func TestUnknownLayout(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		for _, layout := range []byte{0, 2, 3, 0x81, 0xff} {
			b := bytes.Clone(plain)
			b[0] = layout
			refuses(t, c, b, "layout %d", layout)
		}
	})
}

// TestLongNumbers makes the first number of every record longer than need be.
func TestLongNumbers(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		at := headerSize
		switch c.name {
		case "bucket":
			at++ // the flags come first, in one byte
		case "head":
			at += 16 // the lineage
		}
		end := at
		for plain[end] >= 0x80 {
			end++
		}
		long := bytes.Clone(plain[:end+1])
		long[end] |= 0x80
		for pad := range 11 {
			b := append(bytes.Clone(long), bytes.Repeat([]byte{0x80}, pad)...)
			b = append(append(b, 0), plain[end+1:]...)
			refuses(t, c, b, "number with %d superfluous bytes", pad+1)
		}
		overflow := append(bytes.Clone(plain[:at]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2)
		refuses(t, c, append(overflow, plain[end+1:]...), "number past 64 bits")
	})
}

// TestEveryChangedByte puts every value into every byte, and a superfluous
// continuation after every byte that could end a number.
func TestEveryChangedByte(t *testing.T) {
	each(t, func(t *testing.T, c codec, plain []byte) {
		if len(plain) > 600 {
			plain = plain[:0] // the large ones say nothing that the small do not
		}
		for i := range plain {
			b := bytes.Clone(plain)
			for v := range 256 {
				b[i] = byte(v)
				acceptsOnlyItself(t, c, b)
			}
			acceptsOnlyItself(t, c, slices.Insert(slices.Concat(plain[:i], []byte{plain[i] | 0x80}, plain[i+1:]), i+1, 0))
		}
	})
}

// plaintext assembles a record by hand: byte strings are taken as they are,
// ints become numbers.
func plaintext(parts ...any) []byte {
	b := append([]byte{1}, make([]byte, 8)...)
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		case int:
			b = binary.AppendUvarint(b, uint64(p))
		case uint64:
			b = binary.AppendUvarint(b, p)
		}
	}
	return b
}

// TestRefused has for each bound of the format the value just past it.
func TestRefused(t *testing.T) {
	zeros := make([]byte, 1<<17)
	inode := func(mode int, rest ...any) []byte {
		return plaintext(append([]any{2, 0, mode, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, rest...)...)
	}
	file := func(fileMap ...any) []byte {
		return inode(record.TypeFile|0o644, append([]any{0, 0, 0}, fileMap...)...)
	}
	rec := func(id, blocks int) []byte {
		return slices.Concat(binary.AppendUvarint(nil, uint64(id)), zeros[:extent.SaltSize], binary.AppendUvarint(nil, uint64(blocks)<<1))
	}
	leaf := func(runs int) (parts []any) { // of so many runs, all of one record, with holes between
		parts = append(parts, 1, rec(1, 256), runs)
		for i := range runs {
			parts = append(parts, min(i, 1), 1, 0, 0)
		}
		return parts
	}
	values := []any{5}
	for i := range 5 {
		values = append(values, 1, string(rune('a'+i)), 1<<16-1, zeros[:1<<16-1])
	}
	for _, c := range []struct {
		codec, why string
		plain      []byte
	}{
		{"settings", "policy too long", plaintext(513, zeros[:513], 0)},
		{"settings", "region too long", plaintext(0, 65, zeros[:65])},
		{"head", "epoch to come", append(append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 7}, zeros[:16]...), append([]byte{8, 2, 1, 1, 0, 0, 0, 1}, zeros[:32]...)...)},
		{"bucket", "unknown flag", plaintext("\x04", 0, 0, zeros[:32], 0)},
		{"bucket", "policy too long", plaintext("\x00", 0, 0, zeros[:32], 513, zeros[:513])},
		{"entry", "no name", plaintext(1, "\x08", 0)},
		{"entry", "name too long", plaintext(1, "\x08", 256, zeros[:256])},
		{"entry", "type past four bits", plaintext(1, "\x18", 1, "a")},
		{"entry", "no type", plaintext(1, "\x00", 1, "a")},
		{"entry", "unknown type", plaintext(1, "\x03", 1, "a")},
		{"entry", "door", plaintext(1, "\x0d", 1, "a")},
		{"entry", "name of the directory itself", plaintext(1, "\x04", 1, ".")},
		{"entry", "name of the directory above", plaintext(1, "\x04", 2, "..")},
		{"entry", "name with a slash", plaintext(1, "\x08", 3, "a/b")},
		{"entry", "name with a zero", plaintext(1, "\x08", 2, "a\x00")},
		{"xattrs", "more than there can be", plaintext(record.MaxXattrs+1, zeros)},
		{"xattrs", "more than fit", plaintext(2, 1, "a", 0)},
		{"xattrs", "none", plaintext(0)},
		{"xattrs", "too large together", plaintext(values...)},
		{"xattrs", "no name", plaintext(1, 0, 1, "v")},
		{"xattrs", "name too long", plaintext(1, 256, zeros[:256], 0)},
		{"xattrs", "value too long", plaintext(1, 1, "a", record.MaxXattrValue+1, zeros[:record.MaxXattrValue+1])},
		{"xattrs", "same name twice", plaintext(2, 1, "a", 0, 1, "a", 0)},
		{"xattrs", "out of order", plaintext(2, 1, "b", 0, 1, "a", 0)},
		{"pack", "too many live blocks", plaintext(257, 1, 5)},
		{"pack", "more live blocks than blocks", plaintext(2, 1, 5)},
		{"pack", "too many blocks", plaintext(1, 257, zeros[:257])},
		{"pack", "same block twice", plaintext(1, 2, 5, 0)},
		{"pack", "past the largest file", plaintext(1, 1, 1<<51)},
		{"pack", "step past the largest file", plaintext(1, 2, 5, 1<<51-5)},
		{"pack", "dead", plaintext(0, 1, 5)},
		{"pack", "no blocks", plaintext(0, 0)},
		{"pending", "nothing", plaintext(0)},
		{"pending", "more than there can be", plaintext(1<<16+1, zeros)},
		{"pending", "more than fit", plaintext(2, 1, 1, 1)},
		{"leaf", "too many records", plaintext(257, zeros)},
		{"leaf", "records that do not fit", plaintext(3, rec(1, 1), 0)},
		{"leaf", "record of no blocks", plaintext(1, rec(1, 0), 1, 0, 1, 0, 0)},
		{"leaf", "record of too many blocks", plaintext(1, rec(1, 257), 1, 0, 1, 0, 0)},
		{"leaf", "all holes", plaintext(0, 0)},
		{"leaf", "records in another order than their runs", plaintext(2, rec(1, 1), rec(2, 1), 2, 0, 1, 1, 0, 0, 1, 0, 0)},
		{"leaf", "record without a run", plaintext(2, rec(1, 1), rec(2, 1), 1, 0, 1, 0, 0)},
		{"leaf", "record twice", plaintext(2, rec(1, 1), rec(1, 1), 2, 0, 1, 0, 0, 1, 1, 1, 0)},
		{"leaf", "too many runs", plaintext(1, rec(1, 256), 257, zeros)},
		{"leaf", "empty run", plaintext(1, rec(1, 1), 1, 0, 0, 0, 0)},
		{"leaf", "run past the leaf", plaintext(1, rec(1, 2), 1, 255, 2, 0, 0)},
		{"leaf", "run past the record", plaintext(1, rec(1, 2), 1, 0, 2, 0, 1)},
		{"leaf", "run of no record", plaintext(1, rec(1, 2), 1, 0, 1, 1, 0)},
		{"leaf", "two runs that are one", plaintext(1, rec(1, 2), 2, 0, 1, 0, 0, 0, 1, 0, 1)},
		{"leaf", "start past 16 bits", plaintext(1, rec(1, 1), 1, 1<<16, 1, 0, 0)},
		{"leaf", "record number past 16 bits", plaintext(1, rec(1, 1), 1, 0, 1, 1<<16, 0)},
		{"leaf", "index past 16 bits", plaintext(1, rec(1, 1), 1, 0, 1, 0, 1<<16)},
		{"node", "too many children", plaintext(257, zeros)},
		{"node", "children that do not fit", plaintext(2, 0, 1, 1)},
		{"node", "same child twice", plaintext(2, 0, 1, 1, 0, 1, 1)},
		{"node", "index past 64 bits", plaintext(2, uint64(1<<63), 1, 1, uint64(1<<63), 1, 1)},
		{"node", "index past the largest file", plaintext(1, uint64(1<<43), 1, 1)},
		{"node", "step past the largest file", plaintext(2, 1, 1, 1, uint64(1<<43-1), 1, 1)},
		{"node", "more blocks than a file has", plaintext(1, 0, 1, 1<<51+1)},
		{"node", "child without blocks", plaintext(1, 0, 1, 0)},
		{"node", "no children", plaintext(0)},
		{"inode", "flags", plaintext(2, 1, record.TypeSocket, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"inode", "no type", inode(0o644, 0)},
		{"inode", "unknown type", inode(0o030644, 0)},
		{"inode", "whiteout", inode(0o160644, 0)},
		{"inode", "fifo with a device number", inode(record.TypeFifo|0o644, 1)},
		{"inode", "socket with a device number", inode(record.TypeSocket|0o644, 1)},
		{"inode", "link without a target", inode(record.TypeLink|0o777, 0)},
		{"inode", "mode past 16 bits", inode(1 << 16)},
		{"inode", "uid past 32 bits", plaintext(2, 0, record.TypeFile, 1<<32)},
		{"inode", "a second in nanoseconds", plaintext(2, 0, record.TypeLink, 0, 0, 1, 0, 1_000_000_000, 0, 0, 0, 0, 0, 0, 0, 1, "a")},
		{"inode", "link target too long", inode(record.TypeLink, record.MaxSymlink+1, zeros[:record.MaxSymlink+1])},
		{"inode", "device number past 32 bits", inode(0o020600, 1<<32)},
		{"inode", "size past 63 bits", inode(record.TypeFile, uint64(1<<63), 0, 0, "\x00", 0)},
		{"inode", "more blocks than a file has", inode(record.TypeFile, 0, 1<<51+1, 0, "\x00", 0)},
		{"inode", "envelope too long", inode(record.TypeFile, 0, 0, record.MaxEnvelope+1, zeros[:record.MaxEnvelope+1], "\x00", 0)},
		{"inode", "map too high", file("\x07", 0)},
		{"inode", "empty leaf", file("\x00", 1, 0, 0, 0)},
		{"inode", "too many runs in a leaf", file(append([]any{"\x00", 1, 0}, leaf(record.MaxInlineRuns+1)...)...)},
		{"inode", "too many runs in two leaves", file(slices.Concat([]any{"\x00", 2, 0}, leaf(record.MaxInlineRuns), []any{1}, leaf(1))...)},
		{"inode", "leaf past the largest file", file(append([]any{"\x00", 1, uint64(1 << 43)}, leaf(1)...)...)},
		{"inode", "node past the largest file", file("\x06", 1, 8, 1, 1)},
		{"inode", "node without blocks", file("\x01", 1, 0, 1, 0)},
		{"inode", "too many leaves", file("\x00", record.MaxInlineRuns+1, zeros)},
		{"inode", "same leaf twice", file("\x00", 2, 0, 1, rec(1, 1), 1, 0, 1, 0, 0, 0, 1, rec(2, 1), 1, 0, 1, 0, 0)},
		{"inode", "leaf past 64 bits", file("\x00", 2, uint64(1<<63), 1, rec(1, 1), 1, 0, 1, 0, 0, uint64(1<<63), 1, rec(2, 1), 1, 0, 1, 0, 0)},
		{"inode", "too many nodes", file("\x01", record.MaxRootRefs+1, zeros)},
	} {
		t.Run(c.codec+"/"+c.why, func(t *testing.T) { refuses(t, codecOf(t, c.codec), c.plain, "%s", c.why) })
	}
}

// TestHandmadeAccepted keeps TestRefused honest: what it assembles is accepted
// once it is within the bounds.
func TestHandmadeAccepted(t *testing.T) {
	zeros := make([]byte, 512)
	record2 := slices.Concat([]byte{2}, zeros[:extent.SaltSize], []byte{2})
	record1 := slices.Concat([]byte{1}, zeros[:extent.SaltSize], []byte{2})
	inode := []any{2, 0, record.TypeFile | 0o644, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	runs := []any{"\x00", 1, uint64(1<<43 - 1), 1, slices.Concat([]byte{1}, zeros[:extent.SaltSize], []byte{2}), record.MaxInlineRuns}
	for i := range record.MaxInlineRuns {
		runs = append(runs, min(i, 1), 1, 0, 0)
	}
	values := []any{4}
	for i := range 4 {
		values = append(values, 1, string(rune('a'+i)), 1<<16-1, make([]byte, 1<<16-1))
	}
	for what, plain := range map[string][]byte{
		"head":     append(append([]byte{1, 0, 0, 0, 0, 0, 0, 0, 7}, zeros[:16]...), append([]byte{7, 2, 1, 1, 0, 0, 0, 1}, zeros[:32]...)...),
		"settings": plaintext(512, zeros[:512], 64, zeros[:64]),
		"bucket":   plaintext("\x03", 0, 0, zeros[:32], 0),
		"entry":    plaintext(1, "\x08", 1, "a"),
		"xattrs":   plaintext(2, 1, "a", 0, 1, "b", 0),
		"pack":     plaintext(1, 2, 5, 1<<51-6),
		"pending":  plaintext(1, 1, 1),
		"leaf":     plaintext(1, record1, 1, 255, 1, 0, 0),
		"node":     plaintext(2, 0, 1, 1, uint64(1<<43-1), 1, 1),

		"entry ...":             plaintext(1, "\x0c", 3, "..."),
		"leaf in order":         plaintext(2, record1, record2, 2, 0, 1, 0, 0, 0, 1, 1, 0),
		"xattrs, all there are": plaintext(values...),
		"inode of most runs":    plaintext(append(inode, runs...)...),
		"inode of last node":    plaintext(append(inode, "\x06", 1, 7, 1, 1)...),
		"inode":                 plaintext(append(inode, "\x00", 1, 7, 1, record1, 1, 0, 1, 0, 0)...),
	} {
		name, _, _ := strings.Cut(what, " ")
		c := codecOf(t, strings.TrimSuffix(name, ","))
		again, err := c.recode(plain)
		if err != nil || !bytes.Equal(again, plain) {
			t.Errorf("%s: %v, encoded again as\n%x\nwant\n%x", what, err, again, plain)
		}
	}
}

// allocationLimit is what decoding may allocate: some bytes for each byte of
// input, and a little for errors.
func allocationLimit(input int) uint64 { return 32*uint64(input) + 32<<10 }

// allocates returns how many bytes f allocates.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestHostileCounts gives every decoder huge counts with little behind them.
func TestHostileCounts(t *testing.T) {
	for _, c := range codecs() {
		for _, n := range []uint64{255, 256, 1 << 16, record.MaxXattrs, 1 << 31, 1 << 32, 1<<63 - 1, 1<<64 - 1} {
			number := binary.AppendUvarint(nil, n)
			for filler := range 40 {
				for _, head := range [][]byte{number, {0}, {1}} {
					b := plaintext(head, make([]byte, filler), number, bytes.Repeat(number, 3))
					if got := allocates(func() { acceptsOnlyItself(t, c, b) }); got > allocationLimit(len(b)) {
						t.Errorf("%s: %d bytes allocated for %d: %x", c.name, got, len(b), b)
					}
				}
			}
		}
	}
}
