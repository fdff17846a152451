package posix

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestUnlinkedButOpen: a file without a name is a whole file while it is open.
func TestUnlinkedButOpen(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	contents := expect.Random(1, 50_000)
	expect.Write(t, p, contents)
	f := expect.Open(t, p, unix.O_RDWR, 0)
	ino := f.Stat().Ino
	expect.OK(t, unix.Unlink(p), "unlink")
	expect.Missing(t, p)
	st := f.Stat()
	expect.Equal(t, st.Nlink, 0, "nlink")
	expect.Equal(t, st.Ino, ino, "inode")
	expect.Equal(t, st.Size, int64(len(contents)), "size")
	expect.Bytes(t, f.Pread(len(contents), 0), contents, "contents")
	f.Pwrite([]byte("more"), int64(len(contents)))
	f.Sync()
	expect.Bytes(t, f.Pread(10, int64(len(contents))), []byte("more"), "what was written afterwards")
	expect.OK(t, unix.Fchmod(f.Fd, 0o600), "fchmod")
	expect.OK(t, unix.Fchown(f.Fd, 5, 6), "fchown")
	expect.OK(t, unix.Fsetxattr(f.Fd, "user.x", []byte("y"), 0), "fsetxattr")
	b := make([]byte, 10)
	n, err := unix.Fgetxattr(f.Fd, "user.x", b)
	expect.OK(t, err, "fgetxattr")
	expect.Equal(t, string(b[:n]), "y", "xattr")
	f.Truncate(100)
	expect.OK(t, unix.Futimes(f.Fd, []unix.Timeval{{Sec: 1}, {Sec: 2}}), "futimes")
	st = f.Stat()
	expect.Mode(t, st, 0o600, "after fchmod")
	expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{5, 6}, "owner")
	expect.Equal(t, st.Size, 100, "size after ftruncate")
	expect.Equal(t, st.Mtim, unix.Timespec{Sec: 2}, "mtime")
	// A new file of the same name is another one.
	expect.Write(t, p, []byte("another"))
	expect.Bytes(t, f.Pread(200, 0), contents[:100], "the old file")
	expect.Contents(t, p, []byte("another"))
	expect.Equal(t, expect.Stat(t, p).Ino != ino, true, "the new file has a number of its own")
	f.Close()
	d.Remount()
	expect.Contents(t, p, []byte("another"))
}

// TestReopenUnlinked: such a file can be opened again through /proc.
func TestReopenUnlinked(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("contents"))
	f := expect.Open(t, p, unix.O_RDONLY, 0)
	expect.OK(t, unix.Unlink(p), "unlink")
	again := expect.Open(t, fmt.Sprintf("/proc/self/fd/%d", f.Fd), unix.O_RDWR, 0)
	again.Pwrite([]byte("C"), 0)
	expect.Bytes(t, f.Pread(20, 0), []byte("Contents"), "contents through the first descriptor")
	again.Close()
	expect.Bytes(t, f.Pread(20, 0), []byte("Contents"), "contents after the second was closed")
}

// TestUnlinkedFilesAreCounted: a file that has lost its name counts until it is closed, then no more.
func TestUnlinkedFilesAreCounted(t *testing.T) {
	d, dir := bucket(t)
	inUse := func() uint64 {
		t.Helper()
		var st unix.Statfs_t
		expect.OK(t, unix.Statfs(dir, &st), "statfs")
		return st.Files - st.Ffree
	}
	before := inUse()
	open := make([]*expect.File, 20)
	for i := range open {
		p := filepath.Join(dir, fmt.Sprint(i))
		open[i] = expect.Create(t, p)
		open[i].Pwrite(expect.Random(uint64(i), 100_000), 0)
		open[i].Sync()
		expect.OK(t, unix.Unlink(p), "unlink")
	}
	expect.Equal(t, inUse(), before+20, "files in use while 20 without a name are open")
	for _, f := range open {
		f.Close()
	}
	d.Remount()
	expect.Equal(t, inUse(), before, "files in use after they were closed")
}

// TestRemovedWhileListed: files of a directory that is being emptied by name stay readable to who has them open.
func TestRemovedWhileListed(t *testing.T) {
	dir := place(t)
	sub := expect.Mkdir(t, filepath.Join(dir, "sub"))
	open := make([]*expect.File, 50)
	for i := range open {
		p := filepath.Join(sub, fmt.Sprint(i))
		expect.Write(t, p, fmt.Append(nil, i))
		open[i] = expect.Open(t, p, unix.O_RDONLY, 0)
	}
	drive.Must(t, "rm", "-r", sub)
	for i, f := range open {
		expect.Bytes(t, f.Pread(10, 0), fmt.Append(nil, i), "contents of a removed file")
	}
	_, err := os.Stat(sub)
	expect.Errno(t, err, unix.ENOENT, "stat of the removed directory")
}

// TestRemovedInPieces: files whose data was stored in many pieces, or is much, are deleted whole, also when the drive
// is unmounted while that is under way, and the store is clean afterwards.
func TestRemovedInPieces(t *testing.T) {
	d, dir := bucket(t)
	for round := range 2 {
		for file := range 3 {
			f := expect.Create(t, filepath.Join(dir, fmt.Sprint(file)))
			for i := range 60 << (2 * file) {
				f.Pwrite([]byte("scattered"), int64(i*i*5003))
				if i%16 == 0 {
					f.Sync()
				}
			}
			f.Close()
		}
		big := expect.Create(t, filepath.Join(dir, "big"))
		big.Pwrite(expect.Random(1, 32<<20), 0)
		big.Close()
		if round == 0 {
			d.Remount() // deleted without having been read
		}
		for _, name := range expect.Names(t, dir) {
			expect.OK(t, unix.Unlink(filepath.Join(dir, name)), "unlink")
		}
		d.Unmount()
		d.Fsck()
		d.Mount()
		expect.Equal(t, len(expect.Names(t, dir)), 0, "names")
		drive.Must(t, drive.Binary(t), "sync", dir)
		d.Unmount()
		d.Fsck()
		d.Mount()
	}
}
