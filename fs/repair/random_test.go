package repair

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// rounds is how many random damages a test makes; SSEFS_REPAIR_ROUNDS says how
// many in a longer run.
func rounds(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("SSEFS_REPAIR_ROUNDS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SSEFS_REPAIR_ROUNDS: %v", err)
	}
	return n
}

// randomDamage damages a few records, most of them of the metadata.
func (x *site) randomDamage(r *rand.Rand) (raw, string) {
	keys := slices.Sorted(maps.Keys(x.good))
	few := slices.DeleteFunc(slices.Clone(keys), func(k string) bool {
		return k[0] == byte(record.KindData) || k[0] == byte(record.KindMap) || k[0] == byte(record.KindPack)
	})
	changes := make(raw)
	var what []string
	all := damages()
	for range 1 + r.IntN(8) {
		from := few
		if r.IntN(3) == 0 {
			from = keys
		}
		key := from[r.IntN(len(from))]
		d := all[r.IntN(len(all))]
		for k, v := range d.apply(x, key) {
			changes[k] = v
		}
		what = append(what, name(key)+" "+d.name)
	}
	return changes, strings.Join(what, ", ")
}

// TestRandomDamage damages several records at once, repairs, and checks that
// nothing else suffered.
func TestRandomDamage(t *testing.T) {
	x := newSite(t)
	for seed := range uint64(rounds(t, 40)) {
		changes, what := x.randomDamage(rand.New(rand.NewPCG(seed, 1)))
		what = fmt.Sprintf("seed %d: %s", seed, what)
		x.tamper(changes)
		report, err := x.repair(nil)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		x.finished(what, changes, report)
		x.restore()
	}
}

// finished checks the outcome of a repair, and ends the test if it is not right.
func (x *site) finished(what string, changes raw, report *Report) {
	x.Helper()
	x.wantRepaired(what)
	x.wantContents(what, changes)
	if x.Failed() {
		for i := range report.Actions {
			x.Log(report.Actions[i].String())
		}
		x.FailNow()
	}
}

// TestInterruptedRepair ends a repair after each of its transactions, begins anew
// each time, and now and then mounts the volume in between, if that can be.
func TestInterruptedRepair(t *testing.T) {
	x := newSite(t)
	for seed := range uint64(rounds(t, 10)) {
		r := rand.New(rand.NewPCG(seed, 2))
		changes, what := x.randomDamage(r)
		what = fmt.Sprintf("seed %d: %s", seed, what)
		x.tamper(changes)
		var report *Report
		for runs := 0; ; runs++ {
			var err error
			report, err = x.repair(func(o *Options) {
				o.small = true
				o.committed = func() error { return errStopped }
			})
			if err == nil {
				break
			}
			if !errors.Is(err, errStopped) {
				t.Fatalf("%s: %v", what, err)
			}
			if runs > 200 {
				t.Fatalf("%s: it does not come to an end:\n%s", what, actions(report))
			}
			if r.IntN(4) == 0 {
				x.wantUntouched(what, changes)
			}
		}
		x.finished(what, changes, report)
		x.restore()
	}
}

func actions(r *Report) string {
	var b strings.Builder
	for i := range r.Actions {
		fmt.Fprintln(&b, r.Actions[i].String())
	}
	return b.String()
}

// wantUntouched mounts the volume, if it can be, and checks the contents of all
// files that were not damaged.
func (x *site) wantUntouched(what string, changes raw) {
	x.Helper()
	v, err := volume.Open(x.Options())
	if err != nil {
		return
	}
	v.SetKeyService(x.KMS)
	x.V = v
	defer x.Unmount()
	dirty, _ := touched(changes, x.older)
	for ino, want := range x.bytes {
		if dirty[ino] {
			continue
		}
		n, err := x.V.Inode(ino)
		if err != nil {
			x.Errorf("%s: inode %d: %v", what, ino, err)
			continue
		}
		x.wantBytes(what, n, want, false)
		x.V.Unpin(n)
	}
}

// TestPlanChangesNothing: what would be done is only told.
func TestPlanChangesNothing(t *testing.T) {
	x := newSite(t)
	changes, what := x.randomDamage(rand.New(rand.NewPCG(3, 3)))
	x.tamper(changes)
	before := x.Dump(nil)
	report, err := x.repair(func(o *Options) { o.Mode = Plan })
	x.Must(err)
	if len(report.Actions) == 0 {
		t.Errorf("%s: there is nothing to do", what)
	}
	if !maps.EqualFunc(before, x.Dump(nil), bytes.Equal) {
		t.Error("a plan changed the volume")
	}
}
