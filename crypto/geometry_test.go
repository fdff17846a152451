package crypto

import (
	"errors"
	"testing"
)

// TestGeometry goes through every possible size of a record, and some impossible ones.
func TestGeometry(t *testing.T) {
	valid := make(map[int]bool)
	for blocks := 1; blocks <= MaxRecordBlocks; blocks++ {
		for _, lastLen := range []int{1, 2, 15, 16, 17, 4095, 4096} {
			size := SealedSize(blocks, lastLen)
			valid[size] = true
			b, l, err := RecordGeometry(size)
			if err != nil || b != blocks || l != lastLen {
				t.Errorf("%d blocks, last of %d: read as %d, %d, %v", blocks, lastLen, b, l, err)
			}
		}
		if got := blockOffset(uint32(blocks - 1)); got != SealedSize(blocks, 1)-1-BlockOverhead {
			t.Errorf("block %d is at %d", blocks-1, got)
		}
	}
	for _, size := range []int{-5000, -1, 0, 1, 16, 4113, 4112 + 16, 2*4112 + 1, SealedSize(256, 4096) + 1, SealedSize(257, 1), 1 << 40} {
		if b, l, err := RecordGeometry(size); !errors.Is(err, ErrFormat) {
			t.Errorf("%d bytes: %d blocks, last of %d, %v", size, b, l, err)
		}
	}
	for size := range 3 * sealedBlockSize {
		b, l, err := RecordGeometry(size)
		if err == nil && SealedSize(b, l) != size {
			t.Errorf("%d bytes read as %d, %d", size, b, l)
		}
		if err != nil && valid[size] {
			t.Errorf("%d bytes refused: %v", size, err)
		}
	}
}

func TestSealedBlock(t *testing.T) {
	record := make([]byte, SealedSize(3, 100))
	for i, want := range []int{4112, 4112, 116} {
		b, err := SealedBlock(record, uint32(i))
		if err != nil || len(b) != want || cap(b) != want || &b[0] != &record[blockOffset(uint32(i))] {
			t.Errorf("block %d has %d bytes (%d): %v", i, len(b), cap(b), err)
		}
	}
	for _, index := range []uint32{3, 4, 255, 256, 1<<32 - 1} {
		if _, err := SealedBlock(record, index); !errors.Is(err, ErrFormat) {
			t.Errorf("block %d: %v", index, err)
		}
	}
	if _, err := SealedBlock(record[:10], 0); !errors.Is(err, ErrFormat) {
		t.Errorf("truncated record: %v", err)
	}
}
