package disk

import (
	"bytes"
	"testing"
)

// anyOf returns which of some outcomes the cuts of a log have, over many seeds; of every cut it takes what look returns.
func anyOf(log []change, promise Promise, look func(*image) string) map[string]bool {
	r := newReplay(log, promise)
	r.advance(len(log))
	found := map[string]bool{}
	for seed := range uint64(500) {
		found[look(r.cut(seed))] = true
	}
	return found
}

// contents returns what the file a of the root holds.
func contents(m *image) string {
	node, ok := m.files[rootNode].entries["a"]
	if !ok {
		return "missing"
	}
	f := m.files[node]
	b := make([]byte, f.size)
	f.read(b, 0)
	return string(b)
}

func expectOutcomes(t *testing.T, got map[string]bool, want ...string) {
	t.Helper()
	for _, w := range want {
		if !got[w] {
			t.Errorf("no cut has %.20q", w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("a cut has %.20q", g)
	}
}

// TestCuts: what was synced is there, and all else may be, in any part.
func TestCuts(t *testing.T) {
	makeA := change{kind: link, node: rootNode, name: "a", child: 2}
	makeB := change{kind: link, node: rootNode, name: "b", child: 3}
	writeA := change{kind: write, node: 2, data: []byte("1")}
	writeB := change{kind: write, node: 3, data: []byte("2")}
	replace := change{kind: rename, node: rootNode, name: "b", child: 3, toNode: rootNode, toName: "a"}
	syncA := change{kind: syncFile, node: 2}
	syncB := change{kind: syncFile, node: 3}
	syncAll := change{kind: syncDir, node: rootNode}
	for name, c := range map[string]struct {
		promise Promise
		log     []change
		want    []string
	}{
		"nothing synced":           {Named, []change{makeA, writeA}, []string{"missing", "", "\x00", "1"}},
		"file synced":              {Named, []change{makeA, writeA, syncA}, []string{"1"}},
		"file synced, as in POSIX": {Unnamed, []change{makeA, writeA, syncA}, []string{"missing", "1"}},
		"directory synced":         {Named, []change{makeA, writeA, syncAll}, []string{"", "\x00", "1"}},
		"replaced by what was synced": {Unnamed, []change{makeA, writeA, syncA, syncAll, makeB, writeB, syncB, replace},
			[]string{"1", "2"}},
		"replaced by what was not": {Unnamed, []change{makeA, writeA, syncA, syncAll, makeB, writeB, replace},
			[]string{"1", "", "\x00", "2"}},
		"cut and written": {Unnamed, []change{makeA, writeA, syncA, syncAll, {kind: resize, node: 2}, {kind: write, node: 2, data: []byte("3")}},
			[]string{"1", "", "\x00", "3"}},
	} {
		t.Run(name, func(t *testing.T) { expectOutcomes(t, anyOf(c.log, c.promise, contents), c.want...) })
	}
}

// TestTornWrite: of a write that was not synced any sectors may be there, each whole.
func TestTornWrite(t *testing.T) {
	old, young := bytes.Repeat([]byte{'o'}, 3*sectorSize), bytes.Repeat([]byte{'y'}, 3*sectorSize)
	log := []change{{kind: link, node: rootNode, name: "a", child: 2}, {kind: write, node: 2, data: old}, {kind: syncFile, node: 2}, {kind: write, node: 2, data: young}}
	got := anyOf(log, Named, func(m *image) string {
		b := []byte(contents(m))
		var sectors []byte
		for ; len(b) >= sectorSize; b = b[sectorSize:] {
			if !bytes.Equal(b[:sectorSize], old[:sectorSize]) && !bytes.Equal(b[:sectorSize], young[:sectorSize]) {
				return "a torn sector"
			}
			sectors = append(sectors, b[0])
		}
		return string(sectors)
	})
	expectOutcomes(t, got, "ooo", "ooy", "oyo", "oyy", "yoo", "yoy", "yyo", "yyy")
}
