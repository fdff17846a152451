package storms

import (
	"cmp"
	"hash/maphash"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// searchLimit is how long an order is looked for. One that is there is found in a fraction of that.
const searchLimit = 2 * time.Minute

// shown is how many operations are shown of a history that has none.
const shown = 60

// state is what a tree is in the course of an order. After a kill it also says whether the order can have been cut off
// already to leave what was found: whether the tree was that at some point, and no sync was answered since of a directory
// that is another one there. (The sync of a directory that did not change makes nothing durable.) Of all trees that it was,
// that is all that matters, and keeps the states few.
type state struct {
	now  tree
	left bool
}

// history checks what a storm did, from a tree on.
type history struct {
	world
	start tree
	ops   []operation
	// killed says that the last operation, a snapshot, is of what a kill has left.
	killed bool
}

// ordered fails the test if there is no order in which everything is right.
func (h *history) ordered(t *testing.T) {
	t.Helper()
	began := time.Now()
	result := h.search(searchLimit)
	t.Logf("%d operations, looked for an order for %v", len(h.ops), time.Since(began).Round(time.Millisecond))
	switch result {
	case porcupine.Unknown:
		t.Fatalf("no order of %d operations was found within %v", len(h.ops), searchLimit)
	case porcupine.Illegal:
		t.Errorf("there is no order of %d operations in which every answer is right", len(h.ops))
		h.explain(t)
	}
}

func (h *history) search(limit time.Duration) porcupine.CheckResult {
	seed := maphash.MakeSeed()
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{state{h.start, h.start == h.found()}} },
		Step: func(s, in, _ any) []any { return h.next(s.(state), in.(*operation)) },
		Hash: func(s any) uint64 { return maphash.Comparable(seed, s.(state)) },
	}
	var all []porcupine.Operation
	for i := range h.ops {
		all = append(all, porcupine.Operation{Input: &h.ops[i], Call: h.ops[i].Began, Return: h.ops[i].Ended})
	}
	return porcupine.CheckOperationsTimeout(model.ToModel(), all, limit)
}

// found returns the tree that a kill has left.
func (h *history) found() tree {
	for i := range h.ops {
		if h.killed && h.ops[i].Kind == snapshot {
			return *h.ops[i].tree
		}
	}
	return tree{}
}

// lose adds to the files that nobody knows to have made those that were found while the daemon ran.
func (h *history) lose() {
	for i := range h.ops {
		ino := h.ops[i].Found
		if _, known := h.made[ino]; !known && ino != 0 && h.dir(ino) < 0 && !slices.Contains(h.lost, ino) {
			h.lost = append(h.lost, ino)
		}
	}
}

// next is step with what a kill may leave.
func (h *history) next(s state, o *operation) []any {
	if o.Kind == snapshot && h.killed {
		if s.left {
			return []any{s}
		}
		return nil
	}
	var out []any
	for _, t := range h.step(s.now, o) {
		n := state{t, s.left}
		if h.killed {
			found := h.found()
			n.left = t == found || s.left && (!o.syncs() || found[o.At.Dir] == t[o.At.Dir])
		}
		out = append(out, n)
	}
	return out
}

// explain finds how far an order goes, and shows what does not fit there.
func (h *history) explain(t *testing.T) {
	t.Helper()
	if h.killed {
		answers := history{world: h.world, start: h.start, ops: slices.DeleteFunc(slices.Clone(h.ops), func(o operation) bool {
			return o.Kind == snapshot
		})}
		if answers.search(searchLimit) == porcupine.Ok {
			t.Logf("the answers have an order, but nowhere in it since the last sync was the tree what was found:\n%v", h.found())
			slices.SortFunc(h.ops, func(a, b operation) int { return cmp.Compare(a.Ended, b.Ended) })
			for i := max(0, len(h.ops)-shown); i < len(h.ops); i++ {
				t.Logf("%5d %s", i+1, &h.ops[i])
			}
			return
		}
		h = &answers
	}
	slices.SortFunc(h.ops, func(a, b operation) int { return cmp.Compare(a.Ended, b.Ended) })
	lo, hi := 0, len(h.ops) // an order of the first lo is there, of the first hi is none
	for lo+1 < hi {
		part := history{world: h.world, start: h.start, ops: slices.Clone(h.ops[:(lo+hi)/2]), killed: h.killed}
		// What had begun before the last of them ended may have been done.
		for _, o := range h.ops[len(part.ops):] {
			if o.Began < part.ops[len(part.ops)-1].Ended && o.Kind != snapshot {
				o.Lost = true
				part.ops = append(part.ops, o)
			}
		}
		if part.search(searchLimit/10) == porcupine.Ok {
			lo = (lo + hi) / 2
		} else {
			hi = (lo + hi) / 2
		}
	}
	t.Logf("an order of the first %d goes; operation %d does not fit:", lo, hi)
	for i := max(0, hi-shown); i < min(len(h.ops), hi+3); i++ {
		t.Logf("%5d %s", i+1, &h.ops[i])
	}
}
