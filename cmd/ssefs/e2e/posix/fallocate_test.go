package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

const (
	keepSize  = unix.FALLOC_FL_KEEP_SIZE
	punchHole = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	zeroRange = unix.FALLOC_FL_ZERO_RANGE
)

func TestFallocateAllocates(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	f := expect.Create(t, p)
	f.Pwrite([]byte("data"), 0)
	expect.OK(t, unix.Fallocate(f.Fd, keepSize, 0, 1<<20), "allocate, keeping the size")
	expect.Equal(t, f.Stat().Size, 4, "size after KEEP_SIZE")
	expect.OK(t, unix.Fallocate(f.Fd, 0, 100, 200), "allocate")
	expect.Equal(t, f.Stat().Size, 300, "size after allocation")
	expect.OK(t, unix.Fallocate(f.Fd, 0, 0, 10), "allocate within the file")
	expect.Equal(t, f.Stat().Size, 300, "size after allocation within the file")
	want := make([]byte, 300)
	copy(want, "data")
	f.Close()
	d.Remount()
	expect.Contents(t, p, want)
	f = expect.Open(t, p, unix.O_RDWR, 0)
	expect.Errno(t, unix.Fallocate(f.Fd, 0, 0, 0), unix.EINVAL, "allocate nothing")
	expect.Errno(t, unix.Fallocate(f.Fd, 0, -1, 10), unix.EINVAL, "allocate before the start")
	expect.Errno(t, unix.Fallocate(f.Fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 10), unix.EOPNOTSUPP, "punch without KEEP_SIZE")
	f.Close()
	f = expect.Open(t, p, unix.O_RDONLY, 0)
	expect.Errno(t, unix.Fallocate(f.Fd, 0, 0, 10), unix.EBADF, "allocate through a descriptor open for reading")
}

// TestFallocateAgainstModel punches and zeroes ranges of every alignment, in synced and in dirty data, against bytes
// in memory.
func TestFallocateAgainstModel(t *testing.T) {
	d, dir := bucket(t)
	const size = 3 << 20
	for name, mode := range map[string]uint32{"punch": punchHole, "zero": zeroRange, "zero, keeping the size": zeroRange | keepSize} {
		p := filepath.Join(dir, name)
		want := expect.Random(1, size)
		expect.Write(t, p, want)
		f := expect.Open(t, p, unix.O_RDWR, 0)
		f.Sync()
		for i, r := range []region{{0, 1}, {100, 4096}, {4096, 8192}, {10_000, 10_001}, {20_000, 45_000}, {1 << 20, 2 << 20},
			{1<<20 - 5, 2<<20 + 5}, {size - 5000, size}} {
			patch := expect.Random(uint64(i+2), 9000)
			f.Pwrite(patch, r.from/2)
			copy(want[r.from/2:], patch)
			expect.OK(t, unix.Fallocate(f.Fd, mode, r.from, r.to-r.from), "%s %v", name, r)
			clear(want[r.from:r.to])
			expect.Bytes(t, f.Pread(size+1, 0), want, "after %s %v", name, r)
		}
		// Beyond the end only ZERO_RANGE without KEEP_SIZE extends the file.
		expect.OK(t, unix.Fallocate(f.Fd, mode, size-10, 5000), "%s across the end", name)
		clear(want[size-10:])
		if mode == zeroRange {
			want = append(want, make([]byte, 4990)...)
		}
		expect.Bytes(t, f.Pread(2*size, 0), want, "after %s across the end", name)
		f.Close()
		d.Remount()
		expect.Contents(t, p, want)
	}
}

func TestPunchMakesHoles(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	const mb = 1 << 20
	expect.Write(t, p, expect.Random(1, 8*mb))
	f := expect.Open(t, p, unix.O_RDWR, 0)
	f.Sync()
	full := f.Stat().Blocks
	expect.OK(t, unix.Fallocate(f.Fd, punchHole, mb, 6*mb), "punch")
	sameRegions(t, f, "after the punch", region{0, mb}, region{7 * mb, 8 * mb})
	f.Sync()
	if got := f.Stat().Blocks; got > full/2 {
		t.Errorf("three quarters punched out and %d of %d blocks left", got, full)
	}
	f.Close()
	d.Remount()
	f = expect.Open(t, p, unix.O_RDWR, 0)
	sameRegions(t, f, "after remount", region{0, mb}, region{7 * mb, 8 * mb})
}
