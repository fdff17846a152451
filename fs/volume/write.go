package volume

import (
	"math"

	"ssefs/crypto"
	"ssefs/fs/extent"
)

// MaxFileSize is the largest size of a file in bytes.
const MaxFileSize = math.MaxInt64

// blocksOf returns how many blocks the bytes from off to off+n touch.
func blocksOf(off uint64, n int) int {
	if n == 0 {
		return 0
	}
	return int((off+uint64(n)-1)/crypto.BlockSize-off/crypto.BlockSize) + 1
}

// Write stores what an application wrote, past the page cache or through it
// without write-back: it moves the times and takes the privileges of suid
// programs away, as write(2) does. The inode's key must be open (see Open).
func (v *Volume) Write(n *Inode, off uint64, data []byte) error {
	if err := checkWrite(off, data); err != nil || len(data) == 0 {
		return err
	}
	s, err := v.stock(blocksOf(off, len(data)))
	if err != nil {
		return err
	}
	return v.write(n, s, off, data, func() {
		n.Mtime = v.clock()
		n.Ctime = n.Mtime
	})
}

// WriteBack stores pages that the kernel cached. Times are the kernel's own
// business then, and come as attributes.
func (v *Volume) WriteBack(n *Inode, off uint64, data []byte) error {
	if err := checkWrite(off, data); err != nil || len(data) == 0 {
		return err
	}
	r := byteRange{off, off + uint64(len(data))}
	n.expect(r)
	defer n.arrived(r)
	s, err := v.stockFor(n, r)
	if err != nil {
		return err
	}
	return v.write(n, s, off, data, func() {
		n.written(r.start, r.end, v.now())
		if len(n.content.gaps) > 0 {
			v.arena.look() // the next one may be among those that wait
		}
	})
}

func checkWrite(off uint64, data []byte) error {
	if off > MaxFileSize || uint64(len(data)) > MaxFileSize-off {
		return ErrTooBig
	}
	return nil
}

// write copies data into blocks of s and gives the rest back.
func (v *Volume) write(n *Inode, s *spare, off uint64, data []byte, after func()) error {
	defer s.release()
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := v.fill(n, s, off, data); err != nil {
		v.dropPastEnd(n)
		return err
	}
	ctime := n.Ctime
	after()
	n.Size = max(n.Size, off+uint64(len(data)))
	if n.Ctime != ctime {
		v.change(e, n)
	}
	return nil
}

// fill copies data into dirty blocks. The caller holds n.mu and is in a
// bracket.
func (v *Volume) fill(n *Inode, s *spare, off uint64, data []byte) error {
	if n.reaped {
		return ErrStale
	}
	if n.cipher.Load() == nil {
		return ErrKeyGone
	}
	for len(data) > 0 {
		logical, at := off/crypto.BlockSize, int(off%crypto.BlockSize)
		k := min(len(data), crypto.BlockSize-at)
		old := keepOld
		if k == crypto.BlockSize {
			old = replaceOld
		}
		b, err := v.dirtyBlock(n, s, logical, old)
		if err != nil {
			return err
		}
		copy(b[at:], data[:k])
		data, off = data[k:], off+uint64(k)
	}
	if n.content.dirty >= writeBackBlocks || v.arena.low() {
		v.wakeFlusher() // a writer may have begun to wait when nothing was dirty yet
	}
	return nil
}

// dropPastEnd undoes what a write that failed half-way left behind the end of
// the file, where it would show once the file grows. The caller holds n.mu.
func (v *Volume) dropPastEnd(n *Inode) {
	end := (n.Size + crypto.BlockSize - 1) / crypto.BlockSize
	v.dropDirty(n, end, math.MaxUint64)
	if at := n.Size % crypto.BlockSize; at != 0 {
		last := n.Size / crypto.BlockSize
		if ch := n.content.chunks[last/leafBlocks]; ch != nil && ch.refs[last%leafBlocks] != 0 {
			clear(v.arena.block(ch.refs[last%leafBlocks])[at:])
		}
	}
}

// oldContents says whether what a block holds matters to who makes it dirty.
type oldContents int

const (
	keepOld    oldContents = iota // it is read first
	replaceOld                    // all of it is about to be replaced
)

// dirtyBlock returns the memory of a dirty block, making one of a spare block
// where there is none.
func (v *Volume) dirtyBlock(n *Inode, s *spare, logical uint64, old oldContents) ([]byte, error) {
	ch, err := v.chunk(n, logical/leafBlocks)
	if err != nil {
		return nil, err
	}
	slot := &ch.refs[logical%leafBlocks]
	if *slot != 0 {
		return v.arena.block(*slot), nil
	}
	b := v.arena.block(s.refs[len(s.refs)-1])
	if old == keepOld {
		if err := v.readBlock(n, &ch.leaf.Leaf, logical, b); err != nil {
			return nil, err
		}
	}
	*slot = s.pop()
	ch.count++
	n.content.dirty++
	if !ch.mapped(logical % leafBlocks) {
		n.content.added++
	}
	w := 0
	if ch.count <= ownRecord {
		w = blockWeight
	}
	if n.content.dirty <= inlineRecords {
		w += inlineWeight
	}
	v.weigh(n, w)
	v.queue(n)
	return b, nil
}

