package volume

import (
	"fmt"
	"slices"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// fileMap is a file's extent map in memory: the leaves and inner nodes that
// were needed so far. See record.Map for its shape in the store. It is guarded
// by the inode's mutex.
type fileMap struct {
	height uint8
	refs   []record.Ref                            // height > 0: the root's nodes
	leaves map[uint64]*leafNode                    // by leaf index; at height 0 all there are
	inner  [record.MaxHeight]map[uint64]*innerNode // [l]: nodes of level l, l >= 1
	dirty  map[uint64]*leafNode                    // leaves changed since the epoch began
	room   int                                     // leaves in memory up to which none is evicted
}

// leafNode is a leaf in memory. A leaf that a chunk points to stays: there must
// not be a second one that changes meanwhile.
type leafNode struct {
	extent.Leaf
	index uint64
	held  bool // a chunk points to it
}

// innerNode is a node that lists nodes of the level below.
type innerNode struct {
	refs  []record.Ref
	dirty bool
}

// maxCleanLeaves bounds the unchanged leaves that one inode keeps in memory.
const maxCleanLeaves = 4096

func (m *fileMap) load(r *record.Map) {
	*m = fileMap{height: r.Height, refs: r.Refs, leaves: make(map[uint64]*leafNode, len(r.Leaves))}
	for _, l := range r.Leaves {
		m.leaves[l.Index] = &leafNode{Leaf: *l.Leaf, index: l.Index}
	}
}

func findRef(refs []record.Ref, index uint64) (int, bool) {
	return slices.BinarySearchFunc(refs, index, func(r record.Ref, i uint64) int {
		switch {
		case r.Index < i:
			return -1
		case r.Index > i:
			return 1
		}
		return 0
	})
}

// peek is leaf without reading: known is false if that would take a read.
func (m *fileMap) peek(index uint64) (l *leafNode, known bool) {
	if l, ok := m.leaves[index]; ok {
		return l, true
	}
	if m.height == 0 {
		return nil, true
	}
	refs := m.refs
	for level := m.height - 1; ; level-- {
		i, ok := findRef(refs, index>>(record.FanoutBits*level))
		if !ok {
			return nil, true
		}
		if level == 0 {
			return nil, false
		}
		n := m.inner[level][refs[i].Index]
		if n == nil {
			return nil, false
		}
		refs = n.refs
	}
}

// nodeReader reads map nodes of one inode from the store.
type nodeReader interface {
	mapNode(ino uint64, level uint8, index, version uint64) ([]byte, error)
}

// leaf returns a leaf, reading it and the nodes above it where they are not in
// memory. It returns nil for a leaf that is all holes.
func (m *fileMap) leaf(r nodeReader, ino, index uint64) (*leafNode, error) {
	if l, ok := m.leaves[index]; ok {
		return l, nil
	}
	if m.height == 0 {
		return nil, nil
	}
	refs := m.refs
	for level := m.height - 1; ; level-- {
		at := index >> (record.FanoutBits * level)
		i, ok := findRef(refs, at)
		if !ok {
			return nil, nil
		}
		if level == 0 {
			return m.readLeaf(r, ino, refs[i])
		}
		n, err := m.node(r, ino, level, refs[i])
		if err != nil {
			return nil, err
		}
		refs = n.refs
	}
}

func (m *fileMap) readLeaf(r nodeReader, ino uint64, ref record.Ref) (*leafNode, error) {
	b, err := r.mapNode(ino, 0, ref.Index, ref.Version)
	if err != nil {
		return nil, err
	}
	l, version, err := record.DecodeLeaf(b)
	if err != nil {
		return nil, damaged(record.KindMap, ino, err)
	}
	if version != ref.Version {
		return nil, damaged(record.KindMap, ino, fmt.Errorf("node 0/%d is of version %d, not %d", ref.Index, version, ref.Version))
	}
	m.evict()
	n := &leafNode{Leaf: *l, index: ref.Index}
	m.leaves[ref.Index] = n
	return n, nil
}

// evict drops the unchanged leaves once there are too many. At height 0 they
// are nowhere else.
func (m *fileMap) evict() {
	if m.height == 0 || len(m.leaves) < max(m.room, maxCleanLeaves) {
		return
	}
	for i, l := range m.leaves {
		if m.dirty[i] == nil && !l.held {
			delete(m.leaves, i)
		}
	}
	m.room = 2 * len(m.leaves) // not to look at those that must stay every time
}

// node returns the inner node that ref names.
func (m *fileMap) node(r nodeReader, ino uint64, level uint8, ref record.Ref) (*innerNode, error) {
	if n := m.inner[level][ref.Index]; n != nil {
		return n, nil
	}
	b, err := r.mapNode(ino, level, ref.Index, ref.Version)
	if err != nil {
		return nil, err
	}
	refs, version, err := record.DecodeNode(b, level)
	if err != nil {
		return nil, damaged(record.KindMap, ino, err)
	}
	if version != ref.Version {
		return nil, damaged(record.KindMap, ino, fmt.Errorf("node %d/%d is of version %d, not %d", level, ref.Index, version, ref.Version))
	}
	n := &innerNode{refs: refs}
	m.keep(level, ref.Index, n)
	return n, nil
}

func (m *fileMap) keep(level uint8, index uint64, n *innerNode) {
	if m.inner[level] == nil {
		m.inner[level] = make(map[uint64]*innerNode)
	}
	m.inner[level][index] = n
}

// leafForChange is leaf, but makes an empty one where there is a hole.
func (m *fileMap) leafForChange(r nodeReader, ino, index uint64) (*leafNode, error) {
	l, err := m.leaf(r, ino, index)
	if l != nil || err != nil {
		return l, err
	}
	m.evict()
	l = &leafNode{index: index}
	m.leaves[index] = l
	return l, nil
}

func (m *fileMap) touch(l *leafNode) {
	if m.dirty == nil {
		m.dirty = make(map[uint64]*leafNode)
	}
	m.dirty[l.index] = l
}

// nextLeaf returns the index of the first leaf at or after index that may have
// data, and false if there is none.
func (m *fileMap) nextLeaf(r nodeReader, ino, index uint64) (uint64, bool, error) {
	best, found := uint64(0), false
	for i, l := range m.leaves { // leaves that no ref names yet are here too
		if i >= index && !l.Empty() && (!found || i < best) {
			best, found = i, true
		}
	}
	if m.height == 0 {
		return best, found, nil
	}
	i, ok, err := m.nextRef(r, ino, m.refs, m.height-1, index)
	if err != nil || !ok || found && best <= i {
		return best, found, err
	}
	return i, true, nil
}

func (m *fileMap) nextRef(r nodeReader, ino uint64, refs []record.Ref, level uint8, index uint64) (uint64, bool, error) {
	at, _ := findRef(refs, index>>(record.FanoutBits*level))
	for ; at < len(refs); at++ {
		ref := refs[at]
		if level == 0 {
			if l, ok := m.leaves[ref.Index]; ok && l.Empty() {
				continue // emptied in this epoch
			}
			return ref.Index, true, nil
		}
		n, err := m.node(r, ino, level, ref)
		if err != nil {
			return 0, false, err
		}
		i, ok, err := m.nextRef(r, ino, n.refs, level-1, max(index, ref.Index<<(record.FanoutBits*level)))
		if err != nil || ok {
			return i, ok, err
		}
	}
	return 0, false, nil
}

// cutFrom removes every leaf at or after index without reading it, and returns
// the number of blocks that went. What the leaves named stays in the store
// until a sweep. Chunks must not point to the leaves any more.
func (m *fileMap) cutFrom(r nodeReader, ino, index uint64) (blocks uint64, err error) {
	for i, l := range m.leaves {
		if i >= index {
			if m.height == 0 || m.dirty[i] != nil {
				blocks += uint64(l.Blocks())
			}
			delete(m.leaves, i)
		}
	}
	dirty := m.dirty
	cut := func(level uint8, ref record.Ref) {
		if level == 0 && dirty[ref.Index] != nil {
			return // counted above, as it is now
		}
		blocks += ref.Blocks
	}
	if m.height > 0 {
		m.refs, err = m.cutRefs(r, ino, m.refs, m.height-1, index, cut)
		if err != nil {
			return 0, err
		}
	}
	for i := range dirty {
		if i >= index {
			delete(dirty, i)
		}
	}
	if len(m.refs) == 0 && len(m.leaves) == 0 {
		m.height, m.refs = 0, nil
		m.inner = [record.MaxHeight]map[uint64]*innerNode{}
	}
	return blocks, nil
}

func (m *fileMap) cutRefs(r nodeReader, ino uint64, refs []record.Ref, level uint8, index uint64, cut func(uint8, record.Ref)) ([]record.Ref, error) {
	at, _ := findRef(refs, index>>(record.FanoutBits*level))
	for i := at; i < len(refs); i++ {
		ref := refs[i]
		whole := ref.Index<<(record.FanoutBits*level) >= index
		if level == 0 {
			cut(level, ref)
			continue
		}
		if whole && m.inner[level][ref.Index] == nil {
			cut(level, ref)
			continue
		}
		n, err := m.node(r, ino, level, ref)
		if err != nil {
			return refs, err
		}
		if n.refs, err = m.cutRefs(r, ino, n.refs, level-1, index, cut); err != nil {
			return refs, err
		}
		if whole {
			delete(m.inner[level], ref.Index)
		} else {
			n.dirty = true
			at = i + 1
		}
	}
	return refs[:at], nil
}

// mapNodeWriter receives the map nodes that an epoch stores or deletes.
type mapNodeWriter interface {
	putNode(level uint8, index uint64, plain []byte)
	deleteNode(level uint8, index uint64)
}

// encode brings the map into the shape in which it is stored: changed leaves
// and nodes go to w, and what stands in the inode record is returned. It does
// no I/O: nodes above a changed leaf were read when the leaf was.
func (m *fileMap) encode(version uint64, w mapNodeWriter) record.Map {
	if m.height == 0 {
		runs := 0
		for i, l := range m.leaves {
			if l.Empty() {
				delete(m.leaves, i)
			}
			runs += len(l.Runs)
		}
		if runs <= record.MaxInlineRuns {
			clear(m.dirty)
			out := record.Map{Leaves: make([]record.IndexedLeaf, 0, len(m.leaves))}
			for i, l := range m.leaves {
				out.Leaves = append(out.Leaves, record.IndexedLeaf{Index: i, Leaf: &l.Leaf})
			}
			slices.SortFunc(out.Leaves, func(a, b record.IndexedLeaf) int {
				if a.Index < b.Index {
					return -1
				}
				return 1
			})
			return out
		}
		m.height = 1
		for _, l := range m.leaves {
			m.touch(l)
		}
	}
	// Leaves to their parents, then every level to the one above.
	for _, l := range m.dirty {
		ref := record.Ref{Index: l.index, Version: version, Blocks: uint64(l.Blocks())}
		if ref.Blocks == 0 {
			delete(m.leaves, l.index)
			w.deleteNode(0, l.index)
		} else {
			w.putNode(0, l.index, record.AppendLeaf(nil, version, &l.Leaf))
		}
		m.setRef(0, ref)
	}
	clear(m.dirty)
	for level := uint8(1); level < m.height; level++ {
		m.encodeLevel(level, version, w)
	}
	for len(m.refs) > record.MaxRootRefs {
		level := m.height
		m.height++
		children := m.refs
		m.refs = nil
		for _, c := range children {
			at := c.Index >> record.FanoutBits
			n := m.inner[level][at]
			if n == nil {
				n = &innerNode{dirty: true}
				m.keep(level, at, n)
			}
			n.refs = append(n.refs, c)
		}
		m.encodeLevel(level, version, w)
	}
	return record.Map{Height: m.height, Refs: slices.Clone(m.refs)}
}

func (m *fileMap) encodeLevel(level uint8, version uint64, w mapNodeWriter) {
	for at, n := range m.inner[level] {
		if !n.dirty {
			continue
		}
		n.dirty = false
		ref := record.Ref{Index: at, Version: version}
		for _, c := range n.refs {
			ref.Blocks += c.Blocks
		}
		if len(n.refs) == 0 {
			delete(m.inner[level], at)
			w.deleteNode(level, at)
		} else {
			w.putNode(level, at, record.AppendNode(nil, version, n.refs))
		}
		m.setRef(level, ref)
	}
}

// setRef enters a node of the given level into its parent: the root, or an
// inner node, which is made if it is not there. A node without blocks is taken
// out.
func (m *fileMap) setRef(level uint8, ref record.Ref) {
	refs := &m.refs
	if level+1 < m.height {
		at := ref.Index >> record.FanoutBits
		n := m.inner[level+1][at]
		if n == nil {
			if ref.Blocks == 0 {
				return
			}
			n = &innerNode{}
			m.keep(level+1, at, n)
		}
		n.dirty = true
		refs = &n.refs
	}
	i, ok := findRef(*refs, ref.Index)
	switch {
	case ref.Blocks == 0 && ok:
		*refs = slices.Delete(*refs, i, i+1)
	case ref.Blocks == 0:
	case ok:
		(*refs)[i] = ref
	default:
		*refs = slices.Insert(*refs, i, ref)
	}
}

// weight estimates the bytes that storing the leaf adds to an epoch.
func (l *leafNode) weight() int { return 96 + len(l.Runs)*6 + len(l.Recs)*30 }
