package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/drive"
)

// real is the file system under test.
type real struct {
	t      testing.TB
	d      *drive.Drive
	native bool
	serial int
	// What was done, to be told at the end: losses are the kills after which lost operations were gone.
	remounts, kills, losses, lost int
}

func newReal(t *testing.T) *real {
	unix.Umask(Umask)
	// Little memory makes the daemon store what is dirty early.
	var o drive.Options
	if rand.IntN(2) == 0 {
		o.Mount = []string{"--memory", "8M"}
	}
	return &real{t: t, d: drive.New(t, o), native: os.Getenv("SSEFS_E2E_NATIVE") != ""}
}

// bucket makes a fresh directory for one check, a bucket of the given policy on a drive.
func (r *real) bucket(policy string) (string, error) {
	if !r.native {
		// The check before may have failed with the drive dead; statfs always asks the daemon.
		var st unix.Statfs_t
		if err := unix.Statfs(r.d.Path(), &st); err != nil {
			r.d.Kill()
			r.d.Mount()
		}
	}
	r.serial++
	dir := r.d.Path(fmt.Sprintf("check-%d", r.serial))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if r.native {
		return dir, nil
	}
	if err := unix.Setxattr(dir, "user.sse.policy", []byte(policy), 0); err != nil {
		return "", fmt.Errorf("set policy %s: %w", policy, err)
	}
	return dir, r.barrier()
}

// barrier makes everything durable.
func (r *real) barrier() error {
	if r.native {
		return nil
	}
	if res := drive.CLI(r.t, "sync", r.d.Mountpoint()); res.Code != 0 {
		return fmt.Errorf("ssefs sync: exit %d: %s", res.Code, res.Stderr)
	}
	return nil
}

func (r *real) remount() {
	r.d.Remount()
	r.remounts++
}

// killAfter kills the daemon from another goroutine; the channel tells when that has been done.
func (r *real) killAfter(delay time.Duration) <-chan error {
	pid := r.d.Pid()
	done := make(chan error, 1)
	go func() {
		time.Sleep(delay)
		done <- unix.Kill(pid, unix.SIGKILL)
	}()
	return done
}

// mountAgain takes away what a kill left and mounts.
func (r *real) mountAgain() {
	r.d.Kill()
	r.d.Mount()
	r.kills++
}

// errnoOf reduces an error of a system call to its number.
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return syscall.Errno(0x7fff)
}

// died reports whether an error is what a call gets when the daemon is killed; ECANCELED is one over io_uring.
func died(errno syscall.Errno) bool {
	switch errno {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.EIO, unix.ENODEV, unix.ECANCELED:
		return true
	}
	return false
}

// scan reads a tree back: names, attributes and xattrs, checking on the way that directories list what they hold.
func scan(root string) (*Scan, error) {
	s := NewScan()
	if err := scanDir(s, root, "", Root); err != nil {
		return nil, err
	}
	return s, nil
}

func scanDir(s *Scan, root, rel string, id ID) error {
	entries, err := os.ReadDir(path.Join(root, rel))
	if err != nil {
		return err
	}
	var parent unix.Stat_t
	if err := unix.Lstat(path.Join(root, rel), &parent); err != nil {
		return err
	}
	if rel == "" {
		s.FS.edit(Root).Nlink = uint32(parent.Nlink)
	}
	for _, e := range entries {
		name := path.Join(rel, e.Name())
		full := path.Join(root, name)
		var st unix.Stat_t
		if err := unix.Lstat(full, &st); err != nil {
			return fmt.Errorf("%q is listed, but lstat says: %w", name, err)
		}
		if got, want := e.Type(), dirType(st.Mode); got != want {
			return fmt.Errorf("%q is listed as %v, but is %v", name, got, want)
		}
		target := ""
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			if target, err = os.Readlink(full); err != nil {
				return err
			}
			if st.Size != int64(len(target)) {
				return fmt.Errorf("symlink %q has size %d and a target of %d bytes", name, st.Size, len(target))
			}
		}
		xattrs, err := readXattrs(full)
		if err != nil {
			return err
		}
		child := s.Enter(id, e.Name(), &st, target, xattrs)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if err := scanDir(s, root, name, child); err != nil {
				return err
			}
		}
	}
	return nil
}

// dirType is what a directory listing should say of a mode.
func dirType(mode uint32) os.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return os.ModeDir
	case unix.S_IFLNK:
		return os.ModeSymlink
	case unix.S_IFIFO:
		return os.ModeNamedPipe
	case unix.S_IFSOCK:
		return os.ModeSocket
	case unix.S_IFBLK:
		return os.ModeDevice
	case unix.S_IFCHR:
		return os.ModeDevice | os.ModeCharDevice
	}
	return 0
}

// readXattrs reads all listed xattrs.
func readXattrs(full string) (map[string]string, error) {
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(full, buf)
	if err != nil {
		return nil, fmt.Errorf("listxattr %q: %w", full, err)
	}
	xattrs := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 65536)
		n, err := unix.Lgetxattr(full, name, value)
		if err != nil {
			return nil, fmt.Errorf("xattr %q of %q is listed, but: %w", name, full, err)
		}
		xattrs[name] = string(value[:n])
	}
	return xattrs, nil
}

// denseLimit is the size up to which a file is read from end to end; of a larger one only what SEEK_DATA finds.
const denseLimit = 16 << 20

// readData reads a file's contents through a descriptor.
func readData(fd int, size int64) (*Data, error) {
	d := (&Data{}).Truncate(size)
	if size <= denseLimit {
		return d, readInto(&d, fd, 0, size)
	}
	for pos := int64(0); pos < size; {
		start, err := unix.Seek(fd, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("SEEK_DATA from %d: %w", pos, err)
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("SEEK_HOLE from %d: %w", start, err)
		}
		if end-start > denseLimit {
			// Allocated without data: the pages that the model knows are what there is to compare.
			end = start + denseLimit
		}
		if err := readInto(&d, fd, start, end); err != nil {
			return nil, err
		}
		pos = end
	}
	return d, nil
}

// readInto reads a range in pieces that begin and end anywhere.
func readInto(d **Data, fd int, from, to int64) error {
	buf := make([]byte, 128<<10+123)
	for pos := from; pos < to; {
		n, err := unix.Pread(fd, buf[:min(int64(len(buf)), to-pos)], pos)
		if err != nil {
			return fmt.Errorf("read at %d: %w", pos, err)
		}
		if n == 0 {
			return fmt.Errorf("end of file at %d, before the size %d", pos, to)
		}
		*d = (*d).Write(pos, buf[:n])
		pos += int64(n)
	}
	return nil
}

// readPath reads a regular file.
func readPath(full string) (d *Data, err error) {
	fd, err := unix.Open(full, unix.O_RDONLY|unix.O_NOATIME|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	return readData(fd, st.Size)
}
