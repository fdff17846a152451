package volume

import (
	"context"
	"errors"
	"math"
	"time"

	"ssefs/fs/record"
	"ssefs/store"
)

// bigRecords is the number of data records up to which an inode is deleted by
// one epoch. Bigger ones leave an orphan record and go bit by bit.
const bigRecords = 512

// reclaimBatch is how many records of a big inode one step deletes.
const reclaimBatch = 1000

// reclaimPoll is how often FinishDeletions looks.
const reclaimPoll = 20 * time.Millisecond

// big reports whether deleting n takes more than one step. The caller holds
// n.mu.
func (n *Inode) big() bool {
	if n.fmap.height > 0 || n.sweep != 0 {
		return true
	}
	recs := 0
	for _, l := range n.fmap.leaves {
		recs += len(l.Recs)
	}
	return recs > bigRecords
}

// reapIfIdle gives up an inode without a name that nobody uses any more. The
// caller holds n.mu and a pin, and is in a bracket of e.
func (v *Volume) reapIfIdle(e *epoch, n *Inode) {
	if !n.unlinked || n.reaped || n.handles > 0 || v.table.known(n.Ino) {
		return
	}
	n.reaped = true
	v.inodes.Add(-1)
	v.dropDirty(n, 0, math.MaxUint64)
	v.blocks.Add(-int64(n.Blocks))
	n.Blocks = 0
	e.weight.Add(deleteWeight * 4)
	for _, l := range n.fmap.leaves {
		e.weight.Add(deleteWeight * int64(len(l.Recs)))
	}
	v.change(e, n)
	v.table.unpin(n)
}

// Acquire counts an open descriptor of n. The caller's pin stays with it.
func (n *Inode) Acquire() {
	n.mu.Lock()
	n.handles++
	n.mu.Unlock()
}

// Release undoes Acquire and gives up the pin.
func (v *Volume) Release(n *Inode) {
	n.mu.RLock()
	last := n.unlinked && n.handles == 1
	n.mu.RUnlock()
	if last {
		_ = v.admit() // to wait for room; on a failed drive it goes from memory at least
	}
	e := v.begin()
	n.mu.Lock()
	n.handles--
	v.reapIfIdle(e, n)
	n.mu.Unlock()
	v.end()
	v.Unpin(n)
}

// Remember counts a reference that the kernel is given.
func (v *Volume) Remember(n *Inode) {
	n.mu.RLock()
	dir := n.parent
	n.mu.RUnlock()
	v.table.remember(n.Ino, v.keyNumber(n.keyID), dir)
}

// RememberNumber is Remember for an inode that was read past the table, and was
// seen in the directory dir.
func (v *Volume) RememberNumber(ino uint64, keyID string, dir uint64) {
	v.table.remember(ino, v.keyNumber(keyID), dir)
}

// Forget takes back references of the kernel.
func (v *Volume) Forget(ino, count uint64) {
	if !v.table.forget(ino, count) {
		return
	}
	n := v.table.pin(ino)
	if n == nil {
		return
	}
	defer v.Unpin(n)
	n.mu.RLock()
	idle := n.unlinked && !n.reaped
	n.mu.RUnlock()
	if !idle {
		return
	}
	_ = v.admit() // as in Release
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	v.reapIfIdle(e, n)
}

// ForgetAll drops all references of a kernel that went away.
func (v *Volume) ForgetAll() {
	for i := range v.table.shards {
		s := &v.table.shards[i]
		s.mu.Lock()
		all := s.lookups
		s.lookups = make(map[uint64]lookupCount)
		s.mu.Unlock()
		for ino := range all {
			v.Forget(ino, math.MaxUint64)
		}
	}
}

// reclaimJob is a big deletion that is still to be done.
type reclaimJob struct {
	ino   uint64
	below uint64 // 0: the whole inode
}

