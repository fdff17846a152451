package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// logSpace keeps the space ahead of the write position of one of Badger's two
// logs allocated: the write-ahead log of the current memtable (.mem) or the
// current value log file (.vlog). Both are sparse files of twice their nominal
// size that Badger writes through a mapping, where missing space is fatal.
//
// Badger does not tell where it writes. So bound counts what was handed to it,
// and is never below the true position. It may be above it: a batch is counted
// by upper bounds, and so is what garbage collection may have written.
//
// Badger replaces a write-ahead log before a batch, once it is full, and opens
// the next without insisting on creating it. So that one is made beforehand: an
// empty file that already has its blocks. If it is left behind, inspect removes
// it. A value log file is replaced after a batch; what the next one needs at
// once is a page for its header, and before that cutting off the full one gives
// back what was allocated ahead there.
//
// It is guarded by DB.commitMu.
type logSpace struct {
	dir     string
	format  string // of a name, given a number
	size    int64  // nominal size of a file
	ahead   int64  // how much to allocate at a time
	premake int64  // how much to allocate for the next file beforehand, or 0

	fid       uint32
	file      *os.File
	bound     int64 // no byte at or after this was written
	allocated int64 // all bytes before this are allocated
	// unsupported is set on file systems that cannot allocate ahead; then only
	// the check of the free space is left.
	unsupported bool
}

// logHeader is the size of the header of either log, and of the zeros Badger
// writes after the last entry, rounded up.
const logHeader = 64

// fileMode is what files are allocated with: they keep their size, since Badger
// cares about it.
const fileMode = unix.FALLOC_FL_KEEP_SIZE

func (s *logSpace) path(fid uint32) string {
	return filepath.Join(s.dir, fmt.Sprintf(s.format, fid))
}

// start begins with the given current file, into which at most written bytes
// have gone.
func (s *logSpace) start(fid uint32, written int64) error {
	f, err := os.OpenFile(s.path(fid), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if s.file != nil {
		if err := s.file.Close(); err != nil {
			return errors.Join(fmt.Errorf("store: %w", err), f.Close())
		}
	}
	s.file, s.fid = f, fid
	s.bound = logHeader + written
	// A file made beforehand has blocks already; allocating them again is cheap.
	s.allocated = 0
	return nil
}

// refresh notices that Badger went on to another file, into which at most
// written bytes have gone. It reports whether it did.
func (s *logSpace) refresh(written int64) (bool, error) {
	rotated := false
	for {
		info, err := os.Lstat(s.path(s.fid + 1))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			return rotated, nil
		}
		if err != nil {
			return rotated, fmt.Errorf("store: %w", err)
		}
		if err := s.start(s.fid+1, written); err != nil {
			return rotated, err
		}
		rotated = true
	}
}

// reserve makes sure that n bytes more can be written. Without space it is
// ErrFull. With plenty of space more is allocated, since each time is a journal
// transaction on some file systems. The bytes do not count as written yet.
func (s *logSpace) reserve(n int64, plenty bool) error {
	if err := s.makeNext(); err != nil {
		return err
	}
	end := min(s.bound+n+logHeader, 2*s.size)
	if end <= s.allocated {
		return nil
	}
	if plenty {
		end = max(end, min(s.allocated+s.ahead, s.size+s.size/2))
	}
	return s.allocate(end)
}

// allocate allocates the current file up to end.
func (s *logSpace) allocate(end int64) error {
	if err := s.fallocate(s.file, s.allocated, end-s.allocated); err != nil {
		return err
	}
	s.allocated = end
	return nil
}

func (s *logSpace) fallocate(f *os.File, offset, n int64) error {
	if s.unsupported {
		return nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), fileMode, offset, n)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case isFull(err):
			return fmt.Errorf("%w: allocating %d bytes: %w", ErrFull, n, err)
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			s.unsupported = true
			return nil
		default:
			return fmt.Errorf("store: allocating %d bytes: %w", n, err)
		}
	}
}

// makeNext makes the file that follows the current one, if files of this log are
// made beforehand and this was not done yet.
func (s *logSpace) makeNext() (err error) {
	if s.premake == 0 || s.unsupported {
		return nil
	}
	path := s.path(s.fid + 1)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, filePerm)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.fallocate(f, 0, s.premake); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// wrote counts n bytes as written.
func (s *logSpace) wrote(n int64) { s.bound += n }

// stop closes the current file and removes the one made beforehand, if Badger
// did not start to use it.
func (s *logSpace) stop() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if s.premake > 0 {
		path := s.path(s.fid + 1)
		if info, statErr := os.Lstat(path); statErr == nil && info.Size() == 0 {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}
