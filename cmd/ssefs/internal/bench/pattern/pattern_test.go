package pattern

import (
	"errors"
	"slices"
	"testing"
)

// TestPattern: no two blocks, versions or seeds are alike, and contents are checked to the last byte.
func TestPattern(t *testing.T) {
	p := New(1)
	seen := map[string]bool{}
	for _, block := range []uint64{0, 1, Period, Period + 1, 1 << 20} {
		for version := range uint32(3) {
			for _, p := range []*Pattern{p, New(2)} {
				b := string(p.Blocks(block, 1, version))
				if len(b) != BlockSize || seen[b] {
					t.Fatalf("block %d, version %d: %d bytes, seen before: %v", block, version, len(b), seen[b])
				}
				seen[b] = true
			}
		}
	}
	good := slices.Clone(p.Blocks(7, 3, 5))
	five := func(uint64) uint32 { return 5 }
	if err := p.Check(good, 7, five); err != nil {
		t.Error(err)
	}
	if err := p.Check(good, 8, five); !errors.Is(err, ErrWrong) {
		t.Errorf("as another block: %v", err)
	}
	if err := p.Check(good, 7, Always); !errors.Is(err, ErrWrong) {
		t.Errorf("as another version: %v", err)
	}
	if err := p.Check(good[:len(good)-1], 7, five); !errors.Is(err, ErrWrong) {
		t.Errorf("a byte short: %v", err)
	}
	for _, i := range []int{0, stampSize - 1, stampSize, BlockSize - 1, BlockSize, len(good) - 1} {
		bad := slices.Clone(good)
		bad[i] ^= 0x80
		if err := p.Check(bad, 7, five); !errors.Is(err, ErrWrong) {
			t.Errorf("with byte %d changed: %v", i, err)
		}
	}
}