// reclaimLater queues a job for the reclaimer.
func (v *Volume) reclaimLater(ino, below uint64) {
	v.reclaimMu.Lock()
	v.reclaimJobs = append(v.reclaimJobs, reclaimJob{ino, below})
	v.reclaimMu.Unlock()
	select {
	case v.reclaimWanted <- struct{}{}:
	default:
	}
}

// reclaimer works off the queue in the background. What it does not get done
// before the volume closes is found again at the next mount.
func (v *Volume) reclaimer() {
	defer v.background.Done()
	for {
		v.reclaimMu.Lock()
		var job *reclaimJob
		if len(v.reclaimJobs) > 0 {
			job = &v.reclaimJobs[0]
			v.reclaimJobs = v.reclaimJobs[1:]
		}
		v.reclaiming = job != nil
		v.reclaimMu.Unlock()
		if job == nil {
			select {
			case <-v.stop:
				return
			case <-v.reclaimWanted:
			}
			continue
		}
		if err := v.reclaim(*job); err != nil && !errors.Is(err, ErrClosed) && v.writable() == nil { // why it is not was logged
			v.log.Error("deleting the records of a removed file failed; the next mount tries again", "inode", job.ino, "err", err)
		}
	}
}

// FinishDeletions waits until the reclaimer has nothing more to do, and returns
// how many files it was about to work on.
func (v *Volume) FinishDeletions(ctx context.Context) (jobs int, err error) {
	tick := time.NewTicker(reclaimPoll)
	defer tick.Stop()
	for {
		v.reclaimMu.Lock()
		left := len(v.reclaimJobs)
		if v.reclaiming {
			left++
		}
		v.reclaimMu.Unlock()
		jobs = max(jobs, left)
		if left == 0 {
			return jobs, nil
		}
		if err := v.writable(); err != nil {
			return jobs, err
		}
		select {
		case <-ctx.Done():
			return jobs, ctx.Err()
		case <-v.stop:
			return jobs, ErrClosed
		case <-tick.C:
		}
	}
}

