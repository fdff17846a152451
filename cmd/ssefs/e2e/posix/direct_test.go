package posix

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// aligned returns n bytes at an address that direct I/O takes.
func aligned(t *testing.T, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	expect.OK(t, err, "map memory")
	t.Cleanup(func() { expect.OK(t, unix.Munmap(b), "unmap memory") })
	return b
}

// TestDirectIO: what goes by the cache and what goes around it are the same file.
func TestDirectIO(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	direct := expect.Open(t, p, unix.O_RDWR|unix.O_CREAT|unix.O_DIRECT, 0o644)
	buf := aligned(t, 2<<20)
	data := expect.Random(1, len(buf))
	copy(buf, data)
	direct.Pwrite(buf, 0)
	cached := expect.Open(t, p, unix.O_RDWR, 0)
	expect.Bytes(t, cached.Pread(len(data), 0), data, "read by the cache what was written directly")
	// A cached write, not yet synced, is seen by a direct read.
	patch := expect.Random(2, 10_000)
	cached.Pwrite(patch, 5000)
	copy(data[5000:], patch)
	clear(buf)
	n, err := unix.Pread(direct.Fd, buf, 0)
	expect.OK(t, err, "read directly")
	expect.Bytes(t, buf[:n], data, "read directly what was written by the cache")
	// A direct write is seen by a cached read although the pages were cached.
	copy(buf, expect.Random(3, 8192))
	direct.Pwrite(buf[:8192], 12288)
	copy(data[12288:], expect.Random(3, 8192))
	expect.Bytes(t, cached.Pread(len(data), 0), data, "read by the cache after a direct write")
	// At the end of the file a direct read is cut.
	cached.Truncate(10_000)
	n, err = unix.Pread(direct.Fd, buf[:16384], 8192)
	expect.OK(t, err, "read directly across the end")
	expect.Bytes(t, buf[:n], data[8192:10_000], "direct read across the end")
	// A direct write behind the end extends the file, with a hole between.
	direct.Pwrite(buf[:4096], 20480)
	expect.Equal(t, cached.Stat().Size, 24576, "size after a direct write behind the end")
	expect.Bytes(t, cached.Pread(10480, 10_000), make([]byte, 10480), "the hole")
	direct.Close()
	cached.Close()
	d.Remount()
	expect.Bytes(t, expect.Read(t, p)[:10_000], data[:10_000], "contents after remount")
}
