package posix

import (
	"fmt"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestRename(t *testing.T) {
	d, dir := bucket(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, p("a"), []byte("a"))
	expect.Write(t, p("b"), []byte("b"))
	for _, name := range []string{"full", "empty", "empty2", "from"} {
		expect.Mkdir(t, p(name))
	}
	expect.Write(t, p("full/x"), nil)
	expect.Write(t, p("from/y"), []byte("y"))
	ino := expect.Stat(t, p("a")).Ino

	expect.OK(t, unix.Rename(p("a"), p("b")), "rename over a file")
	expect.Contents(t, p("b"), []byte("a"))
	expect.Equal(t, expect.Stat(t, p("b")).Ino, ino, "inode of the renamed file")
	expect.Missing(t, p("a"))
	expect.OK(t, unix.Rename(p("b"), p("full/c")), "rename to another directory")
	expect.OK(t, unix.Rename(p("from"), p("empty")), "rename over an empty directory")
	expect.Contents(t, p("empty/y"), []byte("y"))
	for _, c := range []struct {
		from, to string
		want     unix.Errno
	}{
		{"none", "x", unix.ENOENT},
		{"full/c", "none/c", unix.ENOENT},
		{"empty", "full", unix.ENOTEMPTY},
		{"full/c", "empty", unix.EISDIR},
		{"empty", "full/c", unix.ENOTDIR},
		{"full", "full/c/below", unix.ENOTDIR},
		{"full", "full/below", unix.EINVAL},
		{"full/c", "full/c/x", unix.ENOTDIR},
	} {
		expect.Errno(t, unix.Rename(p(c.from), p(c.to)), c.want, "rename %s to %s", c.from, c.to)
	}
	expect.OK(t, unix.Rename(p("full/c"), p("full/c")), "rename to itself")
	d.Remount()
	expect.Contents(t, p("full/c"), []byte("a"))
	expect.Contents(t, p("empty/y"), []byte("y"))
	expect.Equal(t, len(expect.Names(t, dir)), 3, "entries")
}

func TestRenameNoReplace(t *testing.T) {
	d, dir := bucket(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, p("a"), []byte("a"))
	expect.Write(t, p("b"), []byte("b"))
	expect.Mkdir(t, p("dir"))
	at := unix.AT_FDCWD
	for _, to := range []string{"b", "dir", "a"} {
		expect.Errno(t, unix.Renameat2(at, p("a"), at, p(to), unix.RENAME_NOREPLACE), unix.EEXIST, "rename to %s", to)
	}
	expect.OK(t, unix.Renameat2(at, p("a"), at, p("dir/new"), unix.RENAME_NOREPLACE), "rename to a free name")
	d.Remount()
	expect.Contents(t, p("dir/new"), []byte("a"))
	expect.Contents(t, p("b"), []byte("b"))
	expect.Missing(t, p("a"))
	expect.Errno(t, unix.Renameat2(at, p("b"), at, p("c"), unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE), unix.EINVAL,
		"both flags at once")
}

func TestRenameExchange(t *testing.T) {
	d, dir := bucket(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, p("file"), []byte("file"))
	expect.Mkdir(t, p("dir"))
	expect.Write(t, p("dir/inside"), []byte("inside"))
	expect.OK(t, unix.Symlink("target", p("dir/link")), "symlink")
	at := unix.AT_FDCWD
	exchange := func(a, b string) error { return unix.Renameat2(at, p(a), at, p(b), unix.RENAME_EXCHANGE) }
	expect.OK(t, exchange("file", "dir/link"), "exchange a file and a link")
	expect.Contents(t, p("dir/link"), []byte("file"))
	expect.Equal(t, expect.Lstat(t, p("file")).Mode&unix.S_IFMT, unix.S_IFLNK, "type of what came back")
	expect.OK(t, exchange("dir", "file"), "exchange a directory and a link")
	expect.Contents(t, p("file/inside"), []byte("inside"))
	d.Remount()
	expect.Contents(t, p("file/inside"), []byte("inside"))
	expect.Contents(t, p("file/link"), []byte("file"))
	expect.Equal(t, expect.Lstat(t, p("dir")).Mode&unix.S_IFMT, unix.S_IFLNK, "type after remount")
	expect.Errno(t, exchange("file", "none"), unix.ENOENT, "exchange with nothing")
	expect.Errno(t, exchange("none", "file"), unix.ENOENT, "exchange of nothing")
	expect.Errno(t, exchange("file", "file/inside"), unix.EINVAL, "exchange of a directory with what is in it")
	expect.Errno(t, exchange("file/inside", "file"), unix.EINVAL, "exchange with the directory around")
	// Two directories, one of them not empty, change places with all that is in them.
	expect.Mkdir(t, p("other"))
	expect.OK(t, exchange("other", "file"), "exchange directories")
	expect.Contents(t, p("other/inside"), []byte("inside"))
	expect.Equal(t, len(expect.Names(t, p("file"))), 0, "entries of the empty one")
}

// TestRenameKeepsOpenFiles: what a name is given to, or taken from, lives on while it is open.
func TestRenameKeepsOpenFiles(t *testing.T) {
	d, dir := bucket(t)
	expect.Write(t, filepath.Join(dir, "old"), []byte("old"))
	expect.Write(t, filepath.Join(dir, "new"), []byte("new"))
	old := expect.Open(t, filepath.Join(dir, "old"), unix.O_RDWR, 0)
	renamed := expect.Open(t, filepath.Join(dir, "new"), unix.O_RDWR, 0)
	expect.OK(t, unix.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old")), "rename")
	expect.Bytes(t, old.Pread(10, 0), []byte("old"), "the replaced file")
	expect.Equal(t, old.Stat().Nlink, 0, "nlink of the replaced file")
	old.Pwrite([]byte("still"), 0)
	expect.Bytes(t, old.Pread(10, 0), []byte("still"), "the replaced file after a write")
	renamed.Pwrite([]byte("NEW"), 0)
	expect.Contents(t, filepath.Join(dir, "old"), []byte("NEW"))
	old.Close()
	renamed.Close()
	d.Remount()
	expect.Contents(t, filepath.Join(dir, "old"), []byte("NEW"))
}

// TestRenameStorm moves files around in a circle and loses none.
func TestRenameStorm(t *testing.T) {
	d, dir := bucket(t)
	const files, rounds = 8, 40
	for i := range files {
		expect.Mkdir(t, filepath.Join(dir, fmt.Sprint("d", i)))
		expect.Write(t, filepath.Join(dir, fmt.Sprint("d", i), "0"), fmt.Append(nil, i))
	}
	done := make(chan error, files)
	for i := range files {
		go func() {
			at := filepath.Join(dir, fmt.Sprint("d", i), "0")
			for r := range rounds {
				next := filepath.Join(dir, fmt.Sprint("d", (i+r)%files), fmt.Sprint(i, "-", r))
				if err := unix.Rename(at, next); err != nil {
					done <- fmt.Errorf("rename %s to %s: %w", at, next, err)
					return
				}
				at = next
			}
			done <- unix.Rename(at, filepath.Join(dir, fmt.Sprint("end", i)))
		}()
	}
	for range files {
		expect.OK(t, <-done, "move around")
	}
	d.Remount()
	for i := range files {
		expect.Contents(t, filepath.Join(dir, fmt.Sprint("end", i)), fmt.Append(nil, i))
		expect.Equal(t, len(expect.Names(t, filepath.Join(dir, fmt.Sprint("d", i)))), 0, "entries left in d%d", i)
	}
}
