package extent

import (
	"testing"

	"pgregory.net/rapid"
)

// cell is what the reference model knows of one block.
type cell struct {
	id    uint64
	index uint16
}

func TestLeafAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var leaf Leaf
		var model [LeafBlocks]cell
		live := map[uint64]int{}
		next := uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "operations") {
			start := rapid.IntRange(0, LeafBlocks-1).Draw(t, "start")
			count := rapid.IntRange(1, LeafBlocks-start).Draw(t, "count")
			var drops []Drop
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				drops = leaf.Clear(uint16(start), uint16(count), nil)
				for i := start; i < start+count; i++ {
					model[i] = cell{}
				}
			} else {
				rec := Rec{ID: next, Blocks: MaxRecordBlocks, Shared: next%2 == 0}
				next++
				index := rapid.IntRange(0, MaxRecordBlocks-count).Draw(t, "index")
				drops = leaf.Set(uint16(start), uint16(count), rec, uint16(index), nil)
				for i := range count {
					model[start+i] = cell{rec.ID, uint16(index + i)}
				}
				live[rec.ID] += count
			}
			for _, d := range drops {
				live[d.ID] -= d.Blocks
				if d.Last != (live[d.ID] == 0) {
					t.Fatalf("record %d: last is %v with %d blocks left", d.ID, d.Last, live[d.ID])
				}
			}
			compare(t, &leaf, &model)
		}
	})
}

func compare(t *rapid.T, leaf *Leaf, model *[LeafBlocks]cell) {
	if err := leaf.Check(); err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for i := range uint16(LeafBlocks) {
		rec, index, n, ok := leaf.Lookup(i)
		want := model[i]
		if ok != (want.id != 0) {
			t.Fatalf("block %d: found %v, want %+v", i, ok, want)
		}
		if ok {
			blocks++
			if rec.ID != want.id || index != want.index {
				t.Fatalf("block %d is %d/%d, want %+v", i, rec.ID, index, want)
			}
		}
		for k := range n {
			if (model[int(i)+k].id != 0) != ok {
				t.Fatalf("block %d: run of %d is too long", i, n)
			}
		}
		data, hole := i, i
		for data < LeafBlocks && model[data].id == 0 {
			data++
		}
		for hole < LeafBlocks && model[hole].id != 0 {
			hole++
		}
		if leaf.NextData(i) != data || leaf.NextHole(i) != hole {
			t.Fatalf("block %d: next data %d hole %d, want %d %d", i, leaf.NextData(i), leaf.NextHole(i), data, hole)
		}
	}
	if blocks != leaf.Blocks() || leaf.Empty() != (blocks == 0) {
		t.Fatalf("leaf has %d blocks, want %d", leaf.Blocks(), blocks)
	}
}

func TestCheckRefuses(t *testing.T) {
	rec := func(id uint64, blocks uint16) Rec { return Rec{ID: id, Blocks: blocks} }
	for name, l := range map[string]Leaf{
		"overlap":       {Recs: []Rec{rec(1, 9)}, Runs: []Run{{0, 4, 0, 0}, {3, 2, 0, 5}}},
		"past leaf":     {Recs: []Rec{rec(1, 9)}, Runs: []Run{{255, 2, 0, 0}}},
		"past record":   {Recs: []Rec{rec(1, 3)}, Runs: []Run{{0, 4, 0, 0}}},
		"no record":     {Recs: []Rec{rec(1, 9)}, Runs: []Run{{0, 4, 0, 0}, {5, 1, 1, 0}}},
		"unused":        {Recs: []Rec{rec(1, 9), rec(2, 9)}, Runs: []Run{{0, 4, 0, 0}}},
		"twice":         {Recs: []Rec{rec(1, 9), rec(1, 9)}, Runs: []Run{{0, 4, 0, 0}, {5, 1, 1, 0}}},
		"empty run":     {Recs: []Rec{rec(1, 9)}, Runs: []Run{{0, 0, 0, 0}}},
		"not joined":    {Recs: []Rec{rec(1, 9)}, Runs: []Run{{0, 2, 0, 0}, {2, 2, 0, 2}}},
		"no blocks":     {Recs: []Rec{rec(1, 0)}, Runs: []Run{{0, 1, 0, 0}}},
		"huge record":   {Recs: []Rec{rec(1, 300)}, Runs: []Run{{0, 1, 0, 0}}},
		"out of order":  {Recs: []Rec{rec(1, 9)}, Runs: []Run{{5, 1, 0, 0}, {1, 1, 0, 1}}},
		"start at huge": {Recs: []Rec{rec(1, 9)}, Runs: []Run{{60000, 6000, 0, 0}}},
	} {
		if l.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
