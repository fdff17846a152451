package record_test

import (
	"bytes"
	"errors"
	"runtime/metrics"
	"testing"

	"ssefs/fs/record"
)

// fuzz checks on a decoder what the format promises of all: it accepts only
// what encoding gives, and does not allocate much more than it is given.
func fuzz(f *testing.F, name string) {
	seeds := 0
	for _, s := range samples() {
		if s.codec == name {
			f.Add(s.plain)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatalf("no seeds for %s", name)
	}
	c := codecOf(f, name)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := allocated()
		acceptsOnlyItself(t, c, b)
		if got := allocated() - before; got > allocationLimit(len(b))+countedLate {
			t.Fatalf("%d bytes allocated for %d", got, len(b))
		}
	})
}

// countedLate is how far off allocated may be: it counts small objects late and
// many at a time.
const countedLate = 512 << 10

// allocated returns how many bytes were allocated so far. Unlike allocates it
// does not stop the world, so that fuzzing stays fast.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

func FuzzDecodeHead(f *testing.F)     { fuzz(f, "head") }
func FuzzDecodeSettings(f *testing.F) { fuzz(f, "settings") }
func FuzzDecodeBucket(f *testing.F)   { fuzz(f, "bucket") }
func FuzzDecodeInode(f *testing.F)    { fuzz(f, "inode") }
func FuzzDecodeEntry(f *testing.F)    { fuzz(f, "entry") }
func FuzzDecodeXattrs(f *testing.F)   { fuzz(f, "xattrs") }
func FuzzDecodePack(f *testing.F)     { fuzz(f, "pack") }
func FuzzDecodePending(f *testing.F)  { fuzz(f, "pending") }
func FuzzDecodeOrphan(f *testing.F)   { fuzz(f, "orphan") }
func FuzzDecodeLeaf(f *testing.F)     { fuzz(f, "leaf") }
func FuzzDecodeNode(f *testing.F)     { fuzz(f, "node") }

func FuzzParseKey(f *testing.F) {
	for _, k := range sampleKeys() {
		f.Add(k.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := record.ParseKey(b)
		if err != nil {
			if !errors.Is(err, record.ErrFormat) {
				t.Fatalf("%x: error %v is not ErrFormat", b, err)
			}
			return
		}
		if again := buildKey(t, k); !bytes.Equal(again, b) {
			t.Fatalf("two keys for one record: %x and %x", b, again)
		}
	})
}
