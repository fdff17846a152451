package drives

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// OnTmpfs tells whether a directory is on a file system that lies in memory.
func OnTmpfs(dir string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC, nil
}

// dropCaches writes back what lies below dir and makes the kernel forget it: as root, all that it has cached of any
// disk; else the contents of the files, but not their names and attributes. Nothing can be cold on tmpfs.
func dropCaches(dir string) error {
	inMemory, err := OnTmpfs(dir)
	if err != nil || inMemory {
		return err
	}
	if err := syncfs(dir); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
		if !errors.Is(err, unix.EROFS) && !errors.Is(err, os.ErrPermission) { // as in containers
			return err
		}
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return dropFile(path)
	})
}

func dropFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return errors.Join(err, f.Close())
}

func syncfs(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// spaceOf returns the bytes that all below dir takes on its file system. What is removed meanwhile does not count.
func spaceOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					total += st.Blocks * 512
				}
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
