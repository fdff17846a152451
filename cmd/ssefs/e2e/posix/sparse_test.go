package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// region is a run of bytes of a file that holds data, or not.
type region struct {
	from, to int64
}

// dataRegions returns the runs of data as SEEK_DATA and SEEK_HOLE tell them.
func dataRegions(t *testing.T, f *expect.File) []region {
	t.Helper()
	var found []region
	size := f.Stat().Size
	for at := int64(0); at < size; {
		from, err := unix.Seek(f.Fd, at, unix.SEEK_DATA)
		if err != nil {
			expect.Errno(t, err, unix.ENXIO, "SEEK_DATA behind the last data")
			break
		}
		to := f.SeekTo(from, unix.SEEK_HOLE)
		if to <= from || to > size {
			t.Fatalf("SEEK_HOLE from %d, where data is, led to %d of %d", from, to, size)
		}
		found = append(found, region{from, to})
		at = to
	}
	return found
}

// sameRegions fails unless the regions of data are want.
func sameRegions(t *testing.T, f *expect.File, when string, want ...region) {
	t.Helper()
	got := dataRegions(t, f)
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = got[i] == want[i]
	}
	if !same {
		t.Errorf("regions of data %s: got %v, want %v", when, got, want)
	}
}

func TestSeekHoleAndData(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "sparse")
	f := expect.Create(t, p)
	const mb = 1 << 20
	f.Truncate(10 * mb)
	sameRegions(t, f, "of an empty sparse file")
	f.Pwrite(expect.Random(1, mb), 2*mb)
	f.Pwrite(expect.Random(2, 8192), 5*mb)
	want := []region{{2 * mb, 3 * mb}, {5 * mb, 5*mb + 8192}}
	sameRegions(t, f, "with data not yet synced", want...)
	f.Sync()
	sameRegions(t, f, "after fsync", want...)
	// A few more bytes, dirty, extend what is on disk.
	f.Pwrite([]byte("tail"), 5*mb+8192)
	f.Pwrite([]byte("x"), 10*mb-1)
	want = []region{{2 * mb, 3 * mb}, {5 * mb, 5*mb + 12288}, {10*mb - 4096, 10 * mb}}
	sameRegions(t, f, "with dirty data behind synced data", want...)
	expect.Equal(t, f.SeekTo(2*mb+77, unix.SEEK_DATA), 2*mb+77, "SEEK_DATA within data")
	expect.Equal(t, f.SeekTo(77, unix.SEEK_HOLE), 77, "SEEK_HOLE within a hole")
	expect.Equal(t, f.SeekTo(10*mb-1, unix.SEEK_HOLE), 10*mb, "SEEK_HOLE in the last block")
	for _, whence := range []int{unix.SEEK_DATA, unix.SEEK_HOLE} {
		_, err := unix.Seek(f.Fd, 10*mb, whence)
		expect.Errno(t, err, unix.ENXIO, "seek %d at the end", whence)
		_, err = unix.Seek(f.Fd, 11*mb, whence)
		expect.Errno(t, err, unix.ENXIO, "seek %d behind the end", whence)
	}
	f.Close()
	d.Remount()
	f = expect.Open(t, p, unix.O_RDONLY, 0)
	sameRegions(t, f, "after remount", want...)
	// Holes take no space.
	blocks := f.Stat().Blocks * 512
	if blocks < mb || blocks > 3*mb {
		t.Errorf("a file with 1 MiB and 20 KiB of data in 10 MiB takes %d bytes", blocks)
	}
	expect.Bytes(t, f.Pread(2*mb, 0), make([]byte, 2*mb), "the first hole")
	expect.Bytes(t, f.Pread(mb, 2*mb), expect.Random(1, mb), "the first data")
}

// TestHugeSparseFile: 16 TiB, the bound of issue and format, less the last byte that ext4 has not either.
func TestHugeSparseFile(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "huge")
	const size = 16<<40 - 4096
	f := expect.Create(t, p)
	offsets := []int64{0, 1<<31 - 2, 1<<32 - 2, 1 << 40, size - 5}
	for i, off := range offsets {
		f.Pwrite([]byte{'d', 'a', 't', 'a', byte(i)}, off)
	}
	expect.Equal(t, f.Stat().Size, size, "size")
	f.Close()
	d.Remount()
	f = expect.Open(t, p, unix.O_RDWR, 0)
	expect.Equal(t, f.Stat().Size, size, "size after remount")
	for i, off := range offsets {
		expect.Bytes(t, f.Pread(5, off), []byte{'d', 'a', 't', 'a', byte(i)}, "data at %d", off)
	}
	expect.Bytes(t, f.Pread(4096, 1<<41), make([]byte, 4096), "a hole")
	expect.Equal(t, f.SeekTo(1<<33, unix.SEEK_DATA), 1<<40, "the next data")
	if got := f.Stat().Blocks * 512; got > 1<<20 {
		t.Errorf("five small writes take %d bytes", got)
	}
	f.Truncate(1 << 33)
	f.Truncate(size)
	expect.Bytes(t, f.Pread(5, 1<<40), make([]byte, 5), "data that was cut off")
	f.Close()
	expect.OK(t, unix.Unlink(p), "unlink")
}

// TestLargestOffset: a write at the largest offset there is fails at fsync at the latest, or is kept.
func TestLargestOffset(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	f := expect.Create(t, p)
	const off = 1<<63 - 2
	_, err := unix.Pwrite(f.Fd, []byte("x"), off)
	if err == nil {
		err = unix.Fsync(f.Fd)
	}
	if err != nil {
		expect.Errno(t, err, unix.EFBIG, "write at the largest offset there is")
		return
	}
	f.Close()
	d.Remount()
	f = expect.Open(t, p, unix.O_RDONLY, 0)
	expect.Equal(t, f.Stat().Size, off+1, "size")
	expect.Bytes(t, f.Pread(2, off-1), []byte("\x00x"), "the last bytes")
}
