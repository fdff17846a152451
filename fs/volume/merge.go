package volume

import (
	"errors"
	"time"

	"ssefs/fs/extent"
)

// Small synced writes leave a file in many small data records, and overwriting
// leaves records of which little is still in use. The merger rewrites such
// blocks: it makes them dirty as they are, and the next commit puts them
// together in new records and drops the old ones.

// When a leaf or a pack is merged.
const (
	smallRecord    = 32   // blocks of a record in a leaf, fewer are too few
	maxSmall       = 32   // records with so few that a leaf may have
	maxWaste       = 256  // blocks that a leaf's own records may hold unused
	crowdedSmall   = 96   // small records that make merging urgent: they are listed at each commit
	crowdedWaste   = 1024 // unused blocks that do
	sparsePack     = 4    // a pack is merged when less than one in so many is in use
	maxMergeJobs   = 4096
	mergeArenaPart = 4 // merging leaves the arena to writers when more than one in so many blocks is in use
)

// mergeDelay is how long a leaf must have been left alone before it is merged,
// unless that is urgent. Merging what is being written holds up the writer and
// does the same work again and again.
const mergeDelay = time.Second

// mergeTick is how often the merger looks for what is due.
const mergeTick = 250 * time.Millisecond

// mergeJob names a leaf, or a pack with the blocks that it had.
type mergeJob struct {
	due     int64 // not before this time, as Volume.now counts
	ino     uint64
	leaf    uint64
	pack    uint64   // 0: the leaf
	logical []uint64 // of the pack
}

// fragmentation says how much a leaf wants to be merged.
type fragmentation int

const (
	compact    fragmentation = iota // not at all
	fragmented                      // when nobody writes to it any more
	crowded                         // now
)

// fragmentationOf judges a leaf.
func fragmentationOf(l *extent.Leaf) fragmentation {
	waste := l.Waste()
	if len(l.Recs) < maxSmall && waste <= maxWaste {
		return compact
	}
	small := 0
	for _, k := range blocksByRecord(l) {
		if k < smallRecord {
			small++
		}
	}
	switch {
	case small >= crowdedSmall || waste > crowdedWaste:
		return crowded
	case small >= maxSmall || waste > maxWaste:
		return fragmented
	}
	return compact
}

// mergeDue says when something as fragmented as f is to be merged.
func (v *Volume) mergeDue(f fragmentation) int64 {
	if f == crowded {
		return v.now()
	}
	return v.now() + int64(mergeDelay)
}

// blocksByRecord counts, for each record of a leaf, the blocks that are in use.
func blocksByRecord(l *extent.Leaf) []int {
	live := make([]int, len(l.Recs))
	for _, r := range l.Runs {
		live[r.Rec] += int(r.Count)
	}
	return live
}

// toMerge returns the blocks of a leaf to be rewritten, relative to the leaf.
func toMerge(l *extent.Leaf) []uint16 {
	live := blocksByRecord(l)
	all := l.Waste() > maxWaste
	var out []uint16
	for _, r := range l.Runs {
		if all || live[r.Rec] < smallRecord {
			for b := r.Start; b < r.Start+r.Count; b++ {
				out = append(out, b)
			}
		}
	}
	return out
}

// mergeLater queues a job, in place of an earlier one for the same, unless there
// are too many: then a later change of the same place asks again.
func (v *Volume) mergeLater(j mergeJob) {
	key := mergeKey{j.ino, j.leaf, j.pack}
	v.mergeMu.Lock()
	defer v.mergeMu.Unlock()
	if _, ok := v.mergeJobs[key]; ok || len(v.mergeJobs) < maxMergeJobs {
		v.mergeJobs[key] = j
	}
}

type mergeKey struct{ ino, leaf, pack uint64 }

// merger works off the queue in the background.
func (v *Volume) merger() {
	defer v.background.Done()
	tick := time.NewTicker(mergeTick)
	defer tick.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
		}
		for _, j := range v.takeMerges() {
			if v.writable() != nil {
				break
			}
			if err := v.merge(j); err != nil && !errors.Is(err, ErrStale) && !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrClosed) && v.writable() == nil {
				v.log.Error("merging parts of a file failed", "path", v.PathOfNumber(j.ino), "err", err)
			}
			select {
			case <-v.stop:
				return
			default:
			}
		}
	}
}

// takeMerges takes the jobs that are due off the queue.
func (v *Volume) takeMerges() []mergeJob {
	now := v.now()
	v.mergeMu.Lock()
	defer v.mergeMu.Unlock()
	var due []mergeJob
	for k, j := range v.mergeJobs {
		if j.due <= now {
			delete(v.mergeJobs, k)
			due = append(due, j)
		}
	}
	return due
}

func (v *Volume) merge(j mergeJob) error {
	if v.arena.used() > v.arena.total/mergeArenaPart {
		return nil
	}
	n, err := v.Inode(j.ino)
	if err != nil {
		return err
	}
	defer v.Unpin(n)
	s, err := v.stock(leafBlocks)
	if err != nil {
		return err
	}
	defer s.release()
	v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reaped || n.cipher.Load() == nil {
		return nil // nobody uses it now
	}
	if j.pack != 0 {
		return v.mergePack(n, s, j)
	}
	leaf, err := n.fmap.leaf(v, n.Ino, j.leaf)
	if err != nil || leaf == nil || fragmentationOf(&leaf.Leaf) == compact {
		return err
	}
	for _, b := range toMerge(&leaf.Leaf) {
		if _, err := v.dirtyBlock(n, s, j.leaf*leafBlocks+uint64(b), keepOld); err != nil {
			return err
		}
	}
	return nil
}

// mergePack rewrites the blocks of a pack that are still mapped to it.
func (v *Volume) mergePack(n *Inode, s *spare, j mergeJob) error {
	for _, logical := range j.logical {
		leaf, err := n.fmap.leaf(v, n.Ino, logical/leafBlocks)
		if err != nil {
			return err
		}
		if leaf == nil {
			continue
		}
		rec, _, _, ok := leaf.Lookup(uint16(logical % leafBlocks))
		if !ok || rec.ID != j.pack {
			continue
		}
		if v.dataWeight.Load() > v.limits.hard {
			return nil // the rest when the pack is next counted
		}
		if _, err := v.dirtyBlock(n, s, logical, keepOld); err != nil {
			return err
		}
	}
	return nil
}
