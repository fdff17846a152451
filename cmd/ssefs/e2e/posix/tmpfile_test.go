package posix

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestTmpfile(t *testing.T) {
	d, dir := bucket(t)
	sub := expect.Mkdir(t, filepath.Join(dir, "sub"))
	f := expect.Open(t, sub, unix.O_TMPFILE|unix.O_RDWR, 0o640)
	st := f.Stat()
	expect.Equal(t, st.Mode, unix.S_IFREG|0o640, "mode")
	expect.Equal(t, st.Nlink, 0, "nlink")
	data := expect.Random(1, 100_000)
	f.Pwrite(data, 0)
	f.Sync()
	expect.Equal(t, len(expect.Names(t, sub)), 0, "entries of the directory")
	expect.Equal(t, expect.Stat(t, sub).Nlink, 2, "nlink of the directory")

	// It can be given a name, once it is complete.
	named := filepath.Join(dir, "named")
	link := func(f *expect.File, to string) error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
	}
	expect.OK(t, link(f, named), "give it a name")
	expect.Equal(t, f.Stat().Nlink, 1, "nlink with a name")
	expect.Contents(t, named, data)
	expect.Errno(t, link(f, named), unix.EEXIST, "give it a name that is taken")
	f.Close()
	// With O_EXCL it cannot.
	f = expect.Open(t, sub, unix.O_TMPFILE|unix.O_RDWR|unix.O_EXCL, 0o640)
	expect.Errno(t, link(f, named+"2"), unix.ENOENT, "give a name to a file made with O_EXCL")
	f.Close()
	_, err := unix.Open(sub, unix.O_TMPFILE|unix.O_RDONLY, 0o640)
	expect.Errno(t, err, unix.EINVAL, "O_TMPFILE for reading alone")
	_, err = unix.Open(named, unix.O_TMPFILE|unix.O_RDWR, 0o640)
	if !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("O_TMPFILE in a file: got %s, want ENOTDIR", expect.Describe(err))
	}
	// Who may not write to the directory makes none there.
	err = drive.As(t, drive.User(1001), func() error {
		_, err := unix.Open(sub, unix.O_TMPFILE|unix.O_RDWR, 0o640)
		return err
	})
	expect.Errno(t, err, unix.EACCES, "O_TMPFILE without w")
	d.Remount()
	expect.Contents(t, named, data)
	expect.Equal(t, expect.Stat(t, named).Nlink, 1, "nlink after remount")
	expect.Equal(t, len(expect.Names(t, sub)), 0, "entries after remount")
}