// mapped reports whether a block of the chunk has contents that are stored.
func (c *chunk) mapped(block uint64) bool {
	_, _, _, ok := c.leaf.Lookup(uint16(block))
	return ok
}

func (v *Volume) weigh(n *Inode, w int) {
	n.content.weight += w
	v.dataWeight.Add(int64(w))
}

// chunk returns the chunk of a leaf, making it if need be.
func (v *Volume) chunk(n *Inode, index uint64) (*chunk, error) {
	if ch := n.content.chunks[index]; ch != nil {
		return ch, nil
	}
	leaf, err := n.fmap.leafForChange(v, n.Ino, index)
	if err != nil {
		return nil, err
	}
	if n.content.chunks == nil {
		n.content.chunks = make(map[uint64]*chunk)
	}
	leaf.held = true
	ch := &chunk{leaf: leaf}
	n.content.chunks[index] = ch
	v.weigh(n, leaf.weight())
	return ch, nil
}

// dropDirty gives back the dirty blocks from first up to but not including
// end. The caller holds n.mu.
func (v *Volume) dropDirty(n *Inode, first, end uint64) {
	var free []blockRef
	for i, ch := range n.content.chunks {
		base := i * leafBlocks
		if base >= end || base+leafBlocks <= first {
			continue
		}
		for b := range ch.refs {
			if l := base + uint64(b); ch.refs[b] != 0 && l >= first && l < end {
				free = append(free, ch.refs[b])
				ch.refs[b] = 0
				ch.count--
				n.content.dirty--
				if !ch.mapped(uint64(b)) {
					n.content.added--
				}
			}
		}
		if ch.count == 0 {
			ch.leaf.held = false
			delete(n.content.chunks, i)
		}
	}
	v.arena.give(free)
	if n.content.dirty == 0 {
		v.dataWeight.Add(-int64(n.content.weight))
		n.content.weight = 0
	}
	v.unqueueFlushed(n)
}

// unmapEnd makes holes of the blocks from first on to the end of the file. Of
// many leaves most are cut off unread and swept up later. The caller holds n.mu
// and is in a bracket of e.
func (v *Volume) unmapEnd(e *epoch, n *Inode, first uint64) error {
	end := uint64(math.MaxInt64/crypto.BlockSize + 1)
	v.dropDirty(n, first, end)
	size := (n.Size + crypto.BlockSize - 1) / crypto.BlockSize
	cut := (first + leafBlocks - 1) / leafBlocks
	if size/leafBlocks > cut+v.limits.leaves {
		blocks, err := n.fmap.cutFrom(v, n.Ino, cut)
		if err != nil {
			return err
		}
		blocks = min(n.Blocks, blocks)
		n.Blocks -= blocks
		v.blocks.Add(-int64(blocks))
		v.sweepLater(e, n)
		end = cut * leafBlocks
	}
	return v.unmap(e, n, first, end)
}

// unmap makes holes of the blocks from first up to but not including end. The
// caller holds n.mu and is in a bracket of e.
func (v *Volume) unmap(e *epoch, n *Inode, first, end uint64) error {
	v.dropDirty(n, first, end)
	before := n.Blocks
	defer func() { v.blocks.Add(int64(n.Blocks) - int64(before)) }()
	var drops []extent.Drop
	for first < end {
		i, ok, err := n.fmap.nextLeaf(v, n.Ino, first/leafBlocks)
		if err != nil {
			return err
		}
		if !ok || i*leafBlocks >= end {
			break
		}
		from := max(first, i*leafBlocks)
		to := min(end, (i+1)*leafBlocks)
		leaf, err := n.fmap.leaf(v, n.Ino, i)
		if err != nil {
			return err
		}
		if leaf != nil {
			k := len(drops)
			drops = leaf.Clear(uint16(from-i*leafBlocks), uint16(to-from), drops)
			if len(drops) > k {
				n.fmap.touch(leaf)
				e.weight.Add(int64(leaf.weight()))
			}
		}
		first = to
	}
	for _, d := range drops {
		n.Blocks -= min(n.Blocks, uint64(d.Blocks))
	}
	e.drop(n.Ino, drops, v.now())
	v.waste.add(n.Ino, drops)
	return nil
}

// sweepLater asks for the records that the map of n stopped naming unread to
// be deleted. The caller holds n.mu and is in a bracket of e.
func (v *Volume) sweepLater(e *epoch, n *Inode) {
	n.sweep = v.nextRecord.Load()
	if n.unlinked {
		return // all its records go with it
	}
	v.orphanRecords(e, n)
}

// orphanRecords writes down that n is to be swept.
func (v *Volume) orphanRecords(e *epoch, n *Inode) {
	if !n.sweepPinned {
		n.sweepPinned = true
		v.table.repin(n)
	}
	e.mu.Lock()
	e.orphans[n.Ino] = n.sweep
	e.touched(v.now())
	e.mu.Unlock()
}

