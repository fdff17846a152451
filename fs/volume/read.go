package volume

import (
	"errors"
	"fmt"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/store"
)

// Read reads into dst from off and returns how many bytes there were before
// the end of the file. Holes are zeros. The inode's key must be open.
func (v *Volume) Read(n *Inode, dst []byte, off uint64) (int, error) {
	if err := v.loadLeaves(n, off, len(dst)); err != nil {
		return 0, err
	}
	defer n.mu.RUnlock()
	if off >= n.Size {
		return 0, nil
	}
	dst = dst[:min(uint64(len(dst)), n.Size-off)]
	view := v.db.View()
	defer view.Release()
	r := reader{v: v, view: view, n: n, cipher: n.cipher.Load()}
	if r.cipher == nil {
		return 0, ErrKeyGone
	}
	return len(dst), r.read(dst, off)
}

// loadLeaves brings the map of the range into memory, and returns with n.mu
// held shared unless there is an error.
func (v *Volume) loadLeaves(n *Inode, off uint64, length int) error {
	first := off / (crypto.BlockSize * leafBlocks)
	last := (off + uint64(max(length, 1)) - 1) / (crypto.BlockSize * leafBlocks)
	for {
		n.mu.RLock()
		last := min(last, n.Size/(crypto.BlockSize*leafBlocks))
		missing, ok := uint64(0), true
		for i := first; i <= last && ok; i++ {
			missing = i
			_, ok = n.fmap.peek(i)
		}
		if ok {
			return nil
		}
		n.mu.RUnlock()
		n.mu.Lock()
		var err error
		for i := missing; i <= last && err == nil; i++ {
			_, err = n.fmap.leaf(v, n.Ino, i)
		}
		n.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// reader reads contents of one inode from one view of the store.
type reader struct {
	v       *Volume
	view    *store.View
	n       *Inode
	cipher  *crypto.FileCipher
	scratch []byte
}

// read fills dst from off. All of it lies before the end of the file.
func (r *reader) read(dst []byte, off uint64) error {
	for len(dst) > 0 {
		logical, at := off/crypto.BlockSize, int(off%crypto.BlockSize)
		k, err := r.run(dst, logical, at)
		if err != nil {
			return err
		}
		dst, off = dst[k:], off+uint64(k)
	}
	return nil
}

// run fills the start of dst with blocks that lie together, from byte at of
// the block logical on, and returns how many bytes.
func (r *reader) run(dst []byte, logical uint64, at int) (int, error) {
	n := r.n
	index, b := logical/leafBlocks, uint16(logical%leafBlocks)
	ch := n.content.chunks[index]
	if ch != nil && ch.refs[b] != 0 {
		return copy(dst, r.v.arena.block(ch.refs[b])[at:]), nil
	}
	leaf, known := n.fmap.peek(index)
	if !known {
		return 0, fmt.Errorf("leaf %d of inode %d is not in memory", index, n.Ino)
	}
	want := min((at+len(dst)+crypto.BlockSize-1)/crypto.BlockSize, leafBlocks-int(b))
	if ch != nil { // stop before the next dirty block
		for k := 1; k < want; k++ {
			if ch.refs[int(b)+k] != 0 {
				want = k
			}
		}
	}
	if leaf == nil {
		k := min(len(dst), want*crypto.BlockSize-at)
		clear(dst[:k])
		return k, nil
	}
	rec, ri, count, ok := leaf.Lookup(b)
	count = min(count, want)
	k := min(len(dst), count*crypto.BlockSize-at)
	if !ok {
		clear(dst[:k])
		return k, nil
	}
	return k, r.blocks(dst[:k], rec, ri, count, logical, at)
}

// blocks fills dst from count blocks of a data record.
func (r *reader) blocks(dst []byte, rec *extent.Rec, ri uint16, count int, logical uint64, at int) error {
	if f := r.n.content.flights[rec.ID]; f != nil {
		for i := range count {
			dst = dst[copy(dst, r.v.arena.block(f.refs[int(ri)+i])[at:]):]
			at = 0
		}
		return nil
	}
	rc, err := r.cipher.Record(rec.Salt)
	if err != nil {
		return err
	}
	err = r.view.Get(record.DataKey(r.n.Ino, rec.ID), func(value []byte) error {
		for i := range count {
			b := int(ri) + i
			start := b * (crypto.BlockSize + crypto.BlockOverhead)
			if start+crypto.BlockOverhead > len(value) {
				return fmt.Errorf("record %d ends before block %d", rec.ID, b)
			}
			sealed := value[start:min(start+crypto.BlockSize+crypto.BlockOverhead, len(value))]
			k := min(len(dst), crypto.BlockSize-at)
			if at == 0 && k == crypto.BlockSize {
				out, err := rc.OpenBlock(dst[:0:crypto.BlockSize], uint32(b), logical+uint64(i), sealed)
				if err != nil {
					return fmt.Errorf("block %d of record %d: %w", b, rec.ID, err)
				}
				clear(dst[len(out):crypto.BlockSize])
			} else {
				if r.scratch == nil {
					r.scratch = make([]byte, crypto.BlockSize)
				}
				out, err := rc.OpenBlock(r.scratch[:0], uint32(b), logical+uint64(i), sealed)
				if err != nil {
					return fmt.Errorf("block %d of record %d: %w", b, rec.ID, err)
				}
				clear(r.scratch[len(out):])
				copy(dst[:k], r.scratch[at:])
			}
			dst, at = dst[k:], 0
		}
		return nil
	})
	if err != nil {
		return damaged(record.KindData, r.n.Ino, err)
	}
	return nil
}

// readBlock reads a whole block that is not dirty into dst, zeros in a hole.
// The caller holds n.mu.
func (v *Volume) readBlock(n *Inode, leaf *extent.Leaf, logical uint64, dst []byte) error {
	rec, ri, _, ok := leaf.Lookup(uint16(logical % leafBlocks))
	if !ok {
		clear(dst)
		return nil
	}
	view := v.db.View()
	defer view.Release()
	r := reader{v: v, view: view, n: n, cipher: n.cipher.Load()}
	if r.cipher == nil {
		return ErrKeyGone
	}
	return r.blocks(dst[:crypto.BlockSize], rec, ri, 1, logical, 0)
}

// isHole reports whether a block is neither dirty nor mapped. The caller holds
// n.mu exclusively.
func (v *Volume) isHole(n *Inode, logical uint64) (bool, error) {
	if ch := n.content.chunks[logical/leafBlocks]; ch != nil && ch.refs[logical%leafBlocks] != 0 {
		return false, nil
	}
	leaf, err := n.fmap.leaf(v, n.Ino, logical/leafBlocks)
	if err != nil || leaf == nil {
		return true, err
	}
	_, _, _, ok := leaf.Lookup(uint16(logical % leafBlocks))
	return !ok, nil
}

// SeekData returns the first offset at or after off where there is data,
// SeekHole the first where there is none; the end of the file is a hole.
func (v *Volume) SeekData(n *Inode, off uint64) (uint64, error) {
	return v.seek(n, off, func(i uint64, ch *chunk, leaf *leafNode, b uint16) (uint16, bool) {
		for ; b < leafBlocks; b++ {
			if ch != nil && ch.refs[b] != 0 {
				return b, true
			}
			if leaf != nil && leaf.NextData(b) == b {
				return b, true
			}
		}
		return b, false
	})
}

// SeekHole is described with SeekData.
func (v *Volume) SeekHole(n *Inode, off uint64) (uint64, error) {
	return v.seek(n, off, func(i uint64, ch *chunk, leaf *leafNode, b uint16) (uint16, bool) {
		for ; b < leafBlocks; b++ {
			if ch != nil && ch.refs[b] != 0 {
				continue
			}
			if leaf == nil || leaf.NextHole(b) == b {
				return b, true
			}
		}
		return b, false
	})
}

// seek walks the leaves from off on until found says where to stop.
func (v *Volume) seek(n *Inode, off uint64, found func(index uint64, ch *chunk, leaf *leafNode, b uint16) (uint16, bool)) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if off >= n.Size {
		return 0, ErrNoSeek
	}
	const leafBytes = crypto.BlockSize * leafBlocks
	for at := off; at < n.Size; {
		index, b := at/leafBytes, uint16(at%leafBytes/crypto.BlockSize)
		leaf, err := n.fmap.leaf(v, n.Ino, index)
		if err != nil {
			return 0, err
		}
		if got, ok := found(index, n.content.chunks[index], leaf, b); ok {
			return min(n.Size, max(off, index*leafBytes+uint64(got)*crypto.BlockSize)), nil
		}
		at = (index + 1) * leafBytes
		if leaf == nil { // skip the holes that no leaf covers
			next, ok, err := n.fmap.nextLeaf(v, n.Ino, index+1)
			if err != nil {
				return 0, err
			}
			for i := range n.content.chunks {
				if i > index && (!ok || i < next) {
					next, ok = i, true
				}
			}
			if !ok {
				break
			}
			at = max(at, next*leafBytes)
		}
	}
	return v.seekEnd(n, off, found)
}

// seekEnd answers for a search that met nothing before the end of the file:
// the end is a hole, and there is no data.
func (v *Volume) seekEnd(n *Inode, _ uint64, found func(uint64, *chunk, *leafNode, uint16) (uint16, bool)) (uint64, error) {
	if _, hole := found(0, nil, nil, 0); hole {
		return n.Size, nil
	}
	return 0, ErrNoSeek
}

// ErrKeyGone is returned where the data key is needed and was revoked or
// never opened. Open tells why.
var ErrKeyGone = errors.New("data key is not open")
