package workload

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// tiny is a scale for tests.
func tiny() Scale {
	return Scale{
		Sequential: 2 << 20, RandomFile: 2 << 20, RandomOps: 100, SyncedOps: 10, Files: 250, TreeFiles: 40,
		Transactions: 80, Packages: 2, ReaderBytes: 64 << 10, Latencies: 30, Beside: 16 << 20,
	}
}

// recorder keeps what a workload yields.
type recorder struct {
	begun, ended int
	values       map[string]float64
	parts        []Part
}

func (r *recorder) Begin() { r.begun++ }

func (r *recorder) End(p Part) {
	r.ended++
	r.parts = append(r.parts, p)
	r.Value(p.Row, p.Value)
}

func (r *recorder) Value(row string, value float64) {
	if r.values == nil {
		r.values = map[string]float64{}
	}
	r.values[row] = value
}

// source makes a small source tree, so that tests do not depend on what lies in Go's.
func source(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	if err := makeUpTree(dir, 60); err != nil {
		t.Fatal(err)
	}
	return dir
}

// measure runs a workload on a plain directory; cold is called where the drive would be made cold.
func measure(t *testing.T, p *Prepared, w Workload, cold func(dir string) error) (*recorder, error) {
	t.Helper()
	r := &recorder{}
	dir := t.TempDir()
	e := &Env{Dir: dir, Cold: func(context.Context) error { return cold(dir) }, Prepared: p, Scale: tiny(), Observer: r}
	err := w.Run(t.Context(), e)
	return r, err
}

// TestWorkloads: on a directory that keeps what is written, every workload yields each of its rows, and nothing else.
func TestWorkloads(t *testing.T) {
	p := Prepare(t.TempDir(), source(t))
	names := map[string]string{}
	for _, w := range All() {
		for _, row := range w.Rows {
			if other, ok := names[row.Name]; ok {
				t.Errorf("%s and %s have a row %s", other, w.Name, row.Name)
			}
			names[row.Name] = w.Name
		}
		t.Run(w.Name, func(t *testing.T) {
			r, err := measure(t, p, w, func(string) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range w.Rows {
				v, ok := r.values[row.Name]
				if !ok || v <= 0 || math.IsInf(v, 0) || math.IsNaN(v) {
					t.Errorf("row %s: %v", row.Name, v)
				}
				delete(r.values, row.Name)
			}
			if len(r.values) > 0 || r.begun != r.ended {
				t.Errorf("%d parts were begun and %d ended; rows that were not announced: %v", r.begun, r.ended, r.values)
			}
			for _, p := range r.parts {
				if p.Ops <= 0 || p.Elapsed <= 0 {
					t.Errorf("part %+v", p)
				}
			}
		})
	}
}

// TestDamage: every workload notices what is not as it was written after the last moment at which the drive was made cold.
func TestDamage(t *testing.T) {
	damages := map[string]func(path string) error{
		"start":   func(path string) error { return flip(path, func(int) int { return 0 }) },
		"middle":  func(path string) error { return flip(path, func(size int) int { return size / 2 }) },
		"cut off": func(path string) error { return os.Truncate(path, 1) },
		"removed": os.Remove,
	}
	p := Prepare(t.TempDir(), source(t))
	for _, w := range All() {
		last := 0
		if _, err := measure(t, p, w, func(string) error { last++; return nil }); err != nil || last == 0 {
			t.Fatalf("%s: made cold %d times: %v", w.Name, last, err)
		}
		for name, damage := range damages {
			t.Run(w.Name+"/"+name, func(t *testing.T) {
				times := 0
				_, err := measure(t, p, w, func(dir string) error {
					if times++; times < last {
						return nil
					}
					return damage(largest(t, dir))
				})
				if err == nil {
					t.Error("the damage was not noticed")
				}
			})
		}
	}
}

// largest returns the largest file below dir.
func largest(t *testing.T, dir string) string {
	t.Helper()
	found, most := "", int64(-1)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > most {
			found, most = path, info.Size()
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no file in %s: %v", dir, err)
	}
	return found
}

// flipped is how many bytes are changed: there are places in a database whose contents do not matter.
const flipped = 1000

// flip changes bytes of a file.
func flip(path string, from func(size int) int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	at := from(len(data))
	for i := at; i < min(at+flipped, len(data)); i++ {
		data[i] ^= 1
	}
	return errors.Join(os.Chmod(path, 0o755), os.WriteFile(path, data, 0o755))
}

// TestInterrupted: a workload ends with the error of its context, and leaves no goroutine that writes.
func TestInterrupted(t *testing.T) {
	for _, w := range All() {
		t.Run(w.Name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			e := &Env{
				Dir: t.TempDir(), Cold: func(context.Context) error { return nil },
				Prepared: Prepare(t.TempDir(), source(t)), Scale: tiny(), Observer: &recorder{},
			}
			if err := w.Run(ctx, e); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	}
}
