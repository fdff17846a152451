// Package drives makes, mounts, measures and takes away what the workloads run on: a plain directory, and file systems
// that a process serves.
//
// Each session has a directory of its own, which holds all that it makes. The process that serves a drive never is the
// one that uses it.
package drives

import (
	"context"
	"time"
)

// Drive is a kind of file system to measure.
type Drive interface {
	Name() string
	// Start makes a new, empty drive with all that belongs to it in dir, and mounts it. When ctx ends before the session
	// is closed, calls on the drive soon fail.
	Start(ctx context.Context, dir string) (Session, error)
}

// Session is a drive in use.
type Session interface {
	// Dir is a directory on the drive to work in.
	Dir() string
	// Cold unmounts the drive and mounts it again, with nothing of it in memory.
	Cold(ctx context.Context) error
	// Usage tells what serving the drive has cost since the start.
	Usage() (Usage, error)
	// Close unmounts the drive and ends its process. What it wrote stays in its directory.
	Close() error
}

// Usage is what the processes that served a drive have used. What is not known is zero.
type Usage struct {
	CPU      time.Duration // user and system time
	Written  int64         // bytes that they caused to be written to a disk
	Reads    int64         // their calls of read(2) and its like: with a drive that maps its files, requests taken
	Space    int64         // bytes that the drive takes on what lies below it
	PeakAnon int64         // the most anonymous memory, in bytes, as sampled
}

// Sub returns the usage since an earlier one. The peak stays as it is.
func (u Usage) Sub(earlier Usage) Usage {
	u.CPU -= earlier.CPU
	u.Written -= earlier.Written
	u.Reads -= earlier.Reads
	u.Space -= earlier.Space
	return u
}
