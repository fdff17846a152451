package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestRootHoldsBuckets: in the root there are buckets and nothing else.
func TestRootHoldsBuckets(t *testing.T) {
	d := drive.New(t, drive.Options{})
	p := func(name string) string { return d.Path(name) }
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "file"), []byte("x"))
	expect.Mkdir(t, filepath.Join(b, "dir"))
	_, err := unix.Open(p("file"), unix.O_CREAT|unix.O_WRONLY, 0o644)
	expect.Errno(t, err, unix.EPERM, "create in the root")
	_, err = unix.Open(d.Path(), unix.O_TMPFILE|unix.O_RDWR, 0o644)
	expect.Errno(t, err, unix.EPERM, "O_TMPFILE in the root")
	expect.Errno(t, unix.Symlink("b", p("link")), unix.EPERM, "symlink in the root")
	expect.Errno(t, unix.Mkfifo(p("fifo"), 0o644), unix.EPERM, "mkfifo in the root")
	expect.Errno(t, unix.Mknod(p("node"), unix.S_IFREG|0o644, 0), unix.EPERM, "mknod in the root")
	expect.Equal(t, len(expect.Names(t, d.Path())), 1, "entries of the root")

	// Buckets are renamed, removed when empty, and given modes and owners.
	expect.OK(t, unix.Rename(b, p("renamed")), "rename a bucket")
	expect.Contents(t, filepath.Join(p("renamed"), "file"), []byte("x"))
	other := d.Bucket("other")
	expect.Errno(t, unix.Rename(other, p("renamed")), unix.ENOTEMPTY, "rename a bucket over one that is not empty")
	expect.Errno(t, unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, p("renamed"), unix.RENAME_NOREPLACE), unix.EEXIST,
		"rename a bucket over another with NOREPLACE")
	expect.Errno(t, unix.Rmdir(p("renamed")), unix.ENOTEMPTY, "rmdir of a bucket that is not empty")
	expect.OK(t, unix.Rmdir(other), "rmdir of an empty bucket")
	expect.OK(t, unix.Chmod(p("renamed"), 0o1750), "chmod of a bucket")
	expect.OK(t, unix.Chown(p("renamed"), 1001, 1002), "chown of a bucket")
	expect.OK(t, unix.Chmod(d.Path(), 0o711), "chmod of the root")
	d.Remount()
	st := expect.Stat(t, p("renamed"))
	expect.Mode(t, st, 0o1750, "the bucket after remount")
	expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{1001, 1002}, "owner of the bucket after remount")
	expect.Mode(t, expect.Stat(t, d.Path()), 0o711, "the root after remount")
	expect.Missing(t, p("other"))
	// nlink of the root counts its buckets.
	expect.Equal(t, expect.Stat(t, d.Path()).Nlink, 3, "nlink of the root")
}

// TestAcrossBuckets: nothing is moved or linked from one bucket to another: mv copies and so encrypts anew.
func TestAcrossBuckets(t *testing.T) {
	d := drive.New(t, drive.Options{})
	a, b := d.Bucket("a"), d.Bucket("b")
	file, dir := filepath.Join(a, "file"), expect.Mkdir(t, filepath.Join(a, "dir"))
	expect.Write(t, file, []byte("contents"))
	expect.Write(t, filepath.Join(b, "there"), []byte("there"))
	at := unix.AT_FDCWD
	for what, err := range map[string]error{
		"rename of a file":         unix.Rename(file, filepath.Join(b, "file")),
		"rename over a file":       unix.Rename(file, filepath.Join(b, "there")),
		"rename of a directory":    unix.Rename(dir, filepath.Join(b, "dir")),
		"exchange":                 unix.Renameat2(at, file, at, filepath.Join(b, "there"), unix.RENAME_EXCHANGE),
		"link":                     unix.Link(file, filepath.Join(b, "link")),
		"directory made a bucket":  unix.Rename(dir, d.Path("dir")),
		"bucket made a directory":  unix.Rename(b, filepath.Join(a, "b")),
		"exchange of a bucket":     unix.Renameat2(at, dir, at, b, unix.RENAME_EXCHANGE),
		"file moved into the root": unix.Rename(file, d.Path("file")),
	} {
		expect.Errno(t, err, unix.EXDEV, "%s across buckets", what)
	}
	// A file without a name gets none in another bucket.
	f := expect.Open(t, a, unix.O_TMPFILE|unix.O_RDWR, 0o644)
	err := unix.Linkat(f.Fd, "", at, filepath.Join(b, "linked"), unix.AT_EMPTY_PATH)
	expect.Errno(t, err, unix.EXDEV, "linkat of a file without a name")
	f.Close()
	drive.Must(t, "mv", file, filepath.Join(b, "moved"))
	expect.Contents(t, filepath.Join(b, "moved"), []byte("contents"))
	expect.Missing(t, file)
	drive.Must(t, "mv", dir, b)
	expect.Equal(t, expect.Stat(t, filepath.Join(b, "dir")).Nlink, 2, "nlink of the moved directory")
}
