package volume

import (
	"math"
	"slices"
)

// gap is a range before the end of a file that nothing was written to when a
// write behind it moved the end. The kernel writes its cache back in order, but
// several requests at a time, which may overtake one another here: a commit
// between two of them would make zeros durable where data is on its way. A
// commit that nobody waits for leaves a file alone while it has a gap that is
// being filled, or stores what is before the gap if it cannot wait. Gaps for
// which a write has come in, and waits for memory, are; others are holes that an
// application made, once they are old.
type gap struct {
	start, end uint64 // bytes
	since      int64  // unix nanoseconds
}

// Bounds of what is remembered of gaps.
const (
	gapPatience   = int64(2e9)  // nanoseconds after which a gap is taken for a hole
	shortPatience = int64(50e6) // the same when memory is wanted
	longPatience  = int64(30e9) // the same when a write has come in
	maxGaps       = 64          // more are a sparse file being written
)

// byteRange is a part of a file.
type byteRange struct{ start, end uint64 }

// expect notes a write that has come in and may have to wait, until arrived.
func (n *Inode) expect(r byteRange) {
	n.mu.Lock()
	n.content.coming = append(n.content.coming, r)
	n.mu.Unlock()
}

// arrived takes back expect.
func (n *Inode) arrived(r byteRange) {
	n.mu.Lock()
	if i := slices.Index(n.content.coming, r); i >= 0 {
		n.content.coming = slices.Delete(n.content.coming, i, i+1)
	}
	n.mu.Unlock()
}

// written notes a write of the kernel's cache before it moves the end of the
// file. The caller holds n.mu.
func (n *Inode) written(start, end uint64, now int64) {
	c := &n.content
	if start > n.Size {
		if len(c.gaps) >= maxGaps {
			c.gaps = c.gaps[:0]
			return
		}
		c.gaps = append(c.gaps, gap{n.Size, start, now})
		return
	}
	for i := 0; i < len(c.gaps); i++ {
		g := &c.gaps[i]
		switch {
		case end <= g.start || start >= g.end:
		case start <= g.start && end >= g.end:
			c.gaps = append(c.gaps[:i], c.gaps[i+1:]...)
			i--
		case start <= g.start:
			g.start = end
		default:
			// What is left on the far side of a write in the middle is not worth
			// a second entry: requests are sent from the front.
			g.end = start
		}
	}
}

// settled reports whether no gap is being filled. The caller holds n.mu.
func (n *Inode) settled(now int64) bool { return n.reach(now, gapPatience) == everything }

// everything is the reach of a file of which nothing is on its way.
const everything = math.MaxUint64

// reach returns up to which byte a file can be flushed: to the first gap that is
// being filled. The caller holds n.mu.
func (n *Inode) reach(now, patience int64) uint64 {
	end := uint64(everything)
	for _, g := range n.content.gaps {
		if g.start < end && (now-g.since < patience || n.comes(g) && now-g.since < longPatience) {
			end = g.start
		}
	}
	return end
}

// comes reports whether a write that has come in will fill a gap, at least in
// part. The caller holds n.mu.
func (n *Inode) comes(g gap) bool {
	return slices.ContainsFunc(n.content.coming, func(r byteRange) bool { return r.end > g.start && r.start < g.end })
}

// fillsFirst reports whether a write fills the first gap from its beginning on:
// what is dirty behind can be flushed once it is there. The caller holds n.mu.
func (n *Inode) fillsFirst(r byteRange) bool {
	first := uint64(everything)
	for _, g := range n.content.gaps {
		first = min(first, g.start)
	}
	return r.start <= first && first < r.end
}

// holesStay takes the gaps of a file for holes: the kernel has written back all
// that it had. The caller holds n.mu.
func (n *Inode) holesStay() { n.content.gaps = nil }
