package repair

import (
	"cmp"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// fileFix is what is to be done to the map of a file and to its packs.
type fileFix struct {
	newMap *record.Map // nil if it stays; references without a version get the transaction's
	nodes  []newNode
	blocks uint64
	count  bool // blocks is to be set
	packs  []newPack
}

// newNode is a map node that is written again. References in it without a version
// get the transaction's.
type newNode struct {
	level uint8
	index uint64
	leaf  *extent.Leaf
	refs  []record.Ref
}

type newPack struct {
	id   uint64
	pack *record.Pack
}

// maxNodes bounds the map nodes of a file that are written again.
const maxNodes = 100

// use is what a leaf says of a data record.
type use struct {
	id     uint64
	index  uint64 // of the leaf
	blocks uint16 // of the whole record
	shared bool
	run    extent.Run
}

// fileSurvey is the survey of one regular file.
type fileSurvey struct {
	*repairer
	ino     uint64
	n       *record.Inode
	changes fileFix
	uses    []use
	// broken says that part of the map cannot be read, so that it is not known
	// what else it names.
	broken bool
	swept  bool // an orphan record says what else may be there
	mapped uint64
	listed map[nodeName]bool
	spread map[uint64]bool // data records to be marked as packs
	drop   [][]byte
}

type nodeName struct {
	level uint8
	index uint64
}

// surveyFile walks the map of a file and compares data and pack records with it.
func (r *repairer) surveyFile(ino uint64, n *record.Inode, maps, data, packs []record.Key) error {
	f := &fileSurvey{repairer: r, ino: ino, n: n, listed: make(map[nodeName]bool)}
	if o, ok := r.orphans[ino]; ok && o.good && o.below > 0 {
		f.swept = true
	}
	if err := f.walk(); err != nil {
		return err
	}
	if f.findSpread() {
		// Once more, to mark them.
		f.uses, f.mapped, f.changes, f.drop = nil, 0, fileFix{}, nil
		if err := f.walk(); err != nil {
			return err
		}
	}
	f.settleNodes(maps)
	f.settleData(data, packs)
	if !f.broken && f.mapped != n.Blocks {
		r.note(Counted, ino, "the map has %d blocks, the inode counts %d", f.mapped, n.Blocks)
		f.changes.count, f.changes.blocks = true, f.mapped
	}
	if len(f.changes.nodes) > maxNodes {
		// They have to be written together.
		r.note(Left, ino, "too much of the map is to be written again: %d nodes", len(f.changes.nodes))
		return nil
	}
	if fix := f.changes; fix.newMap != nil || fix.count || len(fix.nodes) > 0 || len(fix.packs) > 0 || len(f.drop) > 0 {
		todo := r.fix(ino)
		todo.file = &fix
		todo.deletes = append(todo.deletes, f.drop...)
	}
	return nil
}

// walk goes through the map and makes a new one as far as it must change.
func (f *fileSurvey) walk() error {
	m := &f.n.Map
	if m.Height == 0 {
		fresh := record.Map{}
		changed := false
		for _, l := range m.Leaves {
			leaf, differs := f.leaf(l.Index, l.Leaf)
			changed = changed || differs
			if !leaf.Empty() {
				fresh.Leaves = append(fresh.Leaves, record.IndexedLeaf{Index: l.Index, Leaf: leaf})
			}
		}
		if changed {
			f.changes.newMap = &fresh
		}
		return nil
	}
	refs, changed, err := f.refs(m.Height-1, m.Refs)
	if changed {
		f.changes.newMap = &record.Map{Height: m.Height, Refs: refs}
	}
	return err
}

// refs goes through the nodes of a level and returns the references as they are
// to be.
func (f *fileSurvey) refs(level uint8, refs []record.Ref) (fresh []record.Ref, changed bool, err error) {
	for _, ref := range refs {
		f.listed[nodeName{level, ref.Index}] = true
		got, err := f.node(level, ref)
		if err != nil {
			return nil, false, err
		}
		changed = changed || got != ref
		if got.Blocks > 0 {
			fresh = append(fresh, got)
		} else {
			f.drop = append(f.drop, record.MapKey(f.ino, level, ref.Index))
		}
	}
	return fresh, changed, nil
}

// node goes through one map node and returns the reference to it as it is to be:
// without a version if the node is written again, without blocks if it goes. A
// node that cannot be read keeps its reference, so that reading goes on to fail.
func (f *fileSurvey) node(level uint8, ref record.Ref) (record.Ref, error) {
	if err := f.tick(int64(len(f.inodes.list)), int64(f.head.Inodes), "inodes"); err != nil {
		return ref, err
	}
	if err := f.get(record.MapKey(f.ino, level, ref.Index)); err != nil {
		f.broken = true
		return ref, nil
	}
	var leaf *extent.Leaf
	var below []record.Ref
	var version uint64
	var err error
	if level == 0 {
		leaf, version, err = record.DecodeLeaf(f.plain)
	} else {
		below, version, err = record.DecodeNode(f.plain, level)
	}
	if err != nil || version != ref.Version {
		f.broken = true
		return ref, nil
	}
	again := f.tooNew(version)
	if again {
		f.note(Counted, f.ino, "map node %d/%d is of version %d, the store at %d", level, ref.Index, version, f.view.Version())
	}
	fresh := record.Ref{Index: ref.Index, Version: ref.Version}
	node := newNode{level: level, index: ref.Index}
	if level == 0 {
		var changed bool
		node.leaf, changed = f.leaf(ref.Index, leaf)
		again = again || changed
		fresh.Blocks = uint64(node.leaf.Blocks())
	} else {
		own := slices.DeleteFunc(slices.Clone(below), func(r record.Ref) bool { return r.Index>>record.FanoutBits != ref.Index })
		if len(own) < len(below) {
			f.note(Dropped, f.ino, "references of map node %d/%d to nodes that cannot be below it", level, ref.Index)
		}
		var changed bool
		if node.refs, changed, err = f.refs(level-1, own); err != nil {
			return ref, err
		}
		again = again || changed || len(own) < len(below)
		for _, r := range node.refs {
			fresh.Blocks += r.Blocks
		}
	}
	if fresh.Blocks != ref.Blocks {
		f.note(Counted, f.ino, "map node %d/%d has %d blocks, it is listed with %d", level, ref.Index, fresh.Blocks, ref.Blocks)
	}
	if again && fresh.Blocks > 0 {
		fresh.Version = 0
		f.changes.nodes = append(f.changes.nodes, node)
	}
	return fresh, nil
}

// leaf takes down what a leaf names, and cuts off what lies past the end of the
// file.
func (f *fileSurvey) leaf(index uint64, leaf *extent.Leaf) (fresh *extent.Leaf, changed bool) {
	fresh = leaf
	end := (f.n.Size + crypto.BlockSize - 1) / crypto.BlockSize
	first := index * extent.LeafBlocks
	if n := len(leaf.Runs); n > 0 && first+uint64(leaf.Runs[n-1].Start+leaf.Runs[n-1].Count) > end {
		cut := uint64(0)
		if end > first {
			cut = end - first
		}
		fresh = leaf.Clone()
		fresh.Clear(uint16(cut), uint16(extent.LeafBlocks-cut), nil)
		changed = true
		f.act(Action{
			Kind: Dropped, Inode: f.ino, Message: "blocks past the end of the file",
			Range: &Range{(first + cut) * crypto.BlockSize, (extent.LeafBlocks - cut) * crypto.BlockSize},
		})
	}
	for i := range fresh.Recs {
		if rec := &fresh.Recs[i]; f.spread[rec.ID] && !rec.Shared {
			if !changed {
				fresh, changed = fresh.Clone(), true
			}
			fresh.Recs[i].Shared = true
		}
	}
	f.mapped += uint64(fresh.Blocks())
	for _, run := range fresh.Runs {
		rec := &fresh.Recs[run.Rec]
		f.uses = append(f.uses, use{rec.ID, index, rec.Blocks, rec.Shared, run})
		f.maxRecord = max(f.maxRecord, rec.ID)
	}
	return fresh, changed
}

// findSpread looks for data records that several leaves name though not all of
// them say so.
func (f *fileSurvey) findSpread() bool {
	slices.SortStableFunc(f.uses, func(a, b use) int { return cmp.Compare(a.id, b.id) })
	for i := 1; i < len(f.uses); i++ {
		a, b := &f.uses[i-1], &f.uses[i]
		if a.id == b.id && a.index != b.index && (!a.shared || !b.shared) {
			if f.spread == nil {
				f.spread = make(map[uint64]bool)
			}
			if !f.spread[a.id] {
				f.note(Counted, f.ino, "data record %d is named by several parts of the map, which do not all say so", a.id)
			}
			f.spread[a.id] = true
		}
	}
	return f.spread != nil
}

// settleNodes drops map nodes that the map does not list.
func (f *fileSurvey) settleNodes(maps []record.Key) {
	if f.broken || f.swept {
		return
	}
	dropped := 0
	for _, k := range maps {
		if !f.listed[nodeName{k.Level, k.Sub}] {
			f.drop = append(f.drop, record.MapKey(f.ino, k.Level, k.Sub))
			dropped++
		}
	}
	if dropped > 0 {
		f.note(Dropped, f.ino, "map nodes that the map does not list: %d", dropped)
	}
}

// settleData compares the data and pack records with what the map names.
func (f *fileSurvey) settleData(data, packs []record.Key) {
	slices.SortStableFunc(f.uses, func(a, b use) int { return cmp.Compare(a.id, b.id) })
	at, unlisted := 0, 0
	for _, k := range data {
		id := k.Sub
		packed := len(packs) > 0 && packs[0].Sub <= id
		for len(packs) > 0 && packs[0].Sub < id {
			f.dropPack(packs[0].Sub)
			packs = packs[1:]
		}
		packed = packed && len(packs) > 0 && packs[0].Sub == id
		if packed {
			packs = packs[1:]
		}
		for at < len(f.uses) && f.uses[at].id < id {
			at++
		}
		end := at
		for end < len(f.uses) && f.uses[end].id == id {
			end++
		}
		switch {
		case end > at:
			f.settlePack(id, f.uses[at:end], packed)
		case f.pending[record.DataRef{Inode: f.ino, Record: id}]:
			f.drops = append(f.drops, record.DataKey(f.ino, id))
			if packed {
				f.drops = append(f.drops, record.PackKey(f.ino, id))
			}
		case f.broken && (!f.headFound || id < f.head.NextRecord), f.swept && f.below(id):
			if packed {
				f.dropUnreadablePack(id)
			}
		default:
			unlisted++
			f.drop = append(f.drop, record.DataKey(f.ino, id))
			if packed {
				f.drop = append(f.drop, record.PackKey(f.ino, id))
			}
		}
	}
	for _, k := range packs {
		f.dropPack(k.Sub)
	}
	if unlisted > 0 {
		f.note(Dropped, f.ino, "data records that the map does not name: %d", unlisted)
	}
}

// below reports whether a sweep that is due deletes a data record.
func (f *fileSurvey) below(id uint64) bool { return id < f.orphans[f.ino].below }
