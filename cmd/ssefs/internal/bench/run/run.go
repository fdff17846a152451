// Package run carries a benchmark out: every workload on every drive, in turn, over several rounds.
//
// The drives take turns with each workload, so that what disturbs the machine for a while disturbs all of them, and each
// round begins with another one. Each turn has a new drive, so that none pays for what another workload left to clean up.
package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/workload"
)

// turnLimit ends a turn that hangs.
const turnLimit = 15 * time.Minute

// Candidate is a drive to measure.
type Candidate struct {
	drives.Drive
	Role    report.Role
	Version string
	// InMemory says that what lies below it makes no difference: it is measured on tmpfs alone.
	InMemory bool
}

// Place is where drives are made in one setting.
type Place struct {
	report.Setting
	Dir string // made and removed by the caller
	// Enter prepares the machine for the setting; nil if there is nothing to do.
	Enter func() error
}

// Plan says what to measure.
type Plan struct {
	Rounds     int
	Places     []Place
	Candidates []Candidate
	Workloads  []workload.Workload
	Scale      workload.Scale
	Prepared   *workload.Prepared
	// Tell is told what happens next.
	Tell func(format string, args ...any)
}

// Do measures. What failed on a drive is in the report; the error is for what ends the benchmark.
func Do(ctx context.Context, p Plan) (*report.Report, error) {
	r := newReport(p)
	turns := p.Rounds * len(p.Places) * len(p.Workloads) * len(p.Candidates)
	turn := 0
	for round := range p.Rounds {
		for _, place := range p.Places {
			if place.Enter != nil {
				if err := place.Enter(); err != nil {
					return r, err
				}
			}
			for _, w := range p.Workloads {
				for i := range p.Candidates {
					c := p.Candidates[(i+round)%len(p.Candidates)]
					turn++
					if ctx.Err() != nil {
						return r, ctx.Err()
					}
					if c.InMemory && place.Backing != Tmpfs {
						continue
					}
					p.Tell("[%d/%d] round %d, %s: %s on %s", turn, turns, round+1, place.Setting, w.Name, c.Name())
					err := p.turn(ctx, r, place, w, c)
					switch {
					case ctx.Err() != nil:
						return r, ctx.Err()
					case err != nil:
						p.Tell("%s on %s failed: %v", w.Name, c.Name(), err)
						r.Failures = append(r.Failures, report.Failure{
							Setting: place.Setting, Drive: c.Name(), Workload: w.Name, Round: round + 1, Error: err.Error(),
						})
					}
				}
			}
		}
	}
	return r, nil
}

// Names of backings.
const (
	Tmpfs = "tmpfs"
	Disk  = "disk"
)

func newReport(p Plan) *report.Report {
	r := &report.Report{
		Version: report.Version, Started: time.Now().UTC().Truncate(time.Second), Machine: Machine(),
		Results: []report.Result{}, Failures: []report.Failure{},
	}
	for _, place := range p.Places {
		r.Settings = append(r.Settings, place.Setting)
	}
	for _, c := range p.Candidates {
		r.Drives = append(r.Drives, report.Drive{Name: c.Name(), Role: c.Role, Version: c.Version})
	}
	for _, w := range p.Workloads {
		for _, row := range w.Rows {
			r.Rows = append(r.Rows, report.Row{
				Name: row.Name, Title: row.Title, Unit: string(row.Unit), Workload: w.Name, LowerIsBetter: row.Unit.LowerIsBetter(),
			})
		}
	}
	return r
}

// turn runs one workload on a new drive.
func (p Plan) turn(ctx context.Context, r *report.Report, place Place, w workload.Workload, c Candidate) (err error) {
	ctx, cancel := context.WithTimeout(ctx, turnLimit)
	defer cancel()
	dir, err := os.MkdirTemp(place.Dir, "turn-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := c.Start(ctx, dir)
	if err != nil {
		return err
	}
	// Before the directory is removed: never through a mount.
	defer func() {
		if closeErr := s.Close(); closeErr != nil {
			err = errors.Join(err, closeErr)
		}
	}()
	work := filepath.Join(s.Dir(), "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	m := &meter{session: s, add: func(row string, value float64, cost report.Cost) {
		r.Add(place.Setting, c.Name(), row, value, cost)
	}}
	e := &workload.Env{Dir: work, Cold: s.Cold, Prepared: p.Prepared, Scale: p.Scale, Observer: m}
	if err := w.Run(ctx, e); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return err
	}
	return m.err
}
