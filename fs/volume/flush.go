package volume

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/store"
)

// leafBytes is how much of a file a leaf maps.
const leafBytes = leafBlocks * crypto.BlockSize

// ownRecord is the number of dirty blocks in a leaf from which on they get a
// data record of their own; fewer are packed with those of other leaves.
const ownRecord = 32

// mapDirty maps the dirty blocks of n to new data records, in the bracket of e,
// and returns them for sealing: those of whole leaves before the byte reach, or
// everything. The caller holds n.mu.
func (v *Volume) mapDirty(e *epoch, n *Inode, reach uint64) []*flight {
	c := &n.content
	indexes := make([]uint64, 0, len(c.chunks))
	flushed := 0
	for i, ch := range c.chunks {
		if reach == everything || i < reach/leafBytes {
			indexes = append(indexes, i)
			flushed += ch.count
		}
	}
	if flushed == 0 {
		return nil
	}
	slices.Sort(indexes)
	var flights []*flight
	var pack *flight
	packLeaf := uint64(0)
	start := func(room int) *flight {
		f := &flight{
			ino: n, id: v.nextRecord.Add(1) - 1, salt: crypto.NewSalt(), cipher: n.cipher.Load(),
			logical: make([]uint64, 0, room), refs: make([]blockRef, 0, room), last: crypto.BlockSize,
		}
		flights = append(flights, f)
		return f
	}
	for _, i := range indexes {
		ch := c.chunks[i]
		f := pack
		if ch.count >= ownRecord {
			f = start(ch.count)
		} else if f == nil || len(f.refs)+ch.count > crypto.MaxRecordBlocks {
			f = start(min(c.dirty, crypto.MaxRecordBlocks))
			pack, packLeaf = f, i
		} else if packLeaf != i {
			f.shared = true
		}
		for b, ref := range ch.refs {
			if ref != 0 {
				f.logical = append(f.logical, i*leafBlocks+uint64(b))
				f.refs = append(f.refs, ref)
			}
		}
	}
	var drops []extent.Drop
	before := n.Blocks
	for _, f := range flights {
		drops = v.mapFlight(n, f, drops)
	}
	for _, d := range drops {
		n.Blocks -= uint64(d.Blocks)
	}
	n.Blocks += uint64(flushed)
	v.blocks.Add(int64(n.Blocks) - int64(before))
	e.drop(n.Ino, drops, v.now())
	v.waste.add(n.Ino, drops)
	for _, i := range indexes {
		c.chunks[i].leaf.held = false
		delete(c.chunks, i)
	}
	if reach == everything {
		c.size = n.Size
	} else {
		c.size = max(c.size, min(n.Size, reach/leafBytes*leafBytes))
	}
	c.dirty -= flushed
	left := v.recountDirty(n)
	e.weight.Add(int64(c.weight - left))
	v.dataWeight.Add(int64(left - c.weight))
	c.weight = left
	v.unqueueFlushed(n)
	v.change(e, n)
	return flights
}

// recountDirty counts anew how many dirty blocks replace no stored one, and
// returns the weight of all. The caller holds n.mu.
func (v *Volume) recountDirty(n *Inode) (weight int) {
	c := &n.content
	c.added = 0
	for _, ch := range c.chunks {
		weight += min(ch.count, ownRecord) * blockWeight
		for b, ref := range ch.refs {
			if ref != 0 && !ch.mapped(uint64(b)) {
				c.added++
			}
		}
	}
	return weight + min(c.dirty, inlineRecords)*inlineWeight
}

