// Package workload holds the workloads of the benchmark: what is done to a drive and timed.
//
// A workload works in a directory of its own and knows nothing of what lies behind it, except that it can be made cold:
// everything that was read or written is then no longer in memory. Each workload checks what it reads back, beside the
// timed part where checking would cost time that matters, and fails on the first difference: a number for a drive that
// returns wrong data is worth nothing.
package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Unit is what a row is measured in.
type Unit string

// The units.
const (
	MegabytesPerSecond Unit = "MB/s"
	PerSecond          Unit = "1/s"
	Seconds            Unit = "s"
	Microseconds       Unit = "us"
)

// LowerIsBetter tells times from rates.
func (u Unit) LowerIsBetter() bool { return u == Seconds || u == Microseconds }

// Row is one number that a workload yields.
type Row struct {
	Name  string
	Title string
	Unit  Unit
}

// Workload is something to do to a drive.
type Workload struct {
	Name string
	Rows []Row
	// Tools are the programs that it runs. Without one of them it cannot be measured.
	Tools []string
	run   func(ctx context.Context, e *Env) error
}

// Run does the workload. It returns the error of ctx soon after that ends.
func (w Workload) Run(ctx context.Context, e *Env) error {
	if err := w.run(ctx, e); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	return nil
}

// All returns the workloads in the order in which they are shown.
func All() []Workload {
	return []Workload{
		sequential(4 << 10), sequential(128 << 10), sequential(1 << 20),
		random(1), random(4),
		smallFiles(), sources(),
		sqlite("wal", "WAL"), sqlite("journal", "DELETE"),
		goBuild(),
		parallelReaders(), twoWriters(),
		latencies(),
	}
}

// Env is what a workload gets.
type Env struct {
	// Dir is an empty directory on the drive.
	Dir string
	// Cold makes the drive forget what it has in memory. No file of it may be open. Dir is there again afterwards.
	Cold func(ctx context.Context) error
	// Prepared is what was prepared once, off the drive.
	Prepared *Prepared
	Scale    Scale
	Observer
}

// Observer hears of the timed parts.
type Observer interface {
	// Begin is called before a timed part.
	Begin()
	// End is called after it, when what it wrote is durable.
	End(Part)
	// Value takes a number that was not measured as the time of one part.
	Value(row string, value float64)
}

// Part is what happened in a timed part.
type Part struct {
	Row     string
	Value   float64 // in the row's unit
	Ops     int64
	Read    int64 // bytes that the workload read
	Written int64 // bytes that the workload wrote
	Elapsed time.Duration
}

// amount says what a timed part does.
type amount struct {
	ops           int64
	read, written int64
}

// timed measures do as the rate or the time of a row. What do wrote without making it durable is made durable afterwards, so that
// the cost of that is not taken for the cost of the next part.
func (e *Env) timed(row Row, a amount, do func() error) error {
	e.Begin()
	begun := time.Now()
	err := do()
	elapsed := time.Since(begun)
	if err != nil {
		return fmt.Errorf("%s: %w", row.Name, err)
	}
	seconds := max(elapsed, time.Nanosecond).Seconds()
	value := float64(a.ops) / seconds
	switch row.Unit {
	case MegabytesPerSecond:
		value = float64(a.read+a.written) / 1e6 / seconds
	case Seconds:
		value = seconds
	}
	if a.written > 0 {
		if err := settle(e.Dir); err != nil {
			return err
		}
	}
	e.End(Part{Row: row.Name, Value: value, Ops: a.ops, Read: a.read, Written: a.written, Elapsed: elapsed})
	return nil
}

// settle makes what was written to the drive of dir durable. Syncing a directory has a drive commit; writing back
// alone need not.
func settle(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	err = unix.Syncfs(fd)
	if syncErr := unix.Fsync(fd); err == nil && !refused(syncErr) {
		err = syncErr
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// refused tells whether a file system does not know how to sync a directory.
func refused(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) }
