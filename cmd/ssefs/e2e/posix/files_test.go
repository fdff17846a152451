package posix

import (
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestFileContents(t *testing.T) {
	d, dir := bucket(t)
	sizes := map[string]int{"empty": 0, "one": 1, "block-1": 4095, "block": 4096, "block+1": 4097, "record-1": 1<<20 - 1,
		"record": 1 << 20, "record+1": 1<<20 + 1, "several": 5<<20 + 123}
	for name, size := range sizes {
		expect.Write(t, filepath.Join(dir, name), expect.Random(uint64(size), size))
	}
	check := func() {
		for name, size := range sizes {
			p := filepath.Join(dir, name)
			expect.Contents(t, p, expect.Random(uint64(size), size))
			expect.Equal(t, expect.Stat(t, p).Size, int64(size), "size of %s", name)
		}
	}
	check()
	d.Remount()
	check()
}

func TestReadAndWriteAtOffsets(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	f := expect.Create(t, p)
	want := make([]byte, 300_000)
	// Overlapping writes, backwards and across the boundaries of blocks.
	for i := range 60 {
		data := expect.Random(uint64(i), 7000)
		off := (i * 104_729) % (len(want) - len(data))
		f.Pwrite(data, int64(off))
		copy(want[off:], data)
	}
	size := f.Stat().Size
	want = want[:size]
	expect.Bytes(t, f.Pread(len(want)+10, 0), want, "after the writes")
	expect.Bytes(t, f.Pread(100, size-40), want[size-40:], "read across the end")
	expect.Equal(t, len(f.Pread(100, size)), 0, "bytes read at the end")
	expect.Equal(t, len(f.Pread(100, size+10_000_000)), 0, "bytes read far behind the end")
	f.Close()
	d.Remount()
	expect.Contents(t, p, want)
}

func TestOpenFlags(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("contents"))
	expect.OK(t, unix.Symlink("file", filepath.Join(dir, "link")), "symlink")
	expect.OK(t, unix.Symlink("nowhere", filepath.Join(dir, "dangling")), "symlink")
	expect.Mkdir(t, filepath.Join(dir, "dir"))
	for _, c := range []struct {
		name  string
		flags int
		want  unix.Errno
	}{
		{"file", unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.EEXIST},
		{"dir", unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.EEXIST},
		{"link", unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.EEXIST},
		{"dangling", unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.EEXIST},
		{"missing", unix.O_RDONLY, unix.ENOENT},
		{"missing/below", unix.O_RDONLY | unix.O_CREAT, unix.ENOENT},
		{"file/below", unix.O_RDONLY, unix.ENOTDIR},
		{"file", unix.O_RDONLY | unix.O_DIRECTORY, unix.ENOTDIR},
		{"dir", unix.O_WRONLY, unix.EISDIR},
		{"dir", unix.O_RDWR, unix.EISDIR},
		{"dir", unix.O_RDONLY | unix.O_CREAT, unix.EISDIR},
		{"dir", unix.O_RDONLY | unix.O_TRUNC, unix.EISDIR},
		{"link", unix.O_RDONLY | unix.O_NOFOLLOW, unix.ELOOP},
		{"dangling", unix.O_RDONLY, unix.ENOENT},
	} {
		fd, err := unix.Open(filepath.Join(dir, c.name), c.flags, 0o644)
		if err == nil {
			expect.OK(t, unix.Close(fd), "close")
		}
		expect.Errno(t, err, c.want, "open %s with flags %#o", c.name, c.flags)
	}
	expect.Contents(t, p, []byte("contents"))

	// O_CREAT follows a dangling link and makes its target.
	expect.Open(t, filepath.Join(dir, "dangling"), unix.O_CREAT|unix.O_WRONLY, 0o600).Close()
	expect.Equal(t, expect.Lstat(t, filepath.Join(dir, "nowhere")).Size, 0, "size of the target that open made")

	// A descriptor does only what it was opened for.
	reader, writer := expect.Open(t, p, unix.O_RDONLY, 0), expect.Open(t, p, unix.O_WRONLY, 0)
	_, err := unix.Write(reader.Fd, []byte("x"))
	expect.Errno(t, err, unix.EBADF, "write to a descriptor open for reading")
	_, err = unix.Read(writer.Fd, make([]byte, 1))
	expect.Errno(t, err, unix.EBADF, "read from a descriptor open for writing")
	// A short write into the middle of a block through a write-only descriptor keeps what is around it.
	writer.Pwrite([]byte("T"), 3)
	writer.Close()
	expect.Contents(t, p, []byte("conTents"))
}

