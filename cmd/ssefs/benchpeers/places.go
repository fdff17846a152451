package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
)

// places makes the directories that drives are made in. leave takes them away and sets the machine back.
func (o options) places() (places []run.Place, leave func() error, err error) {
	backings, err := o.backings()
	if err != nil {
		return nil, nil, err
	}
	polls, restore, err := o.haltPolls()
	if err != nil {
		return nil, nil, err
	}
	var made []string
	leave = func() error {
		errs := []error{restore()}
		for _, dir := range made {
			errs = append(errs, os.RemoveAll(dir))
		}
		return errors.Join(errs...)
	}
	for _, b := range backings {
		dir, err := o.place(b)
		if err != nil {
			return nil, nil, errors.Join(err, leave())
		}
		made = append(made, dir)
		for _, p := range polls {
			places = append(places, run.Place{
				Setting: report.Setting{Backing: b, HaltPoll: p.name}, Dir: dir, Enter: p.enter,
			})
		}
	}
	return places, leave, nil
}

func (o options) backings() ([]string, error) {
	switch o.backing {
	case "":
		if o.quick {
			return []string{run.Tmpfs}, nil
		}
		return []string{run.Tmpfs, run.Disk}, nil
	case "both":
		return []string{run.Tmpfs, run.Disk}, nil
	case run.Tmpfs, run.Disk:
		return []string{o.backing}, nil
	}
	return nil, fmt.Errorf("--backing is tmpfs, disk or both, not %q", o.backing)
}

// place makes a directory on a backing and checks that it is one.
func (o options) place(backing string) (string, error) {
	parent := o.tmpfs
	if backing == run.Disk {
		parent = o.disk
	}
	parent, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return "", err
	}
	inMemory, err := drives.OnTmpfs(parent)
	if err != nil {
		return "", err
	}
	if inMemory != (backing == run.Tmpfs) {
		return "", fmt.Errorf("%s is not on %s: name another directory with --%s-dir", parent, backing, backing)
	}
	return os.MkdirTemp(parent, "ssefs-bench-")
}

// haltPollFile says how long an idle processor of a virtual machine polls for work before it is put to sleep, in
// nanoseconds. A round trip of FUSE wakes two processors; waking one that sleeps takes several times as long as the rest.
const haltPollFile = "/sys/module/haltpoll/parameters/guest_halt_poll_ns"

// haltPollOn is the kernel's default where the driver is used, in nanoseconds.
const haltPollOn = "200000"

// keep changes nothing.
func keep() error { return nil }

type haltPoll struct {
	name  string
	enter func() error
}

// haltPolls returns the settings of halt polling to measure with, and what sets it back.
func (o options) haltPolls() ([]haltPoll, func() error, error) {
	text, err := os.ReadFile(haltPollFile)
	if errors.Is(err, os.ErrNotExist) {
		if o.haltPoll != "keep" {
			return nil, nil, fmt.Errorf("--halt-poll %s: this machine has no %s", o.haltPoll, haltPollFile)
		}
		return []haltPoll{{enter: keep}}, keep, nil
	}
	if err != nil {
		return nil, nil, err
	}
	before := strings.TrimSpace(string(text))
	set := func(value string) func() error {
		return func() error { return os.WriteFile(haltPollFile, []byte(value), 0) }
	}
	on, off := haltPoll{"on", set(haltPollOn)}, haltPoll{"off", set("0")}
	switch o.haltPoll {
	case "keep":
		name := "on"
		if before == "0" {
			name = "off"
		}
		return []haltPoll{{name: name, enter: keep}}, keep, nil
	case "on":
		return []haltPoll{on}, set(before), nil
	case "off":
		return []haltPoll{off}, set(before), nil
	case "both":
		return []haltPoll{on, off}, set(before), nil
	}
	return nil, nil, fmt.Errorf("--halt-poll is on, off, both or keep, not %q", o.haltPoll)
}
