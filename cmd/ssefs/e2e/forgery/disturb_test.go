package forgery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// disturb makes n random changes. Some are refused, such as replacing a directory by a file.
func disturb(t testing.TB, r *rand.Rand, d *drive.Drive, n int) {
	t.Helper()
	for range n {
		var dirs, files []string
		err := filepath.WalkDir(d.Mountpoint(), func(p string, e os.DirEntry, err error) error {
			if err != nil || p == d.Mountpoint() {
				return err
			}
			if e.IsDir() {
				dirs = append(dirs, p)
			} else {
				files = append(files, p)
			}
			return nil
		})
		expect.OK(t, err, "walk the drive")
		dir := dirs[r.IntN(len(dirs))]
		path := filepath.Join(dir, fmt.Sprintf("n%d", r.IntN(8)))
		file := path
		if len(files) > 0 {
			file = files[r.IntN(len(files))]
		}
		if err := disturbOne(r, dir, path, file); err != nil && !refusal(err) {
			t.Fatalf("change %s or %s: %v", path, file, err)
		}
	}
}

// refusal tells whether an error is one of those that random changes meet.
func refusal(err error) bool {
	for _, errno := range []unix.Errno{unix.EEXIST, unix.ENOENT, unix.EISDIR, unix.ENOTDIR, unix.ENOTEMPTY, unix.EXDEV, unix.EINVAL,
		unix.ELOOP, unix.ENXIO, unix.ENODATA, unix.EPERM, unix.EBUSY} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// disturbOne makes one change: of a new path in a directory, or of a file that there is.
func disturbOne(r *rand.Rand, dir, path, file string) error {
	switch r.IntN(14) {
	case 0, 1:
		return patch(r, path, unix.O_CREAT, r.IntN(20_000), 0)
	case 2, 3, 4:
		return patch(r, file, 0, 1+r.IntN(12_000), int64(r.IntN(50_000)))
	case 5: // holes, and a map of its own
		for range 16 {
			if err := patch(r, file, 0, 100, int64(r.IntN(3<<20))); err != nil {
				return err
			}
		}
		return nil
	case 6:
		return unix.Truncate(file, int64(r.IntN(60_000)))
	case 7:
		return unix.Mkdir(path, 0o755)
	case 8:
		return unix.Rename(file, path)
	case 9:
		return unix.Unlink(file)
	case 10:
		return unix.Link(file, path)
	case 11:
		return unix.Symlink(fmt.Sprintf("to/%d", r.IntN(1000)), path)
	case 12:
		if r.IntN(3) == 0 {
			return unix.Lremovexattr(file, "trusted.x")
		}
		return unix.Lsetxattr(file, "trusted.x", expect.Random(r.Uint64(), r.IntN(500)), 0)
	default:
		if r.IntN(4) == 0 {
			return unix.Rmdir(dir)
		}
		return unix.Chmod(dir, uint32(0o700+r.IntN(0o77)))
	}
}

// patch writes random bytes into a file.
func patch(r *rand.Rand, path string, flags, n int, off int64) error {
	fd, err := unix.Open(path, flags|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Pwrite(fd, expect.Random(r.Uint64(), n), off)
	if r.IntN(4) == 0 {
		err = errors.Join(err, unix.Fsync(fd))
	}
	return errors.Join(err, unix.Close(fd))
}
