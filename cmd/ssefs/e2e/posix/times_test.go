package posix

import (
	"path/filepath"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// setTimes is utimensat of path itself.
func setTimes(path string, atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// later reports whether a is after b.
func later(a, b unix.Timespec) bool { return a.Nano() > b.Nano() }

// tick waits until the kernel's coarse clock, which times are taken from, has passed the present. It ticks every few
// milliseconds, and later when the machine under a virtual one is busy.
func tick(t *testing.T) {
	t.Helper()
	now := time.Now().UnixNano()
	for {
		var coarse unix.Timespec
		expect.OK(t, unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &coarse), "read the coarse clock")
		if coarse.Nano() > now {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestUtimensat(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("x"))
	cases := []struct{ atime, mtime unix.Timespec }{
		{unix.Timespec{Sec: 1_700_000_000, Nsec: 123_456_789}, unix.Timespec{Sec: 1_600_000_000, Nsec: 987_654_321}},
		{unix.Timespec{Sec: 0, Nsec: 1}, unix.Timespec{Sec: 1, Nsec: 0}},
		{unix.Timespec{Sec: -1_000_000, Nsec: 999_999_999}, unix.Timespec{Sec: -1, Nsec: 1}},
		{unix.Timespec{Sec: 5_000_000_000, Nsec: 5}, unix.Timespec{Sec: 4_294_967_296, Nsec: 6}},
	}
	for _, c := range cases {
		before := expect.Stat(t, p)
		tick(t)
		expect.OK(t, setTimes(p, c.atime, c.mtime), "utimensat")
		st := expect.Stat(t, p)
		expect.Equal(t, st.Atim, c.atime, "atime")
		expect.Equal(t, st.Mtim, c.mtime, "mtime")
		expect.Equal(t, later(st.Ctim, before.Ctim), true, "ctime moved on")
		d.Remount()
		after := expect.Stat(t, p)
		expect.Equal(t, [3]unix.Timespec{after.Atim, after.Mtim, after.Ctim}, [3]unix.Timespec{c.atime, c.mtime, st.Ctim},
			"times after remount")
	}
	// One of the two may be left alone or set to now.
	c := cases[0]
	expect.OK(t, setTimes(p, c.atime, c.mtime), "utimensat")
	expect.OK(t, setTimes(p, unix.Timespec{Nsec: unix.UTIME_OMIT}, unix.Timespec{Sec: 7}), "utimensat")
	st := expect.Stat(t, p)
	expect.Equal(t, [2]unix.Timespec{st.Atim, st.Mtim}, [2]unix.Timespec{c.atime, {Sec: 7}}, "times after OMIT of atime")
	expect.OK(t, setTimes(p, unix.Timespec{Sec: 8}, unix.Timespec{Nsec: unix.UTIME_OMIT}), "utimensat")
	st = expect.Stat(t, p)
	expect.Equal(t, [2]unix.Timespec{st.Atim, st.Mtim}, [2]unix.Timespec{{Sec: 8}, {Sec: 7}}, "times after OMIT of mtime")
	expect.OK(t, setTimes(p, unix.Timespec{Sec: 8}, unix.Timespec{Nsec: unix.UTIME_NOW}), "utimensat")
	expect.Equal(t, later(expect.Stat(t, p).Mtim, before(time.Minute)), true, "mtime set to now is near now")
}

// before is the time d ago.
func before(d time.Duration) unix.Timespec { return unix.NsecToTimespec(time.Now().Add(-d).UnixNano()) }

func TestUtimensatPermissions(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	expect.OK(t, unix.Chmod(p, 0o646), "chmod")
	now, fixed := unix.Timespec{Nsec: unix.UTIME_NOW}, unix.Timespec{Sec: 1}
	stranger := drive.User(1001)
	expect.OK(t, drive.As(t, stranger, func() error { return setTimes(p, now, now) }), "set to now by one who may write")
	expect.Errno(t, drive.As(t, stranger, func() error { return setTimes(p, fixed, fixed) }), unix.EPERM,
		"set to a chosen time by one who may write")
	expect.OK(t, unix.Chmod(p, 0o644), "chmod")
	expect.Errno(t, drive.As(t, stranger, func() error { return setTimes(p, now, now) }), unix.EACCES,
		"set to now by one who may not write")
	expect.OK(t, unix.Chown(p, 1001, 1001), "chown")
	expect.OK(t, unix.Chmod(p, 0o400), "chmod")
	expect.OK(t, drive.As(t, stranger, func() error { return setTimes(p, fixed, fixed) }), "set by the owner")
}

// TestTimesOfChanges: which operation moves which time, of the file and of its directory.
func TestTimesOfChanges(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("contents"))
	const none, ctime, both = 0, 1, 2
	for _, c := range []struct {
		what       string
		call       func() error
		file, into int // what moves for the file and for its directory
	}{
		{"chmod", func() error { return unix.Chmod(p, 0o640) }, ctime, none},
		{"chown", func() error { return unix.Chown(p, 0, 5) }, ctime, none},
		{"setxattr", func() error { return unix.Setxattr(p, "user.x", []byte("y"), 0) }, ctime, none},
		{"link", func() error { return unix.Link(p, p+"2") }, ctime, both},
		{"unlink", func() error { return unix.Unlink(p + "2") }, ctime, both},
		{"rename there and back", func() error {
			if err := unix.Rename(p, p+"2"); err != nil {
				return err
			}
			return unix.Rename(p+"2", p)
		}, ctime, both},
		{"truncate", func() error { return unix.Truncate(p, 3) }, both, none},
		{"write", func() error {
			fd, err := unix.Open(p, unix.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err := unix.Write(fd, []byte("x")); err != nil {
				return err
			}
			return unix.Close(fd)
		}, both, none},
		{"create", func() error { return unix.Mknod(p+"3", unix.S_IFREG, 0) }, none, both},
		{"mkdir", func() error { return unix.Mkdir(p+"4", 0o755) }, none, both},
		{"rmdir", func() error { return unix.Rmdir(p + "4") }, none, both},
		{"symlink", func() error { return unix.Symlink("x", p+"5") }, none, both},
	} {
		files, dirs := expect.Stat(t, p), expect.Stat(t, dir)
		tick(t)
		expect.OK(t, c.call(), "%s", c.what)
		moved := func(whose string, a, b unix.Stat_t, want int) {
			t.Helper()
			if b.Nlink == 0 {
				return
			}
			expect.Equal(t, later(b.Ctim, a.Ctim), want != none, "%s moved the ctime of the %s", c.what, whose)
			expect.Equal(t, later(b.Mtim, a.Mtim), want == both, "%s moved the mtime of the %s", c.what, whose)
		}
		moved("file", files, expect.Stat(t, p), c.file)
		moved("directory", dirs, expect.Stat(t, dir), c.into)
	}
	kept := expect.Stat(t, p)
	d.Remount()
	st := expect.Stat(t, p)
	expect.Equal(t, [2]unix.Timespec{st.Mtim, st.Ctim}, [2]unix.Timespec{kept.Mtim, kept.Ctim}, "times after remount")
}

// TestAtime: as under relatime, which is what Linux mounts with. A read after a change moves atime; when a mount has
// read since the last change, reads leave it.
func TestAtime(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("contents"))
	long := unix.Timespec{Sec: time.Now().Unix() - 3600}
	longer := unix.Timespec{Sec: long.Sec - 3600}
	expect.OK(t, setTimes(p, longer, long), "utimensat")
	d.Remount() // with nothing of the file in the kernel's cache
	st := expect.Stat(t, p)
	expect.Equal(t, st.Atim, longer, "stat leaves atime alone")
	expect.Contents(t, p, []byte("contents"))
	read := expect.Stat(t, p)
	expect.Equal(t, later(read.Atim, read.Mtim), true, "a read moves an atime older than mtime")
	expect.Equal(t, [2]unix.Timespec{read.Mtim, read.Ctim}, [2]unix.Timespec{st.Mtim, st.Ctim}, "mtime and ctime after a read")
	d.Remount()
	tick(t)
	expect.Contents(t, p, []byte("contents"))
	expect.Equal(t, expect.Stat(t, p).Atim, read.Atim, "a second read on the same day leaves atime")
	// O_NOATIME reads without a trace.
	expect.OK(t, setTimes(p, longer, long), "utimensat")
	d.Remount()
	f := expect.Open(t, p, unix.O_RDONLY|unix.O_NOATIME, 0)
	f.Pread(4, 0)
	f.Close()
	expect.Equal(t, expect.Stat(t, p).Atim, longer, "a read with O_NOATIME leaves atime")
}
