//go:build !race

package crypto

import "testing"

// The race detector makes pools drop what they hold at random, so allocations are counted without it.

func TestHashersDoNotAllocate(t *testing.T) {
	names, sets, name := NewNameHasher(testKey(t, 1)), NewSetHasher(testKey(t, 1)), []byte("name")
	var s SetHash
	if n := testing.AllocsPerRun(100, func() { names.Hash(1, name); sets.Add(&s, 1, name) }); n > 0 {
		t.Errorf("%v allocations per hash", n)
	}
}

func TestBlocksDoNotAllocate(t *testing.T) {
	eachMode(t, func(t *testing.T, mode ContentMode) {
		r := testRecord(t, testFileCipher(t, testKey(t, 1), mode, FileContext{}), Salt{})
		plain, dst := make([]byte, BlockSize), make([]byte, 0, sealedBlockSize)
		index := uint32(0)
		if n := testing.AllocsPerRun(100, func() { r.SealBlock(dst, index, 0, plain); index++ }); n > 0 {
			t.Errorf("%v allocations per sealing", n)
		}
		sealed := r.SealBlock(nil, 255, 0, plain)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := r.OpenBlock(plain[:0], 255, 0, sealed); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations per opening", n)
		}
	})
}
