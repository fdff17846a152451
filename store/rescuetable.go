package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// A table of Badger v4.9.6 is blocks, one after the other, and an index. A block
// (table/builder.go, finishBlock):
//
//	entries: u16 overlap with the first key, u16 length of the rest, little-endian;
//	  the rest of the key; the value
//	offset of each entry: u32 little-endian
//	count of entries: u32 big-endian
//	checksum of all before, CRC-32C: the protobuf message {2: sum}
//	its length: u32 big-endian
const (
	entryHeaderSize = 4
	sumTag          = 2 << 3
	// The length that the checksum may have: tag and varint.
	minSumSize, maxSumSize = 2, 1 + binary.MaxVarintLen64
	// searchBlock bounds the size of a block whose end is searched for.
	searchBlock = 1 << 20
)

// tableBlock is a block of a table.
type tableBlock struct {
	data  []byte // all of it
	first []byte // its first key, as the index has it; nil without one
	next  []byte // that of the block behind it, which its keys are below; nil for none
}

// layout returns where the offsets of the block's entries begin, how many there
// are, and where the checksum begins, if its end is that of a block.
func (b tableBlock) layout() (offsets, count, sum int, ok bool) {
	n := len(b.data)
	if n < 4+minSumSize+4 {
		return 0, 0, 0, false
	}
	size := int(binary.BigEndian.Uint32(b.data[n-4:]))
	if size < minSumSize || size > maxSumSize || n-4-size-4 < 0 {
		return 0, 0, 0, false
	}
	sum = n - 4 - size
	count = int(binary.BigEndian.Uint32(b.data[sum-4:]))
	offsets = sum - 4 - 4*count
	if b.data[sum] != sumTag || count < 1 || count > n || offsets < entryHeaderSize {
		return 0, 0, 0, false
	}
	return offsets, count, sum, true
}

// intact tells whether the block has the right checksum.
func (b tableBlock) intact() bool {
	_, _, sum, ok := b.layout()
	if !ok {
		return false
	}
	want, n := binary.Uvarint(b.data[sum+1 : len(b.data)-4])
	return n > 0 && uint64(crc32.Checksum(b.data[:sum], castagnoli())) == want
}

// tableEntry is an entry of a table: the key, with its version, and the value as
// it is encoded.
type tableEntry struct{ key, value []byte }

// entries returns what the block's bytes say, as far as they make sense. In a
// damaged block some of that may be wrong.
func (b tableBlock) entries() []tableEntry {
	offsets, count, _, ok := b.layout()
	if !ok {
		return nil
	}
	at := func(i int) int { return int(binary.LittleEndian.Uint32(b.data[offsets+4*i:])) }
	first := b.first
	var found []tableEntry
	for i := range count {
		begin, end := at(i), offsets
		if i+1 < count {
			end = at(i + 1)
		}
		if begin+entryHeaderSize > end || end > offsets {
			continue
		}
		e := b.data[begin:end]
		overlap, rest := int(binary.LittleEndian.Uint16(e)), int(binary.LittleEndian.Uint16(e[2:]))
		if i == 0 && first == nil && overlap == 0 && entryHeaderSize+rest <= len(e) {
			first = e[entryHeaderSize : entryHeaderSize+rest]
		}
		if overlap > len(first) || entryHeaderSize+rest > len(e) || overlap+rest <= versionSize {
			continue
		}
		key := append(bytes.Clone(first[:overlap]), e[entryHeaderSize:entryHeaderSize+rest]...)
		value := e[entryHeaderSize+rest:]
		if len(key) > MaxKeySize+versionSize+len(badgerPrefix) || !isValue(value) || !b.holds(key) {
			continue
		}
		found = append(found, tableEntry{key, value})
	}
	return found
}

// holds tells whether a key can be in the block.
func (b tableBlock) holds(key []byte) bool {
	return (b.first == nil || y.CompareKeys(key, b.first) >= 0) && (b.next == nil || y.CompareKeys(key, b.next) < 0)
}

// isValue tells whether bytes are a value as tables have it: two bytes, a varint,
// the value.
func isValue(b []byte) bool {
	if len(b) < 3 {
		return false
	}
	_, n := binary.Uvarint(b[2:])
	return n > 0
}

