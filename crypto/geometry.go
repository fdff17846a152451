package crypto

import "fmt"

// The geometry of data records: up to MaxRecordBlocks sealed blocks, one after the other, nothing else. Each
// block but the last holds BlockSize bytes of contents; the last holds 1 to BlockSize.
const (
	// BlockSize is how many bytes of contents a block holds: the page size, which is what writes and random
	// reads come in.
	BlockSize = 4096
	// BlockOverhead is by how many bytes a sealed block is longer than its contents: the tag.
	BlockOverhead = tagSize
	// MaxRecordBlocks is how many blocks a data record holds at most: 1 MiB of contents, the largest FUSE
	// request.
	MaxRecordBlocks = 256

	sealedBlockSize = BlockSize + BlockOverhead
)

// SealedSize is the size in bytes of a record of so many blocks (1 to MaxRecordBlocks) whose last holds
// lastLen bytes of contents (1 to BlockSize).
func SealedSize(blocks, lastLen int) int {
	return (blocks-1)*sealedBlockSize + lastLen + BlockOverhead
}

// blockOffset is where sealed block index begins in its record, in bytes.
func blockOffset(index uint32) int { return int(index) * sealedBlockSize }

// RecordGeometry is the inverse of SealedSize. ErrFormat when no record has that size.
func RecordGeometry(size int) (blocks, lastLen int, err error) {
	blocks = (size + sealedBlockSize - 1) / sealedBlockSize
	lastLen = size - (blocks-1)*sealedBlockSize - BlockOverhead
	if blocks < 1 || blocks > MaxRecordBlocks || lastLen < 1 {
		return 0, 0, fmt.Errorf("%w: no data record has %d bytes", ErrFormat, size)
	}
	return blocks, lastLen, nil
}

// SealedBlock is sealed block index of a record, a part of record and not a copy. ErrFormat when record has
// no such block or an impossible size.
func SealedBlock(record []byte, index uint32) ([]byte, error) {
	blocks, _, err := RecordGeometry(len(record))
	if err != nil {
		return nil, err
	}
	if index >= uint32(blocks) {
		return nil, fmt.Errorf("%w: block %d of a data record of %d", ErrFormat, index, blocks)
	}
	begin := blockOffset(index)
	end := min(begin+sealedBlockSize, len(record))
	return record[begin:end:end], nil
}
