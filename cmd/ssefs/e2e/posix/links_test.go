package posix

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestSymlinks(t *testing.T) {
	d, dir := bucket(t)
	lengths := []int{1, 59, 60, 255, 1023, 1024, 4000, 4094, 4095}
	target := func(n int) string { return string(bytes.Repeat([]byte("/x"), n)[:n]) }
	for _, n := range lengths {
		expect.OK(t, unix.Symlink(target(n), filepath.Join(dir, fmt.Sprint(n))), "symlink to %d bytes", n)
	}
	expect.OK(t, unix.Symlink("\xff\x01 \n", filepath.Join(dir, "bytes")), "symlink to any bytes")
	check := func() {
		t.Helper()
		for _, n := range lengths {
			p := filepath.Join(dir, fmt.Sprint(n))
			got, err := os.Readlink(p)
			expect.OK(t, err, "readlink of %d bytes", n)
			expect.Bytes(t, []byte(got), []byte(target(n)), "target of %d bytes", n)
			expect.Equal(t, expect.Lstat(t, p).Size, int64(n), "size of a link to %d bytes", n)
		}
		got, err := os.Readlink(filepath.Join(dir, "bytes"))
		expect.OK(t, err, "readlink")
		expect.Equal(t, got, "\xff\x01 \n", "target of any bytes")
	}
	check()
	d.Remount()
	check()

	expect.Errno(t, unix.Symlink(target(4096), filepath.Join(dir, "long")), unix.ENAMETOOLONG, "symlink to 4096 bytes")
	expect.Errno(t, unix.Symlink("", filepath.Join(dir, "none")), unix.ENOENT, "symlink to nothing")
	expect.Errno(t, unix.Symlink("x", filepath.Join(dir, "1")), unix.EEXIST, "symlink over a link")
	_, err := unix.Readlink(dir, make([]byte, 10))
	expect.Errno(t, err, unix.EINVAL, "readlink of a directory")
	// A short buffer cuts the target.
	b := make([]byte, 3)
	n, err := unix.Readlink(filepath.Join(dir, "255"), b)
	expect.OK(t, err, "readlink into a short buffer")
	expect.Equal(t, string(b[:n]), "/x/", "cut target")
}

func TestSymlinkLoops(t *testing.T) {
	dir := place(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.OK(t, unix.Symlink("b", p("a")), "symlink")
	expect.OK(t, unix.Symlink("a", p("b")), "symlink")
	expect.OK(t, unix.Symlink("self/x", p("self")), "symlink")
	var st unix.Stat_t
	expect.Errno(t, unix.Stat(p("a"), &st), unix.ELOOP, "stat around a loop")
	expect.Errno(t, unix.Stat(p("self"), &st), unix.ELOOP, "stat of a link into itself")
	_, err := unix.Open(p("a"), unix.O_RDONLY, 0)
	expect.Errno(t, err, unix.ELOOP, "open around a loop")
	expect.Errno(t, unix.Mkdir(p("a/x"), 0o755), unix.ELOOP, "mkdir around a loop")
	expect.Errno(t, unix.Unlink(p("a/x")), unix.ELOOP, "unlink around a loop")
	// Forty links in a row are followed.
	expect.Write(t, p("0"), []byte("end"))
	for i := range 40 {
		expect.OK(t, unix.Symlink(fmt.Sprint(i), p(fmt.Sprint(i+1))), "symlink")
	}
	expect.Contents(t, p("40"), []byte("end"))
	expect.OK(t, unix.Unlink(p("a")), "unlink a link of the loop")
}

func TestSymlinkAttributes(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "link")
	expect.OK(t, unix.Symlink("nowhere", p), "symlink")
	expect.OK(t, unix.Lchown(p, 12, 34), "lchown")
	times := []unix.Timespec{{Sec: 1_000_000_001, Nsec: 1}, {Sec: 1_000_000_002, Nsec: 999_999_999}}
	expect.OK(t, unix.UtimesNanoAt(unix.AT_FDCWD, p, times, unix.AT_SYMLINK_NOFOLLOW), "set the times of a link")
	check := func() {
		t.Helper()
		st := expect.Lstat(t, p)
		expect.Equal(t, st.Mode, unix.S_IFLNK|0o777, "mode")
		expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{12, 34}, "owner")
		expect.Equal(t, st.Atim, times[0], "atime")
		expect.Equal(t, st.Mtim, times[1], "mtime")
		expect.Equal(t, st.Nlink, 1, "nlink")
	}
	check()
	d.Remount()
	check()
	// A hard link to the link is the same link.
	expect.OK(t, unix.Linkat(unix.AT_FDCWD, p, unix.AT_FDCWD, p+"2", 0), "link a link")
	expect.Equal(t, expect.Lstat(t, p+"2").Ino, expect.Lstat(t, p).Ino, "inode")
	expect.Equal(t, expect.Lstat(t, p).Nlink, 2, "nlink")
}

