package volume

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/store"
)

// nodeStore is a store of map nodes in memory, and a writer to it.
type nodeStore map[string][]byte

func nodeKey(level uint8, index uint64) string { return fmt.Sprintf("%d/%d", level, index) }

func (s nodeStore) mapNode(ino uint64, level uint8, index, _ uint64) ([]byte, error) {
	b, ok := s[nodeKey(level, index)]
	if !ok {
		return nil, damaged(record.KindMap, ino, store.ErrNotFound)
	}
	return b, nil
}

func (s nodeStore) putNode(level uint8, index uint64, plain []byte) {
	s[nodeKey(level, index)] = plain
}

func (s nodeStore) deleteNode(level uint8, index uint64) { delete(s, nodeKey(level, index)) }

// treeModel is a fileMap with what it should hold.
type treeModel struct {
	t       *rapid.T
	m       fileMap
	nodes   nodeStore
	want    map[uint64]uint64 // block: data record
	version uint64
	next    uint64 // data record
	leaves  []uint64
}

func newTreeModel(t *rapid.T) *treeModel {
	x := &treeModel{t: t, nodes: make(nodeStore), want: make(map[uint64]uint64)}
	x.m.load(&record.Map{})
	// Few enough places that changes meet, far enough apart that the map is high.
	for _, base := range []uint64{0, 255, 1 << 8, 1 << 16, 1<<24 - 1, 1 << 24, 1 << 34, 1<<43 - 700_000} {
		for i := range uint64(10) {
			x.leaves = append(x.leaves, base+i*[]uint64{1, 70_000, 256, 70_000}[i%4])
		}
	}
	return x
}

// set maps some blocks of a leaf to a new data record, as mapFlight does.
func (x *treeModel) set() {
	index := rapid.SampledFrom(x.leaves).Draw(x.t, "leaf")
	start := rapid.IntRange(0, leafBlocks-1).Draw(x.t, "start")
	count := rapid.IntRange(1, min(5, leafBlocks-start)).Draw(x.t, "count")
	l, err := x.m.leafForChange(x.nodes, 1, index)
	if err != nil {
		x.t.Fatal(err)
	}
	x.next++
	l.Set(uint16(start), uint16(count), extent.Rec{ID: x.next, Blocks: uint16(count)}, 0, nil)
	x.m.touch(l)
	for b := range count {
		x.want[index*leafBlocks+uint64(start+b)] = x.next
	}
}

// clear makes a hole, as unmap does.
func (x *treeModel) clear() {
	index := rapid.SampledFrom(x.leaves).Draw(x.t, "leaf")
	start := rapid.IntRange(0, leafBlocks-1).Draw(x.t, "start")
	count := rapid.IntRange(1, leafBlocks-start).Draw(x.t, "count")
	l, err := x.m.leaf(x.nodes, 1, index)
	if err != nil {
		x.t.Fatal(err)
	}
	if l == nil {
		return
	}
	if drops := l.Clear(uint16(start), uint16(count), nil); len(drops) > 0 {
		x.m.touch(l)
	}
	for b := range count {
		delete(x.want, index*leafBlocks+uint64(start+b))
	}
}

func (x *treeModel) cut() {
	index := rapid.SampledFrom(x.leaves).Draw(x.t, "leaf")
	before := uint64(len(x.want))
	blocks, err := x.m.cutFrom(x.nodes, 1, index)
	if err != nil {
		x.t.Fatal(err)
	}
	maps.DeleteFunc(x.want, func(b, _ uint64) bool { return b/leafBlocks >= index })
	if want := before - uint64(len(x.want)); blocks != want {
		x.t.Fatalf("cutting from leaf %d let %d blocks go, want %d", index, blocks, want)
	}
}

// store encodes the map, and loads it again from its record if again says so.
func (x *treeModel) store(load bool) {
	x.version++
	r := x.m.encode(x.version, x.nodes)
	n := record.Inode{Attr: record.Attr{Mode: record.TypeFile}, Version: x.version, Map: r}
	back, err := record.DecodeInode(n.Append(nil))
	if err != nil {
		x.t.Fatalf("the record does not decode: %v", err)
	}
	blocks := uint64(0)
	for _, ref := range back.Map.Refs {
		blocks += ref.Blocks
	}
	for _, l := range back.Map.Leaves {
		blocks += uint64(l.Leaf.Blocks())
	}
	if blocks != uint64(len(x.want)) {
		x.t.Fatalf("the root counts %d blocks, want %d", blocks, len(x.want))
	}
	if load {
		x.m.load(&back.Map)
	}
}

