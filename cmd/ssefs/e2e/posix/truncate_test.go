package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestTruncate goes through sizes up and down. What was cut off never comes back: it reads as zeros, before and after
// a sync and a remount.
func TestTruncate(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	data := expect.Random(1, 3<<20)
	expect.Write(t, p, data)
	want := data
	for i, size := range []int{2<<20 + 5000, 3 << 20, 1<<20 + 1, 1 << 20, 1<<20 + 4096, 4097, 4096, 8192, 4095, 5000, 1, 100_000, 0, 70_000} {
		expect.OK(t, unix.Truncate(p, int64(size)), "truncate to %d", size)
		grown := make([]byte, size)
		copy(grown, want)
		want = grown
		expect.Contents(t, p, want)
		switch i % 3 {
		case 0:
			f := expect.Open(t, p, unix.O_RDWR, 0)
			f.Sync()
			f.Close()
		case 1:
			d.Remount()
		}
		expect.Contents(t, p, want)
	}
}

// TestTruncateOfUnsyncedData: as above with data that is still dirty, in the kernel or in the daemon.
func TestTruncateOfUnsyncedData(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	f := expect.Create(t, p)
	f.Pwrite(expect.Random(1, 20_000), 0)
	f.Truncate(5000)
	f.Pwrite([]byte("end"), 15_000)
	want := make([]byte, 15_003)
	copy(want, expect.Random(1, 5000))
	copy(want[15_000:], "end")
	expect.Bytes(t, f.Pread(20_000, 0), want, "cut and extended by a write")
	f.Truncate(0)
	f.Truncate(20_000)
	expect.Bytes(t, f.Pread(20_000, 0), make([]byte, 20_000), "cut to nothing and extended")
	f.Pwrite(expect.Random(2, 4096), 4096)
	f.Truncate(4196)
	f.Truncate(10_000)
	want = make([]byte, 10_000)
	copy(want[4096:4196], expect.Random(2, 100))
	f.Close()
	d.Remount()
	expect.Contents(t, p, want)
}

func TestTruncateErrors(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("contents"))
	expect.Errno(t, unix.Truncate(dir, 0), unix.EISDIR, "truncate a directory")
	expect.Errno(t, unix.Truncate(p, -1), unix.EINVAL, "truncate to less than nothing")
	expect.Errno(t, unix.Truncate(p+"x", 0), unix.ENOENT, "truncate nothing")
	f := expect.Open(t, p, unix.O_RDONLY, 0)
	expect.Errno(t, unix.Ftruncate(f.Fd, 0), unix.EINVAL, "ftruncate of a descriptor open for reading")
	err := drive.As(t, drive.User(1001), func() error { return unix.Truncate(p, 0) })
	expect.Errno(t, err, unix.EACCES, "truncate without w")
	expect.OK(t, unix.Mkfifo(p+".fifo", 0o644), "mkfifo")
	expect.Errno(t, unix.Truncate(p+".fifo", 0), unix.EINVAL, "truncate a fifo")
	expect.Contents(t, p, []byte("contents"))
}

// TestSyncFlags: O_SYNC, O_DSYNC and RWF_DSYNC writes work as writes do; that they are durable is the durability
// tests' business.
func TestSyncFlags(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	for i, flag := range []int{unix.O_SYNC, unix.O_DSYNC, unix.O_SYNC | unix.O_APPEND} {
		f := expect.Open(t, p, unix.O_WRONLY|flag, 0)
		f.Pwrite(expect.Random(uint64(i), 5000), int64(i*5000))
		f.Close()
	}
	for i := range 3 {
		expect.Bytes(t, expect.Read(t, p)[i*5000:(i+1)*5000], expect.Random(uint64(i), 5000), "part %d", i)
	}
	f := expect.Open(t, p, unix.O_RDWR, 0)
	expect.OK(t, unix.Fdatasync(f.Fd), "fdatasync")
	expect.OK(t, unix.SyncFileRange(f.Fd, 0, 4096, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER), "sync_file_range")
	expect.OK(t, unix.Syncfs(f.Fd), "syncfs")
	f.Close()
	g := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	g.Sync()
	expect.OK(t, unix.Fdatasync(g.Fd), "fdatasync of a directory")
	expect.OK(t, unix.Mkfifo(p+".fifo", 0o600), "mkfifo")
}
