package volume

import (
	"sync"
	"sync/atomic"
	"time"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// epochLimits are the sizes in bytes of what an epoch may hold, by estimate. A
// transaction of the store takes two and a half times the hard limit, so that an
// estimate may be wrong by as much, and callers who were all let in before they
// made the epoch heavy find room.
type epochLimits struct {
	soft   int64  // the committer is woken
	hard   int64  // changes wait
	leaves uint64 // that one change may empty, if each of their blocks is a record
}

func newEpochLimits(transaction int64) epochLimits {
	hard := transaction * 2 / 5
	const worstLeaf = leafBlocks * deleteWeight
	return epochLimits{soft: hard * 3 / 5, hard: hard, leaves: uint64(min(64, max(1, hard/worstLeaf)))}
}

// Estimated weights of what changes add to an epoch.
const (
	inodeWeight   = 420
	entryWeight   = 110 // and the name
	deleteWeight  = 96  // Badger counts entries, too: one for each 96 bytes of a transaction
	blockWeight   = 56
	packWeight    = 800  // the record that counts a pack's blocks
	inlineWeight  = 4300 // a data record so small that it travels with the metadata
	inlineRecords = 2    // blocks of such a record, at most
)

// epoch collects what one commit stores, apart from what the inodes on its
// list hold themselves.
type epoch struct {
	seq    uint64
	weight atomic.Int64

	mu       sync.Mutex        // guards what follows
	inodes   []*Inode          // changed, each pinned
	deletes  [][]byte          // keys
	orphans  map[uint64]uint64 // orphan records to store: inode and Below
	pending  []uint64          // pending records whose data this epoch maps
	packs    map[record.DataRef]packCount
	buckets  map[uint64]struct{} // whose record changed apart from its inodes
	settings bool
	since    int64 // unix nanoseconds of the first change, 0: none
	last     int64 // of the latest change
}

// packCount is what an epoch does to the count of a pack's live blocks: it may
// be counted anew, and blocks are let go of after that.
type packCount struct {
	counted bool
	live    int // if counted
	gone    int
}

func newEpoch(seq uint64) *epoch {
	return &epoch{
		seq:     seq,
		orphans: make(map[uint64]uint64),
		packs:   make(map[record.DataRef]packCount),
		buckets: make(map[uint64]struct{}),
	}
}

func (e *epoch) touched(now int64) {
	if e.since == 0 {
		e.since = now
	}
	e.last = now
}

// remove adds a key to be deleted.
func (e *epoch) remove(key []byte, now int64) {
	e.mu.Lock()
	e.deletes = append(e.deletes, key)
	e.touched(now)
	e.mu.Unlock()
	e.weight.Add(deleteWeight)
}

// drop enters blocks that an inode's map stopped naming: data records that are
// dead now are deleted, packs are counted down.
func (e *epoch) drop(ino uint64, drops []extent.Drop, now int64) {
	if len(drops) == 0 {
		return
	}
	weight := int64(0)
	e.mu.Lock()
	e.touched(now)
	for _, d := range drops {
		switch {
		case d.Shared:
			ref := record.DataRef{Inode: ino, Record: d.ID}
			p, known := e.packs[ref]
			if !known {
				weight += packWeight
			}
			p.gone += d.Blocks
			e.packs[ref] = p
		case d.Last:
			weight += deleteWeight
			e.deletes = append(e.deletes, record.DataKey(ino, d.ID))
		}
	}
	e.mu.Unlock()
	e.weight.Add(weight)
}

// recount sets the count of a pack's live blocks.
func (e *epoch) recount(pack record.DataRef, live int, now int64) {
	e.mu.Lock()
	e.packs[pack] = packCount{counted: true, live: live}
	e.touched(now)
	e.mu.Unlock()
	e.weight.Add(packWeight)
}

// begin opens a bracket: changes made until end belong to one epoch. The
// caller holds no lock but renameMu.
func (v *Volume) begin() *epoch {
	v.epochMu.RLock()
	return v.epoch
}

func (v *Volume) end() { v.epochMu.RUnlock() }

// change puts n on the epoch's list. The caller holds n.mu and is in a
// bracket.
func (v *Volume) change(e *epoch, n *Inode) {
	now := v.now()
	e.mu.Lock()
	e.touched(now)
	fresh := n.dirtySeq != e.seq
	if fresh {
		n.dirtySeq = e.seq
		e.inodes = append(e.inodes, n)
	}
	e.mu.Unlock()
	if fresh {
		v.table.repin(n)
		e.weight.Add(inodeWeight + int64(len(n.target)) + int64(len(n.envelope)))
	}
}

// admit waits until the current epoch has room for a change, and reports why
// there can be no change at all. The caller holds no lock.
func (v *Volume) admit() error { return v.admitUnless(nobodyPasses) }

// nobodyPasses is for those who have to wait for their turn.
func nobodyPasses() bool { return false }

// admitUnless is admit for a caller that need not wait while passes says so: what
// the others wait for waits for the caller.
func (v *Volume) admitUnless(passes func() bool) error {
	for {
		if err := v.writable(); err != nil {
			return err
		}
		v.epochMu.RLock()
		e := v.epoch
		weight := e.weight.Load() + v.dataWeight.Load()
		v.epochMu.RUnlock()
		if weight < v.limits.soft {
			return nil
		}
		v.wakeCommitter()
		if weight < v.limits.hard || passes() {
			return nil
		}
		before := v.committed.Load()
		if err := v.relieve(e.seq); err != nil {
			return err
		}
		if v.committed.Load() == before {
			// What is dirty are files that are just being written back.
			time.Sleep(gapPause)
		}
	}
}

// gapPause is how long a change waits for files that are being written back, at
// a time.
const gapPause = 2 * time.Millisecond

// writable returns ErrReadOnly, or the error that made the volume read-only.
func (v *Volume) writable() error {
	if v.o.ReadOnly {
		return ErrReadOnly
	}
	if err := v.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// fail turns the volume read-only for good.
func (v *Volume) fail(err error) error {
	err = &FailedError{Cause: err}
	if v.failure.CompareAndSwap(nil, &err) {
		v.log.Error("the drive is read-only from now on: its store failed; unmount it, look at the disk, mount again", "err", err)
		v.arena.close()
	}
	return err
}
