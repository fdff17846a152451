package volume

// gap is a range before the end of a file that nothing was written to when a
// write behind it moved the end. The kernel writes its cache back in order, but
// several requests at a time, which may overtake one another here: a commit
// between two of them would make zeros durable where data is on its way. A
// commit that nobody waits for leaves a file alone while it has a gap that is
// not old; an old one is a hole that an application made.
type gap struct {
	start, end uint64 // bytes
	since      int64  // unix nanoseconds
}

// Bounds of what is remembered of gaps.
const (
	gapPatience = int64(2e9) // nanoseconds after which a gap is taken for a hole
	maxGaps     = 64         // more are a sparse file being written
)

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
func (n *Inode) settled(now int64) bool {
	for _, g := range n.content.gaps {
		if now-g.since < gapPatience {
			return false
		}
	}
	return true
}
