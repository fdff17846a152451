package volume

// spare is a stock of arena blocks that a change took beforehand, since it may
// not wait for blocks while it holds locks.
type spare struct {
	v    *Volume
	refs []blockRef
}

// stock takes n blocks, waiting for them if need be, and checks that the disk
// has room for what they will hold.
func (v *Volume) stock(n int) (*spare, error) { return v.stockUnless(n, nobodyPasses) }

// stockUnless is stock for a caller that does not wait for its turn while passes
// says so.
func (v *Volume) stockUnless(n int, passes func() bool) (*spare, error) {
	if err := v.admitUnless(passes); err != nil {
		return nil, err
	}
	if err := v.space.reserve(n); err != nil {
		return nil, err
	}
	s := &spare{v: v, refs: make([]blockRef, 0, n)}
	s.refs = v.arena.take(s.refs, n, passes, v.wakeFlusher)
	if len(s.refs) < n {
		s.release()
		if err := v.writable(); err != nil {
			return nil, err
		}
		return nil, ErrClosed
	}
	return s, nil
}

// stockFor is stock for what the kernel writes back. The first of the writes that
// a file lacks does not wait for room in the epoch or for memory that others may
// have, since these may wait for it.
func (v *Volume) stockFor(n *Inode, r byteRange) (*spare, error) {
	return v.stockUnless(blocksOf(r.start, int(r.end-r.start)), func() bool {
		n.mu.RLock()
		defer n.mu.RUnlock()
		return n.fillsFirst(r)
	})
}

func (s *spare) pop() blockRef {
	r := s.refs[len(s.refs)-1]
	s.refs = s.refs[:len(s.refs)-1]
	return r
}

func (s *spare) release() { s.v.arena.give(s.refs); s.refs = nil }
