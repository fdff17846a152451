package posix

import (
	"fmt"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestDirectories(t *testing.T) {
	d, dir := bucket(t)
	a := expect.Mkdir(t, filepath.Join(dir, "a"))
	expect.Errno(t, unix.Mkdir(a, 0o755), unix.EEXIST, "mkdir of what is there")
	expect.Errno(t, unix.Mkdir(filepath.Join(dir, "none", "b"), 0o755), unix.ENOENT, "mkdir below a missing directory")
	expect.Write(t, filepath.Join(dir, "file"), nil)
	expect.Errno(t, unix.Mkdir(filepath.Join(dir, "file", "b"), 0o755), unix.ENOTDIR, "mkdir below a file")
	expect.Write(t, filepath.Join(a, "inside"), nil)
	expect.Errno(t, unix.Rmdir(a), unix.ENOTEMPTY, "rmdir of a directory that is not empty")
	expect.Errno(t, unix.Rmdir(filepath.Join(dir, "file")), unix.ENOTDIR, "rmdir of a file")
	expect.Errno(t, unix.Rmdir(filepath.Join(dir, "none")), unix.ENOENT, "rmdir of nothing")
	expect.Errno(t, unix.Rmdir(a+"/."), unix.EINVAL, "rmdir of dot")
	expect.Errno(t, unix.Unlink(a), unix.EISDIR, "unlink of a directory")
	expect.OK(t, unix.Unlink(filepath.Join(a, "inside")), "unlink")
	expect.OK(t, unix.Rmdir(a), "rmdir")
	expect.Missing(t, a)
	d.Remount()
	expect.Missing(t, a)
	expect.Equal(t, fmt.Sprint(expect.Names(t, dir)), "[file]", "names in the directory")
}

func TestDirectoryLinkCounts(t *testing.T) {
	d, dir := bucket(t)
	nlink := func(p string, want uint64, when string) {
		t.Helper()
		expect.Equal(t, uint64(expect.Stat(t, p).Nlink), want, "nlink of %s %s", filepath.Base(p), when)
	}
	a, b := expect.Mkdir(t, filepath.Join(dir, "a")), expect.Mkdir(t, filepath.Join(dir, "b"))
	nlink(a, 2, "when empty")
	nlink(dir, 4, "with two directories")
	expect.Mkdir(t, filepath.Join(a, "1"))
	expect.Mkdir(t, filepath.Join(a, "2"))
	expect.Write(t, filepath.Join(a, "file"), nil)
	nlink(a, 4, "with two directories and a file")
	expect.OK(t, unix.Rename(filepath.Join(a, "1"), filepath.Join(b, "1")), "rename")
	nlink(a, 3, "after one moved away")
	nlink(b, 3, "after one moved in")
	expect.OK(t, unix.Rename(filepath.Join(a, "2"), filepath.Join(b, "1")), "rename over an empty directory")
	nlink(a, 2, "after both moved away")
	nlink(b, 3, "after one was replaced")
	at := unix.AT_FDCWD
	expect.OK(t, unix.Renameat2(at, filepath.Join(a, "file"), at, filepath.Join(b, "1"), unix.RENAME_EXCHANGE), "exchange")
	nlink(a, 3, "after exchange of its file for a directory")
	nlink(b, 2, "after exchange of its directory for a file")
	d.Remount()
	nlink(a, 3, "after remount")
	nlink(b, 2, "after remount")
	nlink(dir, 4, "after remount")
	// An open directory that was removed has no links and takes nothing new.
	f := expect.Open(t, filepath.Join(a, "file"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	expect.OK(t, unix.Rmdir(filepath.Join(a, "file")), "rmdir of an open directory")
	expect.Equal(t, f.Stat().Nlink, 0, "nlink of a removed directory")
	_, err := unix.Openat(f.Fd, "new", unix.O_CREAT|unix.O_WRONLY, 0o644)
	expect.Errno(t, err, unix.ENOENT, "create in a removed directory")
	expect.Errno(t, unix.Mkdirat(f.Fd, "new", 0o755), unix.ENOENT, "mkdir in a removed directory")
}

func TestDotDot(t *testing.T) {
	d, dir := bucket(t)
	a, b := expect.Mkdir(t, filepath.Join(dir, "a")), expect.Mkdir(t, filepath.Join(dir, "b"))
	expect.Mkdir(t, filepath.Join(a, "sub"))
	dotdot := func(want string) {
		t.Helper()
		for _, p := range []string{filepath.Join(a, "sub"), filepath.Join(b, "sub")} {
			fd, err := unix.Open(p, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			if err != nil {
				continue
			}
			var st unix.Stat_t
			expect.OK(t, unix.Fstatat(fd, "..", &st, 0), "stat dot-dot of %s", p)
			expect.OK(t, unix.Close(fd), "close")
			expect.Equal(t, st.Ino, expect.Stat(t, want).Ino, "inode of dot-dot in %s", p)
		}
	}
	dotdot(a)
	expect.OK(t, unix.Rename(filepath.Join(a, "sub"), filepath.Join(b, "sub")), "rename")
	dotdot(b)
	d.Remount()
	dotdot(b)
	// Listed dot and dot-dot carry the right numbers as well.
	for _, e := range readDirectory(t, filepath.Join(b, "sub")) {
		switch e.name {
		case ".":
			expect.Equal(t, e.ino, expect.Stat(t, filepath.Join(b, "sub")).Ino, "number of dot as listed")
		case "..":
			expect.Equal(t, e.ino, expect.Stat(t, b).Ino, "number of dot-dot as listed")
		}
	}
	// And from a bucket up to the root, and from there no further within the drive.
	expect.Equal(t, expect.Stat(t, dir+"/..").Ino, expect.Stat(t, d.Path()).Ino, "inode above the bucket")
}

func TestDeepTree(t *testing.T) {
	d, dir := bucket(t)
	p := dir
	for i := range 60 {
		p = expect.Mkdir(t, filepath.Join(p, fmt.Sprintf("level-%d", i)))
	}
	expect.Write(t, filepath.Join(p, "leaf"), []byte("deep"))
	d.Remount()
	expect.Contents(t, filepath.Join(p, "leaf"), []byte("deep"))
	drive.Must(t, "rm", "-r", filepath.Join(dir, "level-0"))
	expect.Equal(t, len(expect.Names(t, dir)), 0, "entries left")
}
