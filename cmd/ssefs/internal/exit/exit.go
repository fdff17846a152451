// Package exit is the one table of the exit codes of ssefs and of what each means.
//
// The codes are part of the interface that scripts rely on: a code keeps its meaning for good, and a
// new meaning gets a new number. fsck answers with the codes of fsck(8) instead.
package exit

import (
	"errors"
	"fmt"
	"io"

	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/fs/backup"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// Code is a process exit code.
type Code int

// The exit codes of every command but fsck.
const (
	OK          Code = 0
	Failure     Code = 1
	Usage       Code = 2
	WrongSecret Code = 3
	InUse       Code = 4
	NoStore     Code = 5
	Unsupported Code = 6
	Damaged     Code = 7
	MountPoint  Code = 8
	Busy        Code = 9
)

// The exit codes of fsck, as in fsck(8).
const (
	FsckClean       Code = 0
	FsckRepaired    Code = 1
	FsckErrors      Code = 4
	FsckOperational Code = 8
	FsckUsage       Code = 16
	FsckCancelled   Code = 32
)

// row is one line of the table.
type row struct {
	Code    Code
	Meaning string
}

// table returns the codes of every command but fsck, in ascending order.
func table() []row {
	return []row{
		{OK, "success"},
		{Failure, "any other error"},
		{Usage, "the command line or a mount option is wrong"},
		{WrongSecret, "wrong passphrase or key file, or no usable one was given"},
		{InUse, "the store is in use by another process, which the message names"},
		{NoStore, "no store there: missing, not a store, or not empty where one should be made"},
		{Unsupported, "the store has a format version or a feature that this ssefs does not know"},
		{Damaged, "the store, or a backup of one, is damaged"},
		{MountPoint, "the mount point is missing, not a directory, not empty or already a mount"},
		{Busy, "the drive is busy and stays mounted"},
	}
}

// fsckTable returns the codes of fsck, in ascending order.
func fsckTable() []row {
	return []row{
		{FsckClean, "the volume is clean; with --salvage, all of it was copied"},
		{FsckRepaired, "errors were found, and all were repaired"},
		{FsckErrors, "errors were found and are still there; with --salvage, something is missing in the copy"},
		{FsckOperational, "the check could not be carried out"},
		{FsckUsage, "the command line is wrong"},
		{FsckCancelled, "the check was interrupted"},
	}
}

// WriteTables writes both tables as text.
func WriteTables(w io.Writer) error {
	write := func(title string, rows []row) error {
		if _, err := fmt.Fprintf(w, "%s\n\n", title); err != nil {
			return err
		}
		for _, r := range rows {
			if _, err := fmt.Fprintf(w, "  %2d  %s\n", r.Code, r.Meaning); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write("Every command but fsck exits with one of:", table()); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return write("ssefs fsck exits with one of:", fsckTable())
}

// Error gives an error its exit code.
type Error struct {
	Code Code
	Err  error
}

// Error returns the message of the wrapped error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// With gives err the exit code; a nil err stays nil.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// Errorf makes an error with an exit code; the format takes %w.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// Of returns the exit code of err: the one it carries, else the one of the sentinel it wraps, else Failure.
func Of(err error) Code {
	if err == nil {
		return OK
	}
	var coded *Error
	if errors.As(err, &coded) {
		return coded.Code
	}
	var inUse *store.InUseError
	if errors.As(err, &inUse) {
		return InUse
	}
	for _, s := range sentinels() {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return Failure
}

type sentinel struct {
	err  error
	code Code
}

func sentinels() []sentinel {
	return []sentinel{
		{crypto.ErrWrongSecret, WrongSecret},
		{crypto.ErrBadSecret, WrongSecret},
		{store.ErrMissing, NoStore},
		{store.ErrNotStore, NoStore},
		{store.ErrNotEmpty, NoStore},
		{crypto.ErrVersion, Unsupported},
		{crypto.ErrFeature, Unsupported},
		{crypto.ErrHeaderDamaged, Damaged},
		{store.ErrDamaged, Damaged},
		{store.ErrIO, Damaged},
		{volume.ErrDamaged, Damaged},
		{volume.ErrRollback, Damaged},
		{kms.ErrKeystoreDamaged, Damaged},
		{kms.ErrRollback, Damaged},
		{crypto.ErrFormat, Damaged},
		{crypto.ErrAuth, Damaged},
		{kms.ErrAudit, Damaged},
		{backup.ErrBase, Usage},
		{archive.ErrVersion, Unsupported},
		{archive.ErrFormat, Damaged},
		{archive.ErrTruncated, Damaged},
		{archive.ErrDamaged, Damaged},
		{crypto.ErrPolicy, Usage},
		{kms.ErrArgument, Usage},
	}
}
