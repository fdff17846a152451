package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
	"ssefs/cmd/ssefs/internal/bench/workload"
)

// options are those of the command line.
type options struct {
	bin         string
	rounds      int
	quick, all  bool
	workloads   []string
	drives      []string
	also        []string
	backing     string
	tmpfs, disk string
	haltPoll    string
	sources     string
	out         string
}

// compare measures and shows what came out.
func compare(ctx context.Context, o options) (err error) {
	plan := run.Plan{
		Rounds: o.rounds, Scale: workload.Full(),
		Tell: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	if o.quick {
		plan.Rounds, plan.Scale = 1, workload.Quick()
	}
	if plan.Workloads, err = run.Select(workload.All(), o.workloads, plan.Tell); err != nil {
		return err
	}
	if plan.Candidates, err = o.candidates(ctx, plan.Tell); err != nil {
		return err
	}
	places, leave, err := o.places()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	plan.Places = places
	prepared, err := os.MkdirTemp("", "ssefs-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(prepared)) }()
	plan.Prepared = workload.Prepare(prepared, o.sources)
	r, err := run.Do(ctx, plan)
	if err != nil {
		return err
	}
	if err := errors.Join(r.WriteTable(os.Stdout), r.WriteCosts(os.Stdout)); err != nil {
		return err
	}
	if err := o.save(r); err != nil {
		return err
	}
	if n := len(r.Failures); n > 0 {
		return fmt.Errorf("%d of the measurements failed, see above", n)
	}
	return nil
}

// candidates chooses the drives.
func (o options) candidates(ctx context.Context, tell func(string, ...any)) ([]run.Candidate, error) {
	if o.bin == "" {
		return nil, errors.New("--bin is missing: run this by scripts/bench")
	}
	all := known(ctx, programs{
		ssefs: filepath.Join(o.bin, "ssefs"), nulldrive: filepath.Join(o.bin, "nulldrive"), loopback: filepath.Join(o.bin, "loopback"),
	})
	for i, also := range o.also {
		name, path, ok := strings.Cut(also, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--also %q: give NAME=PATH", also)
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		all = slices.Insert(all, 1+i, run.Candidate{Drive: drives.SSEFS(name, path, "AES256"), Role: report.Subject})
	}
	var optional []string // left out unless they are asked for
	if !o.all {
		optional = []string{"ssefs-kms", "ssefs-none", "encfs", "cryfs"}
	}
	if !uringEnabled() {
		optional = append(optional, "ssefs-uring")
	}
	var chosen []run.Candidate
	for i, c := range all {
		also := i >= 1 && i <= len(o.also) // where they were put
		switch {
		case o.drives != nil && !slices.Contains(o.drives, c.Name()) && !also,
			o.drives == nil && slices.Contains(optional, c.Name()):
			continue
		case c.Role == report.Peer && !installed(c.Name()):
			tell("%s is not installed and left out", c.Name())
			continue
		}
		chosen = append(chosen, c)
	}
	for _, name := range o.drives {
		if !slices.ContainsFunc(all, func(c run.Candidate) bool { return c.Name() == name }) {
			return nil, fmt.Errorf("there is no drive %q", name)
		}
	}
	return chosen, nil
}

func installed(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// save writes the report to the directory that was asked for.
func (o options) save(r *report.Report) error {
	if o.out == "" {
		return nil
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	text := func(w io.Writer) error { return errors.Join(r.WriteTable(w), r.WriteCosts(w)) }
	for name, write := range map[string]func(w io.Writer) error{"bench.json": r.WriteJSON, "bench.md": text} {
		if err := writeTo(filepath.Join(o.out, name), write); err != nil {
			return err
		}
	}
	for _, setting := range r.Settings {
		chart := func(w io.Writer) error { return r.WriteChart(w, setting) }
		if err := writeTo(filepath.Join(o.out, "bench-"+fileName(setting)+".svg"), chart); err != nil {
			return err
		}
	}
	return nil
}

// fileName names a setting in names of files.
func fileName(s report.Setting) string {
	if s.HaltPoll == "" {
		return s.Backing
	}
	return s.Backing + "-poll-" + s.HaltPoll
}

func writeTo(path string, write func(w io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