// indexedBlocks returns the blocks of a table as its index lists them.
func indexedBlocks(data []byte) (blocks []tableBlock, err error) {
	if err := checkFooter(data); err != nil {
		return nil, err
	}
	pos := len(data) - 4
	sum := data[pos-int(binary.BigEndian.Uint32(data[pos:])) : pos]
	pos -= len(sum) + 4
	index := data[pos-int(binary.BigEndian.Uint32(data[pos:])) : pos]
	if want, n := binary.Uvarint(sum[1:]); n <= 0 || sum[0] != sumTag || uint64(crc32.Checksum(index, castagnoli())) != want {
		return nil, errors.New("its index has the wrong checksum")
	}
	limit := pos - len(index)
	err = guard(func() error {
		root := fb.GetRootAsTableIndex(index, 0)
		var o fb.BlockOffset
		for i := range root.OffsetsLength() {
			if !root.Offsets(&o, i) {
				return fmt.Errorf("its index does not list block %d", i)
			}
			begin, end := int(o.Offset()), int(o.Offset())+int(o.Len())
			if end > limit {
				return fmt.Errorf("block %d does not fit", i)
			}
			if len(o.KeyBytes()) <= versionSize {
				return fmt.Errorf("its index has no key for block %d", i)
			}
			blocks = append(blocks, tableBlock{data: data[begin:end], first: o.KeyBytes()})
			if i > 0 {
				blocks[i-1].next = o.KeyBytes()
			}
		}
		return nil
	}, nil)
	return blocks, err
}

// searchedBlocks returns the blocks of a table without an index: each begins
// where the one before ends, and ends in a way that hardly anything else does.
func searchedBlocks(data []byte) []tableBlock {
	var blocks []tableBlock
	for begin := 0; begin < len(data); {
		end := endOfBlock(data[begin:min(len(data), begin+searchBlock)])
		if end == 0 {
			break
		}
		blocks = append(blocks, tableBlock{data: data[begin : begin+end]})
		begin += end
	}
	return blocks
}

// endOfBlock returns where the block at the start of data ends, 0 if nowhere.
func endOfBlock(data []byte) int {
	for end := 1; end <= len(data); end++ {
		size := data[end-1]
		if size < minSumSize || size > maxSumSize || end < 4 || data[end-2] != 0 || data[end-3] != 0 || data[end-4] != 0 {
			continue
		}
		b := tableBlock{data: data[:end]}
		offsets, count, _, ok := b.layout()
		if !ok || binary.LittleEndian.Uint32(data[offsets:]) != 0 {
			continue
		}
		ascending := true
		for i := 1; i < count && ascending; i++ {
			ascending = binary.LittleEndian.Uint32(data[offsets+4*i-4:]) < binary.LittleEndian.Uint32(data[offsets+4*i:])
		}
		if ascending && binary.LittleEndian.Uint32(data[offsets+4*count-4:]) < uint32(offsets) {
			return end
		}
	}
	return 0
}

// rebuildTable makes a table of what can be read of the one at path, and tells
// how many entries it has.
func rebuildTable(path string) (built []byte, count int, err error) {
	err = withMapped(path, func(data []byte) error {
		blocks, err := indexedBlocks(data)
		if err != nil {
			blocks = searchedBlocks(data)
		}
		var entries []tableEntry
		for _, b := range blocks {
			entries = append(entries, b.entries()...)
		}
		slices.SortStableFunc(entries, func(a, b tableEntry) int { return y.CompareKeys(a.key, b.key) })
		entries = slices.CompactFunc(entries, func(a, b tableEntry) bool { return bytes.Equal(a.key, b.key) })
		if count = len(entries); count == 0 {
			return nil
		}
		builder := table.NewTableBuilder(table.Options{
			TableSize: uint64(2*len(data) + 1<<20), BlockSize: 16 << 10, BloomFalsePositive: 0.01,
		})
		defer builder.Close()
		for _, e := range entries {
			var v y.ValueStruct
			v.Decode(e.value)
			builder.Add(e.key, v, 0)
		}
		built = builder.Finish()
		return nil
	})
	return built, count, err
}