func TestHardLinks(t *testing.T) {
	d, dir := bucket(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, p("a"), []byte("one"))
	expect.Mkdir(t, p("dir"))
	expect.OK(t, unix.Link(p("a"), p("dir/b")), "link")
	expect.OK(t, unix.Link(p("dir/b"), p("c")), "link")
	check := func(nlink uint64, names ...string) {
		t.Helper()
		ino := expect.Stat(t, p(names[0])).Ino
		for _, name := range names {
			st := expect.Stat(t, p(name))
			expect.Equal(t, uint64(st.Nlink), nlink, "nlink of %s", name)
			expect.Equal(t, st.Ino, ino, "inode of %s", name)
		}
	}
	check(3, "a", "dir/b", "c")
	f := expect.Open(t, p("c"), unix.O_WRONLY|unix.O_TRUNC, 0)
	f.Write([]byte("two"))
	f.Close()
	expect.Contents(t, p("a"), []byte("two"))
	d.Remount()
	check(3, "a", "dir/b", "c")
	expect.Contents(t, p("dir/b"), []byte("two"))
	expect.OK(t, unix.Unlink(p("a")), "unlink")
	check(2, "dir/b", "c")
	expect.OK(t, unix.Chmod(p("c"), 0o640), "chmod")
	expect.Mode(t, expect.Stat(t, p("dir/b")), 0o640, "the other name")

	expect.Errno(t, unix.Link(p("c"), p("dir/b")), unix.EEXIST, "link over a name")
	expect.Errno(t, unix.Link(p("dir"), p("d")), unix.EPERM, "link of a directory")
	expect.Errno(t, unix.Link(p("none"), p("d")), unix.ENOENT, "link of nothing")
	// Renaming one name of a file over another does nothing at all.
	expect.OK(t, unix.Rename(p("c"), p("dir/b")), "rename over the same file")
	check(2, "dir/b", "c")
	d.Remount()
	check(2, "dir/b", "c")
	expect.OK(t, unix.Unlink(p("c")), "unlink")
	expect.OK(t, unix.Unlink(p("dir/b")), "unlink the last name")
	d.Remount()
	expect.Missing(t, p("dir/b"))
}

func TestManyHardLinks(t *testing.T) {
	d, dir := bucket(t)
	first := filepath.Join(dir, "0")
	expect.Write(t, first, nil)
	const links = 1000
	for i := 1; i < links; i++ {
		expect.OK(t, unix.Link(first, filepath.Join(dir, fmt.Sprint(i))), "link %d", i)
	}
	d.Remount()
	expect.Equal(t, uint64(expect.Stat(t, first).Nlink), links, "nlink")
	for i := range links - 1 {
		expect.OK(t, unix.Unlink(filepath.Join(dir, fmt.Sprint(i))), "unlink %d", i)
	}
	expect.Equal(t, expect.Stat(t, filepath.Join(dir, fmt.Sprint(links-1))).Nlink, 1, "nlink of the last")
}