// check compares everything.
func (x *treeModel) check() {
	for _, index := range x.leaves {
		peeked, known := x.m.peek(index)
		l, err := x.m.leaf(x.nodes, 1, index)
		if err != nil {
			x.t.Fatal(err)
		}
		if known && peeked != l && (peeked == nil || l == nil) {
			x.t.Fatalf("leaf %d: peek and leaf disagree", index)
		}
		if again, known := x.m.peek(index); !known || again != l {
			x.t.Fatalf("leaf %d is not known after it was read", index)
		}
		for b := range uint16(leafBlocks) {
			want, ok := x.want[index*leafBlocks+uint64(b)]
			got := uint64(0)
			if l != nil {
				if rec, _, _, mapped := l.Lookup(b); mapped {
					got = rec.ID
				}
			}
			if ok && got != want || !ok && got != 0 {
				x.t.Fatalf("block %d of leaf %d is in record %d, want %d", b, index, got, want)
			}
		}
	}
	var want []uint64
	for b := range x.want {
		want = append(want, b/leafBlocks)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var got []uint64
	for index := uint64(0); ; index++ {
		i, ok, err := x.m.nextLeaf(x.nodes, 1, index)
		if err != nil {
			x.t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, i)
		index = i
	}
	if !slices.Equal(got, want) {
		x.t.Fatalf("leaves with data are %v, want %v", got, want)
	}
}

// TestFileMap does random things to a map and compares it with a list of
// blocks, through encoding and loading.
func TestFileMap(t *testing.T) {
	high := uint8(0)
	rapid.Check(t, func(t *rapid.T) {
		x := newTreeModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(*rapid.T) { x.set(); x.set(); x.set() },
			"many": func(*rapid.T) {
				for range 30 {
					x.set()
				}
			},
			"clear": func(*rapid.T) { x.clear() },
			"cut":   func(*rapid.T) { x.cut() },
			"store": func(*rapid.T) { x.store(false) },
			"load":  func(*rapid.T) { x.store(true) },
			"":      func(*rapid.T) { x.check() },
		})
		high = max(high, x.m.height)
		// Every node that the map lists is there, and lists says which they are.
		x.store(true)
		for key := range x.nodes {
			var level uint8
			var index uint64
			if _, err := fmt.Sscanf(key, "%d/%d", &level, &index); err != nil {
				t.Fatal(err)
			}
			listed, err := x.m.lists(x.nodes, 1, level, index)
			if err != nil {
				t.Fatal(err)
			}
			if !listed { // what a sweep deletes
				delete(x.nodes, key)
			}
		}
		x.store(true)
		x.check()
	})
	if high < 3 {
		t.Errorf("no map was higher than %d", high)
	}
}

// TestFileMapDamage: nodes that are missing, older, or nonsense.
func TestFileMapDamage(t *testing.T) {
	build := func() (record.Map, nodeStore, nodeStore) {
		nodes := make(nodeStore)
		var m fileMap
		m.load(&record.Map{})
		change := func(id uint64) {
			for i := range uint64(9000) {
				l, err := m.leafForChange(nodes, 1, i)
				if err != nil {
					t.Fatal(err)
				}
				l.Set(0, 1, extent.Rec{ID: id + i, Blocks: 1}, 0, nil)
				m.touch(l)
			}
		}
		change(1)
		m.encode(1, nodes)
		old := maps.Clone(nodes)
		change(100_000)
		return m.encode(2, nodes), nodes, old
	}
	r, nodes, old := build()
	if r.Height != 3 {
		t.Fatalf("the map is of height %d", r.Height)
	}
	for level := range uint8(2) {
		key := nodeKey(level, 0)
		for what, b := range map[string][]byte{"missing": nil, "older": old[key], "nonsense": []byte("nonsense")} {
			broken := maps.Clone(nodes)
			if broken[key] = b; b == nil {
				delete(broken, key)
			}
			var m fileMap
			m.load(&r)
			if _, err := m.leaf(broken, 7, 0); !errors.Is(err, ErrDamaged) {
				t.Errorf("node %s %s: %v, want ErrDamaged", key, what, err)
			}
			if level > 0 {
				if _, _, err := m.nextLeaf(broken, 7, 0); !errors.Is(err, ErrDamaged) {
					t.Errorf("nextLeaf over node %s %s: %v", key, what, err)
				}
				if _, err := m.cutFrom(broken, 7, 3); !errors.Is(err, ErrDamaged) {
					t.Errorf("cutFrom over node %s %s: %v", key, what, err)
				}
			}
			if _, err := m.leaf(broken, 7, 8999); err != nil {
				t.Errorf("a leaf beside node %s: %v", key, err)
			}
		}
	}
}