func (v *Volume) reclaim(job reclaimJob) error {
	n, err := v.inode(job.ino)
	if errors.Is(err, ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.Unpin(n)
	dead := func(record.Key) (bool, error) { return true, nil }
	var packs []uint64
	if job.below > 0 {
		n.mu.RLock()
		skip := n.unlinked || n.sweep != job.below
		n.mu.RUnlock()
		if skip {
			return nil // a later job covers it
		}
		if dead, packs, err = v.unmapped(n, job.below); err != nil {
			return err
		}
	}
	for _, kind := range []record.Kind{record.KindData, record.KindPack, record.KindMap} {
		if err := v.deleteRecords(n, kind, dead); err != nil {
			return err
		}
	}
	if job.below > 0 {
		for _, pack := range packs {
			if err := v.recount(n, pack); err != nil {
				return err
			}
		}
		v.swept(n, job.below)
		return nil
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	v.blocks.Add(-int64(n.Blocks)) // 0 if it was reaped in this mount
	n.Blocks = 0
	v.endSweep(n)
	n.fmap = fileMap{leaves: map[uint64]*leafNode{}}
	v.change(e, n)
	return nil
}

// endSweep forgets that n is to be swept. The caller holds n.mu and a pin of
// its own.
func (v *Volume) endSweep(n *Inode) {
	n.sweep = 0
	if n.sweepPinned {
		n.sweepPinned = false
		v.table.unpin(n)
	}
}

// swept ends a sweep, unless another one was asked for meanwhile.
func (v *Volume) swept(n *Inode, below uint64) {
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sweep != below {
		return
	}
	v.endSweep(n)
	if !n.orphanStored { // the record is the sweep's, not the whole inode's
		e.remove(record.OrphanKey(n.Ino), v.now())
	}
}

// unmapped returns a test for records that the map of n does not name, and the
// packs that it does name.
func (v *Volume) unmapped(n *Inode, below uint64) (dead func(record.Key) (bool, error), packs []uint64, err error) {
	live := make(map[uint64]struct{})
	for index := uint64(0); ; index++ {
		n.mu.Lock()
		i, ok, err := n.fmap.nextLeaf(v, n.Ino, index)
		var leaf *leafNode
		if ok && err == nil {
			leaf, err = n.fmap.leaf(v, n.Ino, i)
		}
		if leaf != nil {
			for _, r := range leaf.Recs {
				if _, ok := live[r.ID]; !ok && r.Shared && r.ID < below {
					packs = append(packs, r.ID)
				}
				live[r.ID] = struct{}{}
			}
		}
		n.mu.Unlock()
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			break
		}
		index = i
	}
	return func(k record.Key) (bool, error) {
		if k.Kind == record.KindMap {
			listed, err := n.fmap.lists(v, n.Ino, k.Level, k.Sub)
			return !listed, err
		}
		_, ok := live[k.Sub]
		return !ok && k.Sub < below, nil
	}, packs, nil
}

// recount counts the live blocks of a pack anew: leaves that were cut off unread
// did not count theirs down.
func (v *Volume) recount(n *Inode, pack uint64) error {
	if err := v.admit(); err != nil {
		return err
	}
	plain, err := v.get(record.PackKey(n.Ino, pack))
	if errors.Is(err, store.ErrNotFound) {
		return nil // gone meanwhile
	}
	if err != nil {
		return damaged(record.KindPack, n.Ino, err)
	}
	p, err := record.DecodePack(plain)
	if err != nil {
		return damaged(record.KindPack, n.Ino, err)
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.unlinked {
		return nil // it goes with the file
	}
	live := 0
	for _, logical := range p.Logical {
		leaf, err := n.fmap.leaf(v, n.Ino, logical/leafBlocks)
		if err != nil {
			return err
		}
		if leaf == nil {
			continue
		}
		if rec, _, _, ok := leaf.Lookup(uint16(logical % leafBlocks)); ok && rec.ID == pack {
			live++
		}
	}
	e.recount(record.DataRef{Inode: n.Ino, Record: pack}, live, v.now())
	return nil
}

// lists reports whether the stored map names a node.
func (m *fileMap) lists(r nodeReader, ino uint64, level uint8, index uint64) (bool, error) {
	if m.height <= level {
		return false, nil
	}
	refs := m.refs
	for l := m.height - 1; ; l-- {
		i, ok := findRef(refs, index>>(record.FanoutBits*(l-level)))
		if !ok || l == level {
			return ok, nil
		}
		n, err := m.node(r, ino, l, refs[i])
		if err != nil {
			return false, err
		}
		refs = n.refs
	}
}

// deleteRecords deletes the records of one kind of an inode that are dead, in
// steps that fit an epoch.
func (v *Volume) deleteRecords(n *Inode, kind record.Kind, dead func(record.Key) (bool, error)) error {
	prefix := record.Prefix(kind, n.Ino)
	var from []byte
	for {
		select {
		case <-v.stop:
			return ErrClosed
		default:
		}
		if err := v.admit(); err != nil {
			return err
		}
		keys, err := v.someKeys(prefix, from)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return nil
		}
		from = append(append([]byte(nil), keys[len(keys)-1]...), 0)
		if err := v.deleteDead(n, keys, dead); err != nil {
			return err
		}
	}
}

func (v *Volume) someKeys(prefix, from []byte) (keys [][]byte, err error) {
	view := v.db.View()
	defer view.Release()
	err = view.IterateKeys(prefix, from, func(key []byte, _ int64) error {
		keys = append(keys, append([]byte(nil), key...))
		if len(keys) == reclaimBatch {
			return errStop
		}
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return keys, err
}

func (v *Volume) deleteDead(n *Inode, keys [][]byte, dead func(record.Key) (bool, error)) error {
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		parsed, err := record.ParseKey(k)
		if err != nil {
			return err
		}
		gone, err := dead(parsed)
		if err != nil {
			return err
		}
		if gone {
			e.remove(k, v.now())
		}
	}
	return nil
}
