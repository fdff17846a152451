package volume

import (
	"errors"
	"fmt"

	"ssefs/fs/record"
)

// Errors of the engine. The package fs turns them into error numbers.
var (
	ErrNotExist     = errors.New("no such file or directory")
	ErrExist        = errors.New("file exists")
	ErrNotDir       = errors.New("not a directory")
	ErrIsDir        = errors.New("is a directory")
	ErrNotEmpty     = errors.New("directory not empty")
	ErrInvalid      = errors.New("invalid argument")
	ErrPermission   = errors.New("operation not permitted")
	ErrNotOwner     = errors.New("only the bucket's owner and root may change its policy")
	ErrRootFile     = errors.New("the root of the drive holds buckets only")
	ErrCrossBucket  = errors.New("file belongs to another bucket")
	ErrReadOnly     = errors.New("drive is mounted read-only")
	ErrTooBig       = errors.New("file too large")
	ErrTooManyLinks = errors.New("too many links")
	ErrNoSpace      = errors.New("no space left on the store's disk")
	ErrNoXattr      = errors.New("no such extended attribute")
	ErrXattrTooBig  = errors.New("extended attribute too big")
	ErrXattrSpace   = errors.New("extended attributes of the file are full")
	ErrNoSeek       = errors.New("no data or hole past this offset")
	ErrStale        = errors.New("inode is gone")
	ErrUnlinked     = errors.New("file has no name")
	ErrClosed       = errors.New("drive is closing")
	ErrDamaged      = errors.New("stored data is damaged, missing or not what was written")
)

// DamageError tells which record of which inode failed. It is an ErrDamaged.
type DamageError struct {
	Kind  record.Kind
	Inode uint64
	Cause error
}

// Error describes the damage.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s record of inode %d: %v", e.Kind, e.Inode, e.Cause)
}

// Is makes every DamageError an ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Cause }

func damaged(kind record.Kind, ino uint64, cause error) error {
	return &DamageError{Kind: kind, Inode: ino, Cause: cause}
}

// FailedError is what every change returns after the store failed to make one
// durable.
type FailedError struct{ Cause error }

// Error describes the failure.
func (e *FailedError) Error() string {
	return fmt.Sprintf("the store failed earlier, the drive is read-only: %v", e.Cause)
}

// Unwrap returns the cause.
func (e *FailedError) Unwrap() error { return e.Cause }
