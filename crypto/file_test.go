package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
)

func testFileCipher(t testing.TB, k *Key, mode ContentMode, fc FileContext) *FileCipher {
	t.Helper()
	c, err := NewFileCipher(k, mode, fc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func testRecord(t testing.TB, c *FileCipher, salt Salt) *RecordCipher {
	t.Helper()
	r, err := c.Record(salt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eachMode runs a test for both modes of contents.
func eachMode(t *testing.T, fn func(t *testing.T, mode ContentMode)) {
	t.Run("encrypted", func(t *testing.T) { fn(t, Encrypted) })
	t.Run("clear", func(t *testing.T) { fn(t, Clear) })
}

func TestBlocks(t *testing.T) {
	eachMode(t, func(t *testing.T, mode ContentMode) {
		c := testFileCipher(t, testKey(t, 1), mode, FileContext{VolumeID{1}, 2, 3})
		r := testRecord(t, c, NewSalt())
		var record []byte
		contents := func(i int) []byte {
			n := BlockSize
			if i == MaxRecordBlocks-1 {
				n = 100
			}
			return bytes.Repeat([]byte{byte(i)}, n)
		}
		for i := range MaxRecordBlocks {
			record = r.SealBlock(record, uint32(i), uint64(1000-i), contents(i))
		}
		if want := SealedSize(MaxRecordBlocks, 100); len(record) != want {
			t.Fatalf("record has %d bytes, want %d", len(record), want)
		}
		if inClear := bytes.Contains(record, contents(7)); inClear != (mode == Clear) {
			t.Errorf("contents in the clear: %v", inClear)
		}
		for i := range MaxRecordBlocks {
			sealed, err := SealedBlock(record, uint32(i))
			if err != nil {
				t.Fatal(err)
			}
			out, err := r.OpenBlock([]byte("kept"), uint32(i), uint64(1000-i), sealed)
			if err != nil || !bytes.Equal(out, append([]byte("kept"), contents(i)...)) {
				t.Fatalf("block %d: %v", i, err)
			}
		}
	})
}

func TestBlockInPlace(t *testing.T) {
	eachMode(t, func(t *testing.T, mode ContentMode) {
		r := testRecord(t, testFileCipher(t, testKey(t, 1), mode, FileContext{}), Salt{})
		buf := make([]byte, 10, 10+BlockOverhead)
		copy(buf, "0123456789")
		sealed := r.SealBlock(buf[:0], 0, 0, buf)
		out, err := r.OpenBlock(sealed[:0], 0, 0, sealed)
		if err != nil || string(out) != "0123456789" || &out[0] != &buf[0] {
			t.Errorf("%q: %v", out, err)
		}
	})
}

func TestBlockIsBoundToItsPlace(t *testing.T) {
	eachMode(t, func(t *testing.T, mode ContentMode) {
		fc := FileContext{VolumeID{1}, 2, 3}
		salt := Salt{1}
		k := testKey(t, 1)
		r := testRecord(t, testFileCipher(t, k, mode, fc), salt)
		plain := []byte("contents of a block")
		sealed := r.SealBlock(nil, 5, 70, plain)
		if _, err := r.OpenBlock(nil, 5, 70, sealed); err != nil {
			t.Fatal(err)
		}
		refused := func(what string, r *RecordCipher, index uint32, logical uint64, sealed []byte) {
			t.Helper()
			dst := bytes.Repeat([]byte("x"), 100)
			if out, err := r.OpenBlock(dst[:0], index, logical, sealed); !errors.Is(err, ErrAuth) || out != nil {
				t.Errorf("%s: %q, %v", what, out, err)
			}
			if bytes.Contains(dst, []byte("block")) {
				t.Errorf("%s: contents were released", what)
			}
		}
		refused("other index", r, 6, 70, sealed)
		refused("other logical block", r, 5, 71, sealed)
		for i := range salt {
			other := salt
			other[i] ^= 0x80
			refused(fmt.Sprintf("salt byte %d", i), testRecord(t, testFileCipher(t, k, mode, fc), other), 5, 70, sealed)
		}
		for what, other := range map[string]FileContext{
			"volume": {VolumeID{2}, 2, 3}, "bucket": {VolumeID{1}, 3, 3}, "inode": {VolumeID{1}, 2, 4}, "swapped": {VolumeID{1}, 3, 2},
		} {
			refused("other "+what, testRecord(t, testFileCipher(t, k, mode, other), salt), 5, 70, sealed)
		}
		refused("other mode", testRecord(t, testFileCipher(t, k, Encrypted+Clear-mode, fc), salt), 5, 70, sealed)
		refused("other data key", testRecord(t, testFileCipher(t, testKey(t, 2), mode, fc), salt), 5, 70, sealed)
		for bit := range len(sealed) * 8 {
			flipped := bytes.Clone(sealed)
			flipped[bit/8] ^= 1 << (bit % 8)
			refused("flipped bit", r, 5, 70, flipped)
		}
		for n := BlockOverhead + 1; n < len(sealed); n++ {
			refused("truncated", r, 5, 70, sealed[:n])
		}
		refused("extended", r, 5, 70, append(bytes.Clone(sealed), 0))
		for _, n := range []int{0, 1, 15, 16, sealedBlockSize + 1} {
			if _, err := r.OpenBlock(nil, 5, 70, make([]byte, n)); !errors.Is(err, ErrFormat) {
				t.Errorf("sealed block of %d bytes: %v", n, err)
			}
		}
		if _, err := r.OpenBlock(nil, MaxRecordBlocks, 70, sealed); !errors.Is(err, ErrFormat) {
			t.Errorf("index out of range: %v", err)
		}
	})
}

func TestSealBlockRefusesMisuse(t *testing.T) {
	r := testRecord(t, testFileCipher(t, testKey(t, 1), Encrypted, FileContext{}), Salt{})
	r.SealBlock(nil, 0, 0, []byte("x"))
	r.SealBlock(nil, 255, 0, []byte("x"))
	for what, seal := range map[string]func(){
		"first index again": func() { r.SealBlock(nil, 0, 0, []byte("x")) },
		"last index again":  func() { r.SealBlock(nil, 255, 9, []byte("y")) },
		"index too large":   func() { r.SealBlock(nil, 256, 0, []byte("x")) },
		"no contents":       func() { r.SealBlock(nil, 1, 0, nil) },
		"too long":          func() { r.SealBlock(nil, 2, 0, make([]byte, BlockSize+1)) },
	} {
		if !panics(seal) {
			t.Errorf("%s: sealed", what)
		}
	}
}

func TestFileCipherCache(t *testing.T) {
	c := testFileCipher(t, testKey(t, 1), Encrypted, FileContext{})
	first := testRecord(t, c, Salt{1})
	if testRecord(t, c, Salt{1}) != first {
		t.Error("a recent salt was derived again")
	}
	sealed := first.SealBlock(nil, 0, 0, []byte("x"))
	for i := range 3 * recordCacheSize {
		testRecord(t, c, Salt{2, byte(i)})
	}
	again := testRecord(t, c, Salt{1})
	if again == first {
		t.Error("the cache keeps everything")
	}
	if _, err := again.OpenBlock(nil, 0, 0, sealed); err != nil {
		t.Errorf("derived again: %v", err)
	}
	c.Wipe()
	if _, err := c.Record(Salt{1}); !errors.Is(err, ErrWiped) {
		t.Errorf("cached record of a wiped file: %v", err)
	}
	if _, err := c.Record(Salt{9}); !errors.Is(err, ErrWiped) {
		t.Errorf("new record of a wiped file: %v", err)
	}
	for i := range c.cache {
		if c.cache[i].Load() != nil {
			t.Error("a wiped file keeps keys")
		}
	}
}

func TestFileCipherMode(t *testing.T) {
	for _, mode := range []ContentMode{0, 3} {
		if _, err := NewFileCipher(testKey(t, 1), mode, FileContext{}); !errors.Is(err, ErrFormat) {
			t.Errorf("mode %d: %v", mode, err)
		}
	}
}

// TestFileCipherConcurrent opens blocks of more records than the cache holds, from several goroutines, until
// the file is wiped.
func TestFileCipherConcurrent(t *testing.T) {
	c := testFileCipher(t, testKey(t, 1), Encrypted, FileContext{})
	sealed := make([][]byte, 2*recordCacheSize)
	for i := range sealed {
		sealed[i] = testRecord(t, c, Salt{byte(i)}).SealBlock(nil, 0, uint64(i), []byte{byte(i)})
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				n := (i*7 + g) % len(sealed)
				r, err := c.Record(Salt{byte(n)})
				if errors.Is(err, ErrWiped) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				out, err := r.OpenBlock(nil, 0, uint64(n), sealed[n])
				if err != nil || !bytes.Equal(out, []byte{byte(n)}) {
					t.Errorf("record %d: %v", n, err)
					return
				}
				if g == 0 && i == 500 {
					c.Wipe()
				}
			}
		})
	}
	wg.Wait()
	for i := range c.cache {
		if c.cache[i].Load() != nil {
			t.Error("a wiped file keeps keys")
		}
	}
}