// mapFlight enters one data record into the map.
func (v *Volume) mapFlight(n *Inode, f *flight, drops []extent.Drop) []extent.Drop {
	c := &n.content
	rec := extent.Rec{ID: f.id, Salt: f.salt, Blocks: uint16(len(f.refs)), Shared: f.shared}
	for i := 0; i < len(f.logical); {
		first := f.logical[i]
		leaf := c.chunks[first/leafBlocks].leaf
		k := i + 1
		for k < len(f.logical) && f.logical[k] == f.logical[k-1]+1 && f.logical[k]%leafBlocks != 0 {
			k++
		}
		n.fmap.leaves[leaf.index] = leaf
		drops = leaf.Set(uint16(first%leafBlocks), uint16(k-i), rec, uint16(i), drops)
		n.fmap.touch(leaf)
		i = k
	}
	if end := f.logical[len(f.logical)-1]; n.Size/crypto.BlockSize == end && n.Size%crypto.BlockSize != 0 {
		f.last = int(n.Size % crypto.BlockSize)
	}
	if c.flights == nil {
		c.flights = make(map[uint64]*flight)
	}
	c.flights[f.id] = f
	v.table.repin(n)
	return drops
}

// sealFlights seals data records into the batch, on all processors, and
// returns the buffers to be given back after the commit.
func (v *Volume) sealFlights(b *store.Batch, flights []*flight, version uint64) ([]*[]byte, error) {
	buffers := make([]*[]byte, len(flights))
	errs := make([]error, len(flights))
	blocks := 0
	for _, f := range flights {
		blocks += len(f.refs)
	}
	workers := min(v.processors, len(flights), blocks/blocksPerSealer)
	if workers <= 1 {
		for i, f := range flights {
			buffers[i], errs[i] = v.seal(f)
		}
	} else {
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := w; i < len(flights); i += workers {
					buffers[i], errs[i] = v.seal(flights[i])
				}
			})
		}
		wg.Wait()
	}
	if err := errors.Join(errs...); err != nil {
		return buffers, err
	}
	for i, f := range flights {
		b.Put(record.DataKey(f.ino.Ino, f.id), *buffers[i])
		if f.shared {
			p := record.Pack{Version: version, Live: uint32(len(f.logical)), Logical: f.logical}
			v.put(b, record.PackKey(f.ino.Ino, f.id), p.Append(nil))
		}
	}
	return buffers, nil
}

// blocksPerSealer is how many blocks must be there for a processor more to help
// sealing: waking it takes as long as sealing as many.
const blocksPerSealer = 64

// seal returns the sealed data record.
func (v *Volume) seal(f *flight) (*[]byte, error) {
	if f.cipher == nil {
		return nil, fmt.Errorf("data key of inode %d is gone", f.ino.Ino)
	}
	rc, err := f.cipher.Record(f.salt)
	if err != nil {
		return nil, err
	}
	size := crypto.SealedSize(len(f.refs), f.last)
	var buf *[]byte
	if size <= smallBuffer {
		small := make([]byte, 0, size)
		buf = &small
	} else {
		buf = v.buffers.Get().(*[]byte)
	}
	out := (*buf)[:0]
	for i, ref := range f.refs {
		plain := v.arena.block(ref)
		if i == len(f.refs)-1 {
			plain = plain[:f.last]
		}
		out = rc.SealBlock(out, uint32(i), f.logical[i], plain)
	}
	*buf = out
	return buf, nil
}

// smallBuffer is the size up to which sealed records get memory of their own;
// bigger ones come from a pool.
const smallBuffer = 64 << 10

func (v *Volume) returnBuffers(buffers []*[]byte) {
	for _, b := range buffers {
		if b != nil && cap(*b) > smallBuffer {
			v.buffers.Put(b)
		}
	}
}

// countPack changes a pack's count, and deletes the pack with its last block. A
// pack whose record is damaged stays as it is: that takes up space, and nothing
// else depends on it, so it is no reason to take no more changes.
func (v *Volume) countPack(b *store.Batch, version uint64, key record.DataRef, c packCount) error {
	k := record.PackKey(key.Inode, key.Record)
	plain, err := v.get(k)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // its file was deleted, or fsck will tell
	case err != nil && !errors.Is(err, crypto.ErrAuth):
		return damaged(record.KindPack, key.Inode, err)
	}
	var p *record.Pack
	if err == nil {
		p, err = record.DecodePack(plain)
	}
	if err != nil {
		v.log.Error("the space of overwritten data cannot be given back; run ssefs fsck",
			"path", v.PathOfNumber(key.Inode), "err", damaged(record.KindPack, key.Inode, err))
		return nil
	}
	live := int(p.Live)
	if c.counted {
		live = c.live
	}
	live -= c.gone
	if live <= 0 {
		b.Delete(k)
		b.Delete(record.DataKey(key.Inode, key.Record))
		return nil
	}
	p.Live = uint32(live)
	if int(p.Live)*sparsePack < len(p.Logical) {
		v.mergeLater(mergeJob{ino: key.Inode, pack: key.Record, logical: p.Logical, due: v.mergeDue(fragmented)})
	}
	p.Version = version
	v.put(b, k, p.Append(nil))
	return nil
}

