package volume

import (
	"errors"
	"fmt"
	"time"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// closing is an epoch that takes no more changes, on its way into the store.
type closing struct {
	*epoch
	version  uint64
	head     record.Head // counters as of the end of the epoch
	items    []item
	flights  []*flight
	policies map[uint64]bucketState
	set      *record.Settings
	merges   []mergeJob
}

// item is one inode of a closing epoch. Everything in it was encoded while the
// epoch was being closed and does not change any more.
type item struct {
	inode  *Inode
	bucket uint64
	before uint64 // version stored so far, 0: none
	// Blocks that are not holes, as stored so far and as of now.
	blocksBefore, blocks uint64
	gone                 bool // the inode record is deleted
	orphan               bool // its records are deleted bit by bit from now on
	plain                []byte
	nodes                []mapNode
	deletes              [][]byte
	xattrs               []byte
	entries              *entryChanges
}

// mapNode is an encoded extent map node; plain nil means that it is deleted.
type mapNode struct {
	level uint8
	index uint64
	plain []byte
}

func (it *item) putNode(level uint8, index uint64, plain []byte) {
	it.nodes = append(it.nodes, mapNode{level, index, plain})
}

func (it *item) deleteNode(level uint8, index uint64) {
	it.nodes = append(it.nodes, mapNode{level, index, nil})
}

// commit makes the current epoch durable, with the dirty data of the inodes
// that wants returns, each pinned. The caller holds commitMu and nothing after
// it.
func (v *Volume) commit(wants func() []toFlush) error {
	if err := v.writable(); err != nil {
		return err
	}
	files := wants()
	for _, f := range files {
		// What is big goes ahead of the epoch, so that neither the epoch nor the
		// memory for sealing it grows without bound.
		f.n.mu.RLock()
		big := f.n.content.dirty >= writeBackBlocks && f.n.flushable(f.mode, v.now()) == everything
		f.n.mu.RUnlock()
		if big {
			if err := v.storeAhead(f.n, func() uint64 { return f.n.flushable(f.mode, v.now()) }); err != nil {
				return err
			}
		}
	}
	c := v.closeEpoch(files)
	if c == nil {
		return nil
	}
	err := v.storeEpoch(c)
	if err == nil {
		v.head = c.head
		v.committed.Store(c.seq)
	}
	v.settle(c, err)
	if err != nil {
		return v.fail(fmt.Errorf("commit of epoch %d: %w", c.version, err))
	}
	return nil
}

// closeEpoch stops all changes, maps the dirty data of files, gives up their
// pins, encodes what the epoch changed and opens the next one. It returns nil if
// there is nothing to store.
func (v *Volume) closeEpoch(files []toFlush) *closing {
	v.epochMu.Lock()
	defer v.epochMu.Unlock()
	e := v.epoch
	c := &closing{epoch: e, version: v.db.NextVersion()}
	for _, f := range files {
		v.flushInto(c, f)
		v.table.unpin(f.n)
	}
	for i := 0; i < len(e.inodes); i++ { // flushing may add to the list
		n := e.inodes[i]
		if n.mustFlush {
			v.flushInto(c, toFlush{n, flushSettled})
		}
	}
	if e.since == 0 {
		return nil
	}
	c.items = make([]item, 0, len(e.inodes))
	for _, n := range e.inodes {
		n.mu.Lock()
		c.items = append(c.items, v.encode(c, n))
		n.mu.Unlock()
	}
	c.policies = v.captureBuckets(c)
	if e.settings {
		s := v.settings.Load().record()
		s.Version = c.version
		c.set = &s
	}
	c.head = v.head
	c.head.Version = c.version
	if !v.resuming.Load() {
		c.head.Epoch = c.version
	}
	c.head.NextInode = v.nextInode.Load()
	c.head.NextRecord = v.nextRecord.Load()
	c.head.Blocks = uint64(max(0, v.blocks.Load()))
	c.head.Keystore = v.keystore.Load()
	c.head.Header = v.header.Load()
	if e.settings {
		c.head.Settings = c.version
	}
	v.epoch = newEpoch(e.seq + 1)
	return c
}

// flushMode says what to do with files whose last writes are not all there yet;
// see gap.
type flushMode int

const (
	flushAll     flushMode = iota // flush them: somebody waits for it
	flushSettled                  // leave them for the next commit
)

// toFlush is a file whose dirty data is to be flushed.
type toFlush struct {
	n    *Inode
	mode flushMode
}

// flushable returns up to which byte n is flushed. The caller holds n.mu.
func (n *Inode) flushable(mode flushMode, now int64) uint64 {
	if mode == flushAll {
		return everything
	}
	return n.reach(now, gapPatience)
}

// flushInto maps the file's dirty data within the closing epoch. Of a file whose
// last writes are not all there, what is before the first gap goes along if it
// must.
func (v *Volume) flushInto(c *closing, f toFlush) {
	n := f.n
	n.mu.Lock()
	defer n.mu.Unlock()
	reach := n.flushable(f.mode, v.now())
	if reach != everything && !n.mustFlush {
		return
	}
	n.mustFlush = false
	switch {
	case n.content.dirty > 0 && !n.reaped:
		c.flights = append(c.flights, v.mapDirty(c.epoch, n, reach)...)
	case n.IsRegular() && reach == everything:
		if n.content.size != n.Size {
			v.change(c.epoch, n)
		}
		n.content.size = n.Size
	}
	v.unqueueFlushed(n)
}

// encode turns the state of n into an item. The caller holds n.mu.
func (v *Volume) encode(c *closing, n *Inode) item {
	it := item{inode: n, bucket: n.Bucket, before: n.stored, blocksBefore: n.storedBlocks, entries: n.dir.pending}
	n.dir.closing, n.dir.pending = n.dir.pending, nil
	if n.reaped && !n.big() {
		it.gone = true
		if n.stored != 0 {
			it.deletes = append(it.deletes, record.InodeKey(n.Ino))
		}
		if n.xattrVersion != 0 {
			it.deletes = append(it.deletes, record.XattrKey(n.Ino))
		}
		for _, l := range n.fmap.leaves {
			for _, r := range l.Recs {
				it.deletes = append(it.deletes, record.DataKey(n.Ino, r.ID))
				if r.Shared {
					it.deletes = append(it.deletes, record.PackKey(n.Ino, r.ID))
				}
			}
		}
		if n.orphanStored {
			it.deletes = append(it.deletes, record.OrphanKey(n.Ino))
		}
		n.stored, n.storedBlocks = 0, 0
		return it
	}
	it.orphan = n.reaped
	if n.unlinked && !n.orphanStored {
		c.orphans[n.Ino] = 0
		n.orphanStored = true
	}
	if n.xattrs != nil && n.xattrs.dirty {
		n.xattrs.dirty = false
		if len(n.xattrs.list) > 0 {
			n.xattrVersion = c.version
			it.xattrs = record.AppendXattrs(nil, c.version, n.xattrs.list)
		} else if n.xattrVersion != 0 {
			n.xattrVersion = 0
			it.deletes = append(it.deletes, record.XattrKey(n.Ino))
		}
	}
	r := record.Inode{
		Version: c.version, Attr: n.Attr, XattrVersion: n.xattrVersion,
		Parent: n.parent, Entries: n.dir.entries, Subdirs: n.dir.subdirs, EntrySet: n.dir.set,
		Target: n.target, Envelope: n.envelope,
	}
	if n.IsRegular() {
		for _, l := range n.fmap.dirty {
			if f := fragmentationOf(&l.Leaf); f != compact {
				c.merges = append(c.merges, mergeJob{ino: n.Ino, leaf: l.index, due: v.mergeDue(f)})
			}
		}
		r.Size = n.content.size
		r.Map = n.fmap.encode(c.version, &it)
	}
	it.plain = r.Append(nil)
	it.blocks = n.Blocks
	n.stored, n.storedBlocks = c.version, n.Blocks
	return it
}

// storeEpoch seals the epoch and commits it. Other changes go on meanwhile.
func (v *Volume) storeEpoch(c *closing) error {
	b := newBatch()
	buffers, err := v.sealFlights(b, c.flights, c.version)
	defer v.returnBuffers(buffers)
	if err != nil {
		return err
	}
	for key, change := range c.packs {
		if err := v.countPack(b, c.version, key, change); err != nil {
			return err
		}
	}
	for _, k := range c.deletes {
		b.Delete(k)
	}
	for _, n := range c.pending {
		b.Delete(record.PendingKey(n))
	}
	for ino, below := range c.orphans {
		o := record.Orphan{Version: c.version, Below: below}
		v.put(b, record.OrphanKey(ino), o.Append(nil))
	}
	for i := range c.items {
		v.storeItem(b, c, &c.items[i])
	}
	v.storeBuckets(b, c)
	if c.set != nil {
		v.put(b, record.SettingsKey(), c.set.Append(nil))
	}
	v.put(b, record.HeadKey(), c.head.Append(nil))
	return v.commitBatch(b)
}

// put seals a record into the batch.
func (v *Volume) put(b *store.Batch, key, plain []byte) {
	b.Put(key, v.records.Seal(make([]byte, 0, len(plain)+crypto.SealOverhead), key, plain))
}

func (v *Volume) storeItem(b *store.Batch, c *closing, it *item) {
	ino := it.inode.Ino
	for _, k := range it.deletes {
		b.Delete(k)
	}
	for _, n := range it.nodes {
		key := record.MapKey(ino, n.level, n.index)
		if n.plain == nil {
			b.Delete(key)
		} else {
			v.put(b, key, n.plain)
		}
	}
	if it.xattrs != nil {
		v.put(b, record.XattrKey(ino), it.xattrs)
	}
	if it.entries != nil {
		for h, ch := range it.entries.m {
			key := record.EntryKey(ino, h)
			if ch.removed {
				b.Delete(key)
				continue
			}
			e := record.Entry{Version: c.version, Inode: ch.Inode, Type: ch.Type, Name: ch.Name}
			v.put(b, key, e.Append(nil))
		}
	}
	if !it.gone {
		v.put(b, record.InodeKey(ino), it.plain)
	}
	v.countInode(c, it)
}

// commitBatch commits, waiting for space where the store has none for the
// moment: what is in the batch was promised to fit when it was accepted.
func (v *Volume) commitBatch(b *store.Batch) error {
	for try := 0; ; try++ {
		_, err := v.db.Commit(b)
		if err == nil || !errors.Is(err, store.ErrFull) || try == fullRetries {
			return err
		}
		v.log.Warn("the store's disk is full; trying again", "err", err)
		time.Sleep(fullPause)
	}
}

// How often and how long a commit waits for space on the disk: as long as a
// compaction may take that gives space back, on a busy disk.
const (
	fullRetries = 240
	fullPause   = 250 * time.Millisecond
)

// settle lets go of what the epoch held once it is stored, or failed.
func (v *Volume) settle(c *closing, err error) {
	if err == nil {
		v.landFlights(c.flights)
	}
	for i := range c.items {
		it := &c.items[i]
		if it.entries != nil && err == nil {
			it.inode.mu.Lock()
			it.inode.dir.closing = nil
			it.inode.mu.Unlock()
		}
		if it.orphan && err == nil {
			v.reclaimLater(it.inode.Ino, 0)
		}
		if err == nil { // what could not be stored is only in memory, and shown from there
			v.table.unpin(it.inode)
		}
	}
	if err == nil {
		for _, j := range c.merges {
			v.mergeLater(j)
		}
		for ino, below := range c.orphans {
			if below > 0 {
				v.reclaimLater(ino, below)
			}
		}
	}
}

// landFlights gives back the blocks of data records that are stored now.
func (v *Volume) landFlights(flights []*flight) {
	for _, f := range flights {
		f.ino.mu.Lock()
		delete(f.ino.content.flights, f.id)
		f.ino.mu.Unlock()
		v.arena.give(f.refs)
		v.table.unpin(f.ino)
	}
}

// newBatch returns a batch that may use the store's reserve: what a commit
// holds was accepted earlier, when there was room for it.
func newBatch() *store.Batch {
	b := &store.Batch{}
	b.UseReserve()
	return b
}
