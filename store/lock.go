package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockRetry and lockTries let a ReadOwner, which tries the lock for an
	// instant to see whether it is held, pass before a store is called in use.
	lockRetry = 20 * time.Millisecond
	lockTries = 4
	// closingPoll is how often a waiter looks whether a closing owner is gone.
	closingPoll = 50 * time.Millisecond
	// lockFileLimit bounds what is read of a lock file.
	lockFileLimit = 64 << 10
)

// OwnerInfo says which process owns a store and how to reach it. It is advice
// for people and for the command line; the lock itself is what counts.
type OwnerInfo struct {
	PID        int    `json:"pid"`
	Socket     string `json:"socket,omitempty"`
	Mountpoint string `json:"mountpoint,omitempty"`
	// Closing is set by an owner that is about to let go of the store, so that
	// whoever wants it next waits instead of giving up.
	Closing bool `json:"closing,omitempty"`
}

// InUseError reports the owner of a store that another process has locked. It
// wraps ErrInUse.
type InUseError struct {
	Path string
	OwnerInfo
}

// Error names the owner as far as it is known.
func (e *InUseError) Error() string {
	switch {
	case e.PID == 0:
		return fmt.Sprintf("store %s is in use by another process", e.Path)
	case e.Mountpoint == "":
		return fmt.Sprintf("store %s is in use by process %d", e.Path, e.PID)
	default:
		return fmt.Sprintf("store %s is in use by process %d, mounted at %s", e.Path, e.PID, e.Mountpoint)
	}
}

// Unwrap returns ErrInUse.
func (e *InUseError) Unwrap() error { return ErrInUse }

// ownerLock is a held lock: an open file with an exclusive flock on it.
type ownerLock struct{ f *os.File }

// lockDir takes the lock of the store directory at path, making the lock file
// if it is missing. It does not wait beyond lockTries: a held lock is an
// InUseError.
func lockDir(path string) (*ownerLock, error) {
	// os.OpenFile sets O_CLOEXEC: a child must not keep the store locked.
	f, err := os.OpenFile(filepath.Join(path, nameLock), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of store %s: %w", path, err)
	}
	for try := 1; ; try++ {
		err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("locking store %s: %w", path, err), f.Close())
		}
		if try == lockTries {
			info, _ := readOwnerInfo(f) // advice: if it is not to be had, nothing is known of the owner
			return nil, errors.Join(&InUseError{Path: path, OwnerInfo: info}, f.Close())
		}
		time.Sleep(lockRetry)
	}
	l := &ownerLock{f: f}
	// What a former owner left in the file must not be taken for this one.
	// A full disk must not keep anyone from making room on it, though.
	if err := l.write(OwnerInfo{PID: os.Getpid()}); err != nil && !isFull(err) {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// lockDirWait is lockDir, but waits for an owner that says it is closing.
func lockDirWait(ctx context.Context, path string) (*ownerLock, error) {
	for {
		l, err := lockDir(path)
		var inUse *InUseError
		if err == nil || !errors.As(err, &inUse) || !inUse.Closing {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(closingPoll):
		}
	}
}

// write replaces the contents of the lock file in place: a rename would leave
// the lock on a file nobody finds any more. Readers retry on a torn read.
func (l *ownerLock) write(info OwnerInfo) error {
	data, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("encoding the lock file: %w", err)
	}
	data = append(data, '\n')
	if _, err := l.f.WriteAt(data, 0); err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	if err := l.f.Truncate(int64(len(data))); err != nil {
		return fmt.Errorf("writing the lock file: %w", err)
	}
	return nil
}

// release lets go of the lock. The file stays.
func (l *ownerLock) release() error { return l.f.Close() }

// ReadOwner tells which process owns the store at path: ErrNoOwner if none
// does, ErrMissing if there is no store or lock file. It does not wait.
func ReadOwner(path string) (info OwnerInfo, err error) {
	f, err := os.OpenFile(filepath.Join(path, nameLock), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return OwnerInfo{}, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return OwnerInfo{}, fmt.Errorf("reading the lock of store %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	switch err := flock(f, unix.LOCK_SH|unix.LOCK_NB); {
	case err == nil:
		return OwnerInfo{}, fmt.Errorf("%s: %w", path, ErrNoOwner)
	case !errors.Is(err, unix.EWOULDBLOCK):
		return OwnerInfo{}, fmt.Errorf("reading the lock of store %s: %w", path, err)
	}
	if info, err = readOwnerInfo(f); err != nil {
		return OwnerInfo{}, fmt.Errorf("reading the lock of store %s: %w", path, err)
	}
	return info, nil
}

// readOwnerInfo reads a lock file, again if its owner is just writing it.
func readOwnerInfo(f io.ReaderAt) (OwnerInfo, error) {
	for try := 1; ; try++ {
		var info OwnerInfo
		data, err := io.ReadAll(io.NewSectionReader(f, 0, lockFileLimit))
		if err == nil {
			err = json.Unmarshal(data, &info)
		}
		if err == nil {
			return info, nil
		}
		if try == lockTries {
			return OwnerInfo{}, err
		}
		time.Sleep(lockRetry)
	}
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
