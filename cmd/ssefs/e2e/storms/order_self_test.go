package storms

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sys/unix"
)

// TestSearch: histories that have an order, and such that have none, which the search has to tell apart, or a storm could
// not fail.
func TestSearch(t *testing.T) {
	w := world{dirs: [dirs]uint64{2, 3, 4, 5, 6, 7}, made: map[uint64]int{10: 0, 11: 0, 12: 1}}
	start := tree{0: {3, 4}, 3: {6, 7}}
	a, b, c, d := place{0, 2}, place{0, 3}, place{1, 0}, place{1, 1}
	done := func(k kind, at, to place, file uint64, began, ended int64) operation {
		return operation{Kind: k, At: at, To: to, File: file, Began: began, Ended: ended}
	}
	failed := func(o operation, err unix.Errno) operation { o.Errno = err; return o }
	found := func(at place, ino uint64, began, ended int64) operation {
		return operation{Kind: look, At: at, Found: ino, Began: began, Ended: ended}
	}
	missing := func(at place, began, ended int64) operation { return failed(found(at, 0, began, ended), unix.ENOENT) }
	lost := func(o operation) operation { o.Lost, o.Ended = true, 99; return o }
	shows := func(t tree, at int64) operation { return operation{Kind: snapshot, tree: &t, Began: at, Ended: at} }
	with := func(changes map[place]uint64) tree {
		t := start
		for p, ino := range changes {
			t[p.Dir][p.Name] = ino
		}
		return t
	}
	none := place{}
	dir := place{0, 0} // of directory 1
	for what, c := range map[string]struct {
		ops    []operation
		killed bool
		want   porcupine.CheckResult
	}{
		"nothing":     {nil, false, porcupine.Ok},
		"a file":      {[]operation{done(create, a, none, 10, 1, 2), shows(with(map[place]uint64{a: 10}), 3)}, false, porcupine.Ok},
		"a lost file": {[]operation{done(create, a, none, 10, 1, 2), shows(start, 3)}, false, porcupine.Illegal},
		"made twice":  {[]operation{done(create, a, none, 10, 1, 5), done(create, a, none, 11, 1, 5)}, false, porcupine.Illegal},
		"made twice, with a removal between": {[]operation{done(create, a, none, 10, 1, 5), done(create, a, none, 11, 1, 5), done(remove, a, none, 0, 1, 5)},
			false, porcupine.Ok},
		"the removal was earlier": {[]operation{done(create, a, none, 10, 2, 5), done(create, a, none, 11, 2, 5), failed(done(remove, a, none, 0, 0, 1), unix.ENOENT)},
			false, porcupine.Illegal},
		"in two places": {[]operation{done(create, a, none, 10, 1, 2), done(rename, a, b, 0, 3, 4), shows(with(map[place]uint64{a: 10, b: 10}), 5)},
			false, porcupine.Illegal},
		"seen before and after": {[]operation{done(create, a, none, 10, 1, 2), done(rename, a, b, 0, 3, 9), found(b, 10, 4, 5), found(a, 10, 6, 7)},
			false, porcupine.Illegal},
		"seen in neither place": {[]operation{done(create, a, none, 10, 1, 2), done(rename, a, b, 0, 3, 9), found(b, 10, 4, 5), missing(b, 6, 7)},
			false, porcupine.Illegal},
		"a directory in itself":         {[]operation{done(rename, dir, c, 0, 1, 2)}, false, porcupine.Illegal},
		"refused to be in itself":       {[]operation{failed(done(rename, dir, c, 0, 1, 2), unix.EINVAL)}, false, porcupine.Ok},
		"refused for no reason":         {[]operation{failed(done(rename, dir, a, 0, 1, 2), unix.EINVAL)}, false, porcupine.Illegal},
		"an error that is not for this": {[]operation{failed(done(remove, a, none, 0, 1, 2), unix.ESTALE)}, false, porcupine.Illegal},
		"each into the other":           {[]operation{done(rename, dir, place{2, 0}, 0, 1, 5), done(rename, place{0, 1}, c, 0, 1, 5)}, false, porcupine.Illegal},
		"linked after its end": {[]operation{done(create, a, none, 10, 1, 2), done(remove, a, none, 0, 3, 4), done(link, none, b, 10, 5, 6)},
			false, porcupine.Illegal},
		"linked elsewhere":          {[]operation{done(create, a, none, 10, 1, 2), done(link, none, place{4, 0}, 10, 3, 4)}, false, porcupine.Illegal},
		"a full directory replaced": {[]operation{done(create, d, none, 10, 1, 2), done(rename, place{0, 1}, dir, 0, 3, 4)}, false, porcupine.Illegal},

		"cut off":                      {[]operation{done(create, a, none, 10, 1, 2), done(create, b, none, 11, 3, 4), shows(with(map[place]uint64{a: 10}), 100)}, true, porcupine.Ok},
		"cut off at the start":         {[]operation{done(create, a, none, 10, 1, 2), shows(start, 100)}, true, porcupine.Ok},
		"not in order":                 {[]operation{done(create, a, none, 10, 1, 2), done(create, b, none, 11, 3, 4), shows(with(map[place]uint64{b: 11}), 100)}, true, porcupine.Illegal},
		"at the same time":             {[]operation{done(create, a, none, 10, 1, 4), done(create, b, none, 11, 1, 4), shows(with(map[place]uint64{b: 11}), 100)}, true, porcupine.Ok},
		"cut off before a sync":        {[]operation{done(create, a, none, 10, 1, 2), done(fsync, a, none, 0, 3, 4), shows(start, 100)}, true, porcupine.Illegal},
		"cut off after another's sync": {[]operation{done(create, a, none, 10, 1, 2), done(fsync, place{1, 0}, none, 0, 3, 4), shows(start, 100)}, true, porcupine.Ok},
		"cut off in a sync":            {[]operation{done(create, a, none, 10, 1, 2), lost(done(fsync, a, none, 0, 3, 4)), shows(start, 100)}, true, porcupine.Ok},
		"on its way":                   {[]operation{lost(done(create, a, none, 10, 1, 2)), lost(done(remove, b, none, 0, 1, 2)), shows(start, 100)}, true, porcupine.Ok},
	} {
		h := history{world: w, start: start, ops: c.ops, killed: c.killed}
		if got := h.search(searchLimit); got != c.want {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
