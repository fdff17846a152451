package main

import (
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
)

func TestBackings(t *testing.T) {
	tests := []struct {
		o    options
		want []string
	}{
		{options{}, []string{run.Tmpfs, run.Disk}},
		{options{quick: true}, []string{run.Tmpfs}},
		{options{quick: true, backing: "both"}, []string{run.Tmpfs, run.Disk}},
		{options{backing: "disk"}, []string{run.Disk}},
	}
	for _, test := range tests {
		if got, err := test.o.backings(); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, not %v: %v", test.o, got, test.want, err)
		}
	}
	if _, err := (options{backing: "tape"}).backings(); err == nil {
		t.Error("a tape was accepted")
	}
}

// TestPlace: a directory must be on what it is said to be on.
func TestPlace(t *testing.T) {
	o := options{tmpfs: "/proc", disk: "/dev/shm"}
	for _, backing := range []string{run.Tmpfs, run.Disk} {
		if dir, err := o.place(backing); err == nil || !strings.Contains(err.Error(), "--"+backing+"-dir") {
			t.Errorf("%s: %s, %v", backing, dir, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	quiet := func(string, ...any) {}
	o := options{bin: "/nowhere", drives: []string{"raw", "ssefs", "null"}, also: []string{"old=/nowhere/old"}}
	chosen, err := o.candidates(t.Context(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range chosen {
		names = append(names, c.Name())
	}
	if want := []string{"ssefs", "old", "raw", "null"}; !slices.Equal(names, want) {
		t.Errorf("%v, not %v", names, want)
	}
	for _, wrong := range []options{{}, {bin: "/nowhere", drives: []string{"frob"}}, {bin: "/nowhere", also: []string{"old"}}} {
		if _, err := wrong.candidates(t.Context(), quiet); err == nil {
			t.Errorf("%+v was accepted", wrong)
		}
	}
}

func TestFileName(t *testing.T) {
	for want, s := range map[string]report.Setting{"disk": {Backing: "disk"}, "tmpfs-poll-off": {Backing: "tmpfs", HaltPoll: "off"}} {
		if got := fileName(s); got != want {
			t.Errorf("%v: %s, not %s", s, got, want)
		}
	}
}
