package run

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/workload"
)

// named is the raw directory under another name.
type named struct {
	drives.Drive
	name   string
	starts *[]string // the names of all that were started, in order
	fail   error
}

func (d named) Name() string { return d.name }

func (d named) Start(ctx context.Context, dir string) (drives.Session, error) {
	*d.starts = append(*d.starts, d.name)
	if d.fail != nil {
		return nil, d.fail
	}
	return d.Drive.Start(ctx, dir)
}

func quiet(string, ...any) {}

// plan measures small files on two drives that are plain directories.
func plan(t *testing.T) (p Plan, starts *[]string) {
	t.Helper()
	chosen, err := Select(workload.All(), []string{"small-files"}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	starts = &[]string{}
	return Plan{
		Rounds: 2, Workloads: chosen, Scale: workload.Quick(), Prepared: workload.Prepare(t.TempDir(), ""), Tell: quiet,
		Places: []Place{
			{Setting: report.Setting{Backing: Tmpfs}, Dir: t.TempDir()}, {Setting: report.Setting{Backing: Disk}, Dir: t.TempDir()},
		},
		Candidates: []Candidate{
			{Drive: named{drives.Raw{}, "one", starts, nil}, Role: report.Subject},
			{Drive: named{drives.Raw{}, "two", starts, nil}, Role: report.Reference, InMemory: true},
		},
	}, starts
}

// TestDo: the drives take turns and take turns in being the first; each row has a sample for each round.
func TestDo(t *testing.T) {
	p, starts := plan(t)
	r, err := Do(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"one", "two", "one", "two", "one", "one"}; !slices.Equal(*starts, want) {
		t.Errorf("turns: %v, not %v", *starts, want)
	}
	for _, row := range r.Rows {
		for name, backings := range map[string][]string{"one": {Tmpfs, Disk}, "two": {Tmpfs}} {
			for _, b := range backings {
				if x := r.Find(report.Setting{Backing: b}, name, row.Name); x == nil || len(x.Samples) != 2 {
					t.Errorf("%s on %s, %s: %v", row.Name, name, b, x)
				}
			}
		}
	}
	if len(r.Rows) != 4 || len(r.Results) != 12 || len(r.Failures) != 0 {
		t.Errorf("%d rows, %d results, failures: %v", len(r.Rows), len(r.Results), r.Failures)
	}
	for _, place := range p.Places {
		if list, err := os.ReadDir(place.Dir); err != nil || len(list) > 0 {
			t.Errorf("left in %s: %v, %v", place.Dir, list, err)
		}
	}
}

// TestFailure: what fails on one drive is told, and does not keep the others from being measured.
func TestFailure(t *testing.T) {
	p, starts := plan(t)
	p.Rounds = 1
	p.Candidates[0].Drive = named{drives.Raw{}, "one", starts, errors.New("no such luck")}
	r, err := Do(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Failures) != 2 || r.Failures[0].Drive != "one" || !strings.Contains(r.Failures[0].Error, "no such luck") {
		t.Errorf("%+v", r.Failures)
	}
	if x := r.Find(report.Setting{Backing: Tmpfs}, "two", "create"); x == nil {
		t.Error("the other drive was not measured")
	}
}

// TestEnter: a setting that cannot be entered ends the benchmark, and so does the end of the context.
func TestEnter(t *testing.T) {
	p, starts := plan(t)
	refusal := errors.New("not allowed")
	p.Places[0].Enter = func() error { return refusal }
	if _, err := Do(t.Context(), p); !errors.Is(err, refusal) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p.Places[0].Enter = func() error { cancel(); return nil }
	if _, err := Do(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if len(*starts) > 0 {
		t.Errorf("started: %v", *starts)
	}
}

func TestSelect(t *testing.T) {
	all := []workload.Workload{{Name: "read-one"}, {Name: "read-two"}, {Name: "write", Tools: []string{"no-such-program"}}}
	tests := []struct {
		names []string
		want  []string
	}{
		{nil, []string{"read-one", "read-two"}},
		{[]string{"two"}, []string{"read-two"}},
		{[]string{"read", "two"}, []string{"read-one", "read-two"}},
		{[]string{"write"}, nil},
	}
	for _, test := range tests {
		chosen, err := Select(all, test.names, quiet)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range chosen {
			got = append(got, w.Name)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, not %v", test.names, got, test.want)
		}
	}
	if _, err := Select(all, []string{"read", "frob"}, quiet); err == nil || !strings.Contains(err.Error(), "frob") {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestCostOf(t *testing.T) {
	u := drives.Usage{CPU: 2 * time.Second, Written: 3 << 30, Reads: 500, Space: 2 << 30, PeakAnon: 7}
	got := costOf(u, workload.Part{Ops: 1000, Read: 1 << 30, Written: 1 << 30})
	want := report.Cost{CPUPerGiB: 1, CPUPerOp: 2000, ReadsPerOp: 0.5, DiskPerByte: 3, SpacePerByte: 2, PeakAnon: 7}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, not %+v", got, want)
	}
	if got := costOf(drives.Usage{}, workload.Part{}); got != (report.Cost{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
