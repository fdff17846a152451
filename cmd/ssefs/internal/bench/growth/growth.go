// Package growth measures how the cost of a drive grows: with the number of files, in many directories and in one, with
// the size of a file, and with how often it is overwritten.
//
// Each series has one drive, which grows from size to size; at each size the same things are timed.
package growth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
)

// Version is the version of the JSON.
const Version = 1

// Options say how far to go.
type Options struct {
	Files  []int   // numbers of files
	Bytes  []int64 // sizes of a file, in whole MiB
	Sparse int64   // size of a file that is nearly all holes
	// Overwritten is the size of the file that is overwritten at random, in whole MiB, and Overwrites how many of its
	// blocks are.
	Overwritten int64
	Overwrites  int
	Probes      int           // how often each thing is done to time it
	Rest        time.Duration // given to the drive to tidy up after overwriting
}

// Report is what was found.
type Report struct {
	Version int            `json:"version"`
	Started time.Time      `json:"started"`
	Machine report.Machine `json:"machine"`
	report.Setting
	Series []Series `json:"series"`
}

// Series is what was found while one thing grew.
type Series struct {
	Name   string   `json:"name"`
	Points []string `json:"points"` // what was grown to
	Rows   []Row    `json:"rows"`
}

// Row is one thing that was timed.
type Row struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"` // at each point; 0 where it was not timed
}

// units in which less is better.
const (
	seconds  = "s"
	mebibyte = "MiB"
)

// Growth tells how many times as much the last point costs as the first; 0 if that cannot be told.
func (r Row) Growth() float64 {
	var known []float64
	for _, v := range r.Values {
		if v > 0 {
			known = append(known, v)
		}
	}
	if len(known) < 2 {
		return 0
	}
	first, last := known[0], known[len(known)-1]
	if r.Unit == seconds || r.Unit == mebibyte {
		return last / first
	}
	return first / last
}

// add adds a value of a row at the newest point.
func (s *Series) add(name, unit string, value float64) {
	i := slices.IndexFunc(s.Rows, func(r Row) bool { return r.Name == name })
	if i < 0 {
		i = len(s.Rows)
		s.Rows = append(s.Rows, Row{Name: name, Unit: unit})
	}
	r := &s.Rows[i]
	for len(r.Values) < len(s.Points)-1 { // points at which it was not timed
		r.Values = append(r.Values, 0)
	}
	r.Values = append(r.Values, value)
}

// rate times do, which does n things, as a rate.
func (s *Series) rate(name, unit string, n float64, do func() error) error {
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.add(name, unit, n/max(time.Since(begun), time.Nanosecond).Seconds())
	return nil
}

// took times do in seconds.
func (s *Series) took(name string, do func() error) error {
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.add(name, seconds, time.Since(begun).Seconds())
	return nil
}

// memory adds the most anonymous memory that the daemon has had so far.
func (s *Series) memory(m *drives.Mounted) error {
	u, err := m.Usage()
	if err == nil {
		s.add("daemon's memory, peak", mebibyte, float64(u.PeakAnon)/(1<<20))
	}
	return err
}

// Do measures the drive in new directories below dir.
func Do(ctx context.Context, d drives.Served, dir string, o Options, tell func(format string, args ...any)) (*Report, error) {
	r := &Report{Version: Version, Started: time.Now().UTC().Truncate(time.Second)}
	for _, part := range []struct {
		name string
		run  func(ctx context.Context, g *grown) error
	}{
		{"files in directories of 1,000", files(o, 1000)},
		{"files in one directory", files(o, 0)},
		{"one file", sizes(o)},
		{"overwrites of one file", overwrites(o)},
	} {
		g := &grown{Series: Series{Name: part.name}, tell: tell, probes: o.Probes}
		if err := g.run(ctx, d, dir, part.run); err != nil {
			return r, fmt.Errorf("%s: %w", part.name, err)
		}
		r.Series = append(r.Series, g.Series)
	}
	return r, nil
}

// grown is a drive that grows.
type grown struct {
	Series
	mount  *drives.Mounted
	tell   func(format string, args ...any)
	probes int
}

func (g *grown) run(ctx context.Context, d drives.Served, parent string, do func(context.Context, *grown) error) (err error) {
	dir, err := os.MkdirTemp(parent, "growth-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if g.mount, err = d.Open(ctx, dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.mount.Close()) }()
	return do(ctx, g)
}

// point begins a new point.
func (g *grown) point(label string) {
	g.tell("%s: %s", g.Name, label)
	g.Points = append(g.Points, label)
}

// mounts times a mount after the drive was closed, and after its daemon was killed.
func (g *grown) mounts(ctx context.Context) error {
	if err := g.mount.Unmount(ctx); err != nil {
		return err
	}
	if err := g.took("mount", func() error { return g.mount.Mount(ctx) }); err != nil {
		return err
	}
	// Something that was not stored yet, so that there is something to recover.
	if err := os.WriteFile(g.mount.Dir()+"/last", []byte(time.Now().String()), 0o644); err != nil {
		return err
	}
	if err := g.mount.Kill(); err != nil {
		return err
	}
	return g.took("mount after kill -9", func() error { return g.mount.Mount(ctx) })
}

// WriteJSON writes the report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// WriteTable writes the report as tables in Markdown.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	for i, s := range r.Series {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Growth of %s, on %s:\n\n", s.Name, r.Setting)
		table := [][]string{append(append([]string{"", "unit"}, s.Points...), "cost grows by")}
		for _, row := range s.Rows {
			line := []string{row.Name, row.Unit}
			for i := range s.Points {
				cell := "-"
				if i < len(row.Values) && row.Values[i] > 0 {
					cell = report.Number(row.Values[i])
				}
				line = append(line, cell)
			}
			growth := "-"
			if g := row.Growth(); g > 0 {
				growth = fmt.Sprintf("%.2f", g)
			}
			table = append(table, append(line, growth))
		}
		report.WriteMarkdown(&b, table)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