func TestOpenTruncates(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, expect.Random(1, 100_000))
	other := expect.Open(t, p, unix.O_RDONLY, 0)
	f := expect.Open(t, p, unix.O_WRONLY|unix.O_TRUNC, 0)
	expect.Equal(t, f.Stat().Size, 0, "size after O_TRUNC")
	expect.Equal(t, len(other.Pread(10, 0)), 0, "bytes seen by a descriptor that was open before")
	f.Pwrite([]byte("new"), 4)
	want := []byte("\x00\x00\x00\x00new")
	expect.Bytes(t, other.Pread(100, 0), want, "the new contents")
	f.Close()
	other.Close()
	d.Remount()
	expect.Contents(t, p, want)
}

func TestPermissions(t *testing.T) {
	dir := place(t)
	user := drive.Identity{UID: 1001, GID: 1001, Groups: []int{2001}}
	for _, c := range []struct {
		name     string
		uid, gid int
		mode     uint32
		flags    int
		want     unix.Errno // 0 means allowed
	}{
		{"own-r", 1001, 0, 0o400, unix.O_RDONLY, 0},
		{"own-w-missing", 1001, 0, 0o400, unix.O_WRONLY, unix.EACCES},
		{"owner-class-wins", 1001, 2001, 0o077, unix.O_RDONLY, unix.EACCES},
		{"supplementary-group", 0, 2001, 0o060, unix.O_RDWR, 0},
		{"group-class-wins", 0, 2001, 0o606, unix.O_RDONLY, unix.EACCES},
		{"other", 0, 0, 0o004, unix.O_RDONLY, 0},
		{"other-w-missing", 0, 0, 0o774, unix.O_WRONLY, unix.EACCES},
		{"nothing", 0, 0, 0, unix.O_RDONLY, unix.EACCES},
	} {
		p := filepath.Join(dir, c.name)
		expect.Write(t, p, nil)
		expect.OK(t, unix.Chown(p, c.uid, c.gid), "chown")
		expect.OK(t, unix.Chmod(p, c.mode), "chmod")
		err := drive.As(t, user, func() error {
			fd, err := unix.Open(p, c.flags, 0)
			if err == nil {
				return unix.Close(fd)
			}
			return err
		})
		if c.want == 0 {
			expect.OK(t, err, "%s: open", c.name)
		} else {
			expect.Errno(t, err, c.want, "%s: open", c.name)
		}
	}
	// A directory without x hides what is in it; one without w takes nothing new and lets nothing go.
	closed := expect.Mkdir(t, filepath.Join(dir, "closed"))
	expect.Write(t, filepath.Join(closed, "file"), nil)
	expect.OK(t, unix.Chmod(closed, 0o754), "chmod")
	expect.Errno(t, drive.As(t, user, func() error {
		return unix.Access(filepath.Join(closed, "file"), unix.F_OK)
	}), unix.EACCES, "reach into a directory without x")
	expect.OK(t, unix.Chmod(closed, 0o755), "chmod")
	for what, call := range map[string]func() error{
		"mkdir":   func() error { return unix.Mkdir(filepath.Join(closed, "new"), 0o755) },
		"unlink":  func() error { return unix.Unlink(filepath.Join(closed, "file")) },
		"symlink": func() error { return unix.Symlink("x", filepath.Join(closed, "new")) },
		"rename":  func() error { return unix.Rename(filepath.Join(closed, "file"), filepath.Join(dir, "taken")) },
		"create": func() error {
			_, err := unix.Open(filepath.Join(closed, "new"), unix.O_CREAT|unix.O_WRONLY, 0o644)
			return err
		},
	} {
		expect.Errno(t, drive.As(t, user, call), unix.EACCES, "%s in a directory without w", what)
	}
	// Who creates a file may use it, whatever mode it is given.
	expect.OK(t, drive.As(t, user, func() error {
		fd, err := unix.Open(filepath.Join(dir, "readonly"), unix.O_CREAT|unix.O_RDWR, 0o400)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, []byte("x")); err != nil {
			return err
		}
		return unix.Close(fd)
	}), "create a read-only file for writing")
	st := expect.Stat(t, filepath.Join(dir, "readonly"))
	expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{1001, 1001}, "owner of a new file")
	expect.Mode(t, st, 0o400, "new file")
}

func TestExecute(t *testing.T) {
	dir := place(t)
	script := filepath.Join(dir, "script")
	expect.OK(t, os.WriteFile(script, []byte("#!/bin/sh\necho ran \"$1\"\n"), 0o755), "write a script")
	expect.Equal(t, drive.Must(t, script, "it"), "ran it\n", "output of the script")

	// A program is mapped, not read, and cannot be written while it runs.
	echo, err := os.ReadFile("/bin/sleep")
	expect.OK(t, err, "read a program")
	program := filepath.Join(dir, "program")
	expect.OK(t, os.WriteFile(program, echo, 0o755), "write a program")
	drive.Must(t, program, "0")
	expect.OK(t, unix.Chmod(program, 0o644), "chmod")
	err = drive.As(t, drive.User(1001), func() error { return unix.Access(program, unix.X_OK) })
	expect.Errno(t, err, unix.EACCES, "access X_OK without x")
}
