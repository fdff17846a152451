package volume

import (
	"slices"
	"time"
)

// relieve commits the epoch seq, unless that is done, for what is dirty to become
// less.
func (v *Volume) relieve(seq uint64) error {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if v.committed.Load() >= seq {
		return nil
	}
	return v.commit(v.takeSettled)
}

// Sync makes everything durable that the daemon knows.
func (v *Volume) Sync() error {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if v.writable() == nil {
		v.storeAtimes()
	}
	return v.commit(v.takeDirty)
}

// commitDirty is what the committer does: Sync without access times and without
// files that are just being written back.
func (v *Volume) commitDirty() error {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	return v.commit(v.takeSettled)
}

// commitAtimes is commitDirty with access times.
func (v *Volume) commitAtimes() error {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if v.writable() == nil {
		v.storeAtimes()
	}
	return v.commit(v.takeSettled)
}

// SyncInode makes durable the inode's contents and attributes, and with them
// all metadata changes so far.
func (v *Volume) SyncInode(n *Inode) error {
	v.wantMu.Lock()
	v.table.repin(n)
	v.wanted = append(v.wanted, n)
	v.wantMu.Unlock()
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	n.mu.RLock()
	clean := n.content.dirty == 0 && n.dirtySeq <= v.committed.Load() && n.content.size == n.sizeIfRegular()
	n.mu.RUnlock()
	if clean {
		v.wantMu.Lock()
		if i := slices.Index(v.wanted, n); i >= 0 {
			v.wanted = slices.Delete(v.wanted, i, i+1)
			v.wantMu.Unlock()
			v.table.unpin(n)
		} else {
			v.wantMu.Unlock()
		}
		if err := v.failure.Load(); err != nil {
			return *err
		}
		return nil
	}
	return v.commit(v.takeWanted)
}

func (n *Inode) sizeIfRegular() uint64 {
	if n.IsRegular() {
		return n.Size
	}
	return 0
}

// takeWanted returns the inodes whose fsync waits, each pinned. Whoever takes them
// flushes all of them: the fsync will not find them again.
func (v *Volume) takeWanted() []toFlush {
	v.wantMu.Lock()
	defer v.wantMu.Unlock()
	w := make([]toFlush, 0, len(v.wanted))
	for _, n := range v.wanted {
		w = append(w, toFlush{n, flushAll})
	}
	v.wanted = nil
	return w
}

// takeDirty returns all files of which something is to be flushed, each pinned.
func (v *Volume) takeDirty() []toFlush { return v.takeAll(flushAll) }

// takeSettled is takeDirty, but leaves alone those that are just being written
// back, unless an fsync waits for them.
func (v *Volume) takeSettled() []toFlush { return v.takeAll(flushSettled) }

func (v *Volume) takeAll(mode flushMode) []toFlush {
	w := v.takeWanted()
	v.dirtyMu.Lock()
	defer v.dirtyMu.Unlock()
	for n := range v.dirtyFiles {
		v.table.repin(n)
		w = append(w, toFlush{n, mode})
	}
	return w
}

// commitInterval is how long a change stays in memory at most, idleInterval
// how long after the last one.
const (
	commitInterval = time.Second
	idleInterval   = 200 * time.Millisecond
	commitTick     = 100 * time.Millisecond
)

// committer commits in the background until the volume closes.
func (v *Volume) committer() {
	defer v.background.Done()
	tick := time.NewTicker(commitTick)
	defer tick.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
			switch {
			case v.writable() != nil:
			case v.atimesDue():
				_ = v.commitAtimes() // fail has logged it and everybody who asks is told
			case v.commitDue():
				_ = v.commitDirty()
			}
		case <-v.commitWanted:
			if v.atimesDue() {
				_ = v.commitAtimes()
			} else {
				_ = v.commitDirty()
			}
		}
	}
}

// commitDue reports whether changes are old enough, or nobody makes any more.
func (v *Volume) commitDue() bool {
	now := v.now()
	v.epochMu.RLock()
	e := v.epoch
	v.epochMu.RUnlock()
	e.mu.Lock()
	since, last := e.since, e.last
	e.mu.Unlock()
	v.dirtyMu.Lock()
	if v.dirtySince != 0 {
		if since == 0 || v.dirtySince < since {
			since = v.dirtySince
		}
		last = max(last, v.dirtyLast.Load())
	}
	v.dirtyMu.Unlock()
	return since != 0 && (now-since >= int64(commitInterval-commitTick) || now-last >= int64(idleInterval))
}

func (v *Volume) wakeCommitter() {
	select {
	case v.commitWanted <- struct{}{}:
	default:
	}
}