// writeBackBlocks is the number of dirty blocks of one inode from which on they
// are stored early.
const writeBackBlocks = 2048

// unflushed reports whether there is something to flush of a file: dirty data, or
// a size that is not the one to be stored. The caller holds n.mu.
func (n *Inode) unflushed() bool {
	return n.content.dirty > 0 || n.IsRegular() && !n.reaped && n.content.size != n.Size
}

// queue puts n on the list of files of which something is to be flushed. The
// caller holds n.mu.
func (v *Volume) queue(n *Inode) {
	now := v.now()
	v.dirtyLast.Store(now)
	if n.content.queued {
		return
	}
	n.content.queued = true
	v.table.repin(n)
	v.dirtyMu.Lock()
	if v.dirtySince == 0 {
		v.dirtySince = now
	}
	v.dirtyFiles[n] = struct{}{}
	v.dirtyMu.Unlock()
}

// unqueueFlushed takes n off the list if nothing is to be flushed of it. The caller
// holds n.mu and a pin of its own.
func (v *Volume) unqueueFlushed(n *Inode) {
	if !n.content.queued || n.unflushed() {
		return
	}
	n.content.queued = false
	v.dirtyMu.Lock()
	delete(v.dirtyFiles, n)
	if len(v.dirtyFiles) == 0 {
		v.dirtySince = 0
	}
	v.dirtyMu.Unlock()
	v.table.unpin(n)
}

// flusher writes back files in the background: those that asked for it, and
// the biggest when the arena runs low.
func (v *Volume) flusher() {
	defer v.background.Done()
	for {
		select {
		case <-v.stop:
			return
		case <-v.flushWanted:
		}
		for v.writable() == nil {
			n := v.pickDirty()
			if n == nil {
				break
			}
			_ = v.writeBack(n) // fail has logged it
			v.table.unpin(n)
		}
	}
}

// dirtyBefore returns how many dirty blocks mapDirty would flush. The caller
// holds n.mu.
func (n *Inode) dirtyBefore(reach uint64) (dirty int) {
	if reach == everything {
		return n.content.dirty
	}
	for i, ch := range n.content.chunks {
		if i < reach/leafBytes {
			dirty += ch.count
		}
	}
	return dirty
}

// pickDirty returns, pinned, the inode with the most dirty blocks if there is
// a reason to write it back.
func (v *Volume) pickDirty() *Inode {
	low := v.arena.low()
	v.dirtyMu.Lock()
	files := make([]*Inode, 0, len(v.dirtyFiles))
	for n := range v.dirtyFiles {
		v.table.repin(n)
		files = append(files, n)
	}
	v.dirtyMu.Unlock()
	var best *Inode
	most := 0
	for _, n := range files {
		n.mu.RLock()
		d := n.content.dirty
		switch {
		case low:
			d = n.dirtyBefore(n.reach(v.now(), shortPatience))
		case !n.settled(v.now()):
			d = 0
		}
		n.mu.RUnlock()
		if d > most {
			if best != nil {
				v.table.unpin(best)
			}
			best, most = n, d
		} else {
			v.table.unpin(n)
		}
	}
	if best != nil && most < writeBackBlocks && !low {
		v.table.unpin(best)
		return nil
	}
	return best
}

func (v *Volume) wakeFlusher() {
	select {
	case v.flushWanted <- struct{}{}:
	default:
	}
}
