package posix

import (
	"path/filepath"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestFileHandles: what name_to_handle_at tells opens the file again, by whatever name it goes and also after the
// kernel has forgotten it, until the file is gone: then ESTALE.
func TestFileHandles(t *testing.T) {
	dir := place(t)
	p, sub := filepath.Join(dir, "file"), expect.Mkdir(t, filepath.Join(dir, "sub"))
	expect.Write(t, p, []byte("contents"))
	root := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	handle := func(path string) unix.FileHandle {
		t.Helper()
		h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
		expect.OK(t, err, "name_to_handle_at")
		return h
	}
	file, directory := handle(p), handle(sub)
	expect.OK(t, unix.Rename(p, filepath.Join(sub, "moved")), "rename")
	for range 2 {
		fd, err := unix.OpenByHandleAt(root.Fd, file, unix.O_RDONLY)
		expect.OK(t, err, "open_by_handle_at")
		b := make([]byte, 20)
		n, err := unix.Read(fd, b)
		expect.OK(t, err, "read")
		expect.Equal(t, string(b[:n]), "contents", "contents by handle")
		expect.OK(t, unix.Close(fd), "close")
		fd, err = unix.OpenByHandleAt(root.Fd, directory, unix.O_RDONLY|unix.O_DIRECTORY)
		expect.OK(t, err, "open_by_handle_at of a directory")
		var st unix.Stat_t
		expect.OK(t, unix.Fstatat(fd, "..", &st, 0), "stat dot-dot")
		expect.Equal(t, st.Ino, expect.Stat(t, dir).Ino, "inode of dot-dot of a directory opened by handle")
		expect.OK(t, unix.Close(fd), "close")
		dropCaches(t)
	}
	expect.OK(t, unix.Unlink(filepath.Join(sub, "moved")), "unlink")
	expect.OK(t, unix.Rmdir(sub), "rmdir")
	for range 2 {
		for _, h := range []unix.FileHandle{file, directory} {
			expect.Errno(t, openGone(root.Fd, h), unix.ESTALE, "open_by_handle_at of what is gone")
		}
		dropCaches(t)
	}
}

// openGone opens what is gone by its handle. The kernel closes files in the background, and until it has, what was
// removed can still be opened: so it tries for a while.
func openGone(mount int, h unix.FileHandle) error {
	for range 2000 {
		fd, err := unix.OpenByHandleAt(mount, h, unix.O_RDONLY)
		if err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// dropCaches makes the kernel forget names and inodes that are not in use.
func dropCaches(t *testing.T) {
	t.Helper()
	f := expect.Open(t, "/proc/sys/vm/drop_caches", unix.O_WRONLY, 0)
	f.Write([]byte("2\n"))
	f.Close()
}