// resize sets the size. A block that the new size ends in keeps only the bytes
// before it, so that none reappear when the file grows again. s has at least
// one block. The caller holds n.mu and is in a bracket of e.
func (v *Volume) resize(e *epoch, n *Inode, s *spare, size uint64) error {
	if size > MaxFileSize {
		return ErrTooBig
	}
	n.holesStay()
	if size < n.Size {
		first := (size + crypto.BlockSize - 1) / crypto.BlockSize
		if err := v.clearTail(n, s, size); err != nil {
			return err
		}
		if err := v.unmapEnd(e, n, first); err != nil {
			return err
		}
	}
	n.Size = size
	n.mustFlush = true
	v.change(e, n)
	return nil
}

// clearTail zeroes the rest of the block that size ends in.
func (v *Volume) clearTail(n *Inode, s *spare, size uint64) error {
	at := size % crypto.BlockSize
	if at == 0 {
		return nil
	}
	return v.clearBytes(n, s, size, crypto.BlockSize-int(at))
}

// clearBytes zeroes bytes within one block, unless it is a hole.
func (v *Volume) clearBytes(n *Inode, s *spare, off uint64, count int) error {
	logical := off / crypto.BlockSize
	hole, err := v.isHole(n, logical)
	if hole || err != nil {
		return err
	}
	if n.cipher.Load() == nil {
		return ErrKeyGone
	}
	b, err := v.dirtyBlock(n, s, logical, keepOld)
	if err != nil {
		return err
	}
	at := int(off % crypto.BlockSize)
	clear(b[at : at+count])
	return nil
}

// Allocate does what fallocate(2) does. Blocks are not set aside: a store that
// never overwrites could not keep such a promise. It only checks that there is
// room now. The inode's key must be open.
func (v *Volume) Allocate(n *Inode, off, length uint64, mode AllocateMode) error {
	if off > MaxFileSize || length > MaxFileSize-off {
		return ErrTooBig
	}
	end := off + length
	switch mode {
	case AllocateExtend, AllocateKeepSize:
		if err := v.space.check(length); err != nil {
			return err
		}
	default:
		n.mu.RLock()
		last := min(end, max(n.Size, off))
		n.mu.RUnlock()
		for at := off; at < last; {
			var err error
			if at, err = v.punchSome(n, at, last); err != nil {
				return err
			}
		}
	}
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if (mode == AllocateExtend || mode == AllocateZero) && end > n.Size {
		n.Size = end
		v.queue(n) // for what is to be written before, the size may have to wait
	}
	n.mustFlush = true
	n.Ctime = v.clock()
	if mode != AllocateExtend && mode != AllocateKeepSize {
		n.Mtime = n.Ctime
	}
	v.change(e, n)
	return nil
}

// punchSome punches as much of a range as one epoch takes, and returns where to
// go on.
func (v *Volume) punchSome(n *Inode, off, end uint64) (uint64, error) {
	s, err := v.stock(2)
	if err != nil {
		return 0, err
	}
	defer s.release()
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	v.change(e, n)
	n.mustFlush = true
	if end, err = v.punchEnd(n, off, end); err != nil {
		return 0, err
	}
	return end, v.punch(e, n, s, off, min(end, n.Size))
}

// punchEnd returns the end of what one change may punch: the range's, or where
// the leaf after so many begins. The caller holds n.mu.
func (v *Volume) punchEnd(n *Inode, off, end uint64) (uint64, error) {
	const leafBytes = leafBlocks * crypto.BlockSize
	index := off / leafBytes
	for range v.limits.leaves {
		i, ok, err := n.fmap.nextLeaf(v, n.Ino, index)
		if err != nil {
			return 0, err
		}
		if !ok || i >= end/leafBytes {
			return end, nil
		}
		index = i + 1
	}
	return min(end, index*leafBytes), nil
}

// AllocateMode selects what Allocate does, after fallocate(2).
type AllocateMode int

// The modes of Allocate.
const (
	AllocateExtend       AllocateMode = iota // allocate, and extend the file
	AllocateKeepSize                         // allocate, leave the size
	AllocatePunch                            // make a hole, leave the size
	AllocateZero                             // zero a range, and extend the file
	AllocateZeroKeepSize                     // zero a range, leave the size
)

// punch makes the bytes from off up to but not including end read as zeros.
func (v *Volume) punch(e *epoch, n *Inode, s *spare, off, end uint64) error {
	if off >= end {
		return nil
	}
	first := (off + crypto.BlockSize - 1) / crypto.BlockSize
	last := end / crypto.BlockSize
	if off/crypto.BlockSize == end/crypto.BlockSize && off%crypto.BlockSize != 0 {
		return v.clearBytes(n, s, off, int(end-off))
	}
	if off%crypto.BlockSize != 0 {
		if err := v.clearTail(n, s, off); err != nil {
			return err
		}
	}
	if end == n.Size {
		last = (end + crypto.BlockSize - 1) / crypto.BlockSize
	} else if end%crypto.BlockSize != 0 {
		if err := v.clearBytes(n, s, last*crypto.BlockSize, int(end%crypto.BlockSize)); err != nil {
			return err
		}
	}
	if first >= last {
		return nil
	}
	return v.unmap(e, n, first, last)
}
