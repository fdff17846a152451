package posix

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// mapFile maps the first n bytes of a file.
func mapFile(t *testing.T, f *expect.File, n, prot, flags int) []byte {
	t.Helper()
	m, err := unix.Mmap(f.Fd, 0, n, prot, flags)
	expect.OK(t, err, "mmap")
	t.Cleanup(func() { _ = unix.Munmap(m) }) // fails harmlessly where the test did it
	return m
}

func TestSharedMapping(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	want := expect.Random(1, 100_000)
	expect.Write(t, p, want)
	f := expect.Open(t, p, unix.O_RDWR, 0)
	m := mapFile(t, f, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	expect.Bytes(t, m, want, "the mapping")
	// Writes show in the mapping and the other way round, at once.
	f.Pwrite([]byte("written"), 5000)
	copy(want[5000:], "written")
	expect.Bytes(t, m, want, "the mapping after a write")
	copy(m[70_000:], "mapped")
	copy(want[70_000:], "mapped")
	expect.Bytes(t, f.Pread(len(want), 0), want, "the file after a change of the mapping")
	expect.OK(t, unix.Msync(m, unix.MS_SYNC), "msync")
	d2 := expect.Stat(t, p)
	tick(t)
	// A mapped write moves mtime by the next msync at the latest.
	m[0]++
	want[0]++
	expect.OK(t, unix.Msync(m, unix.MS_SYNC), "msync")
	expect.Equal(t, later(expect.Stat(t, p).Mtim, d2.Mtim), true, "a mapped write moved mtime")
	// The rest of the last page is nobody's: it does not reach the file when that grows.
	whole := m[:cap(m)]
	if len(whole) > len(want) {
		copy(whole[len(want):], "behind the end")
	}
	f.Close() // the mapping lives on
	m[1]++
	want[1]++
	expect.OK(t, unix.Munmap(m), "munmap")
	expect.Contents(t, p, want)
	expect.OK(t, unix.Truncate(p, int64(len(want))+1000), "truncate")
	want = append(want, make([]byte, 1000)...)
	d.Remount()
	expect.Contents(t, p, want)
}

func TestPrivateMapping(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	want := expect.Random(1, 10_000)
	expect.Write(t, p, want)
	f := expect.Open(t, p, unix.O_RDONLY, 0)
	m := mapFile(t, f, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	copy(m, "private")
	expect.Contents(t, p, want)
	expect.Bytes(t, m[:7], []byte("private"), "the private copy")
	expect.Bytes(t, m[7:], want[7:], "the rest of the mapping")
	expect.OK(t, unix.Munmap(m), "munmap")
	f.Close()
	d.Remount()
	expect.Contents(t, p, want)
}

// TestMappingOfSparseFile: touching a hole through a shared mapping makes data of it.
func TestMappingOfSparseFile(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	f := expect.Create(t, p)
	const mb = 1 << 20
	f.Truncate(4 * mb)
	m := mapFile(t, f, 4*mb, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	expect.Bytes(t, m[mb:mb+4096], make([]byte, 4096), "a mapped hole")
	copy(m[3*mb+10:], "data")
	expect.OK(t, unix.Msync(m, unix.MS_SYNC), "msync")
	expect.OK(t, unix.Munmap(m), "munmap")
	f.Sync()
	sameRegions(t, f, "after a mapped write", region{3 * mb, 3*mb + 4096})
	f.Close()
	d.Remount()
	f = expect.Open(t, p, unix.O_RDONLY, 0)
	expect.Bytes(t, f.Pread(20, 3*mb+5), []byte("\x00\x00\x00\x00\x00data\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"the data after remount")
}

// touchMapping is the helper that maps a file and, told to, changes or reads it there.
func touchMapping(p *drive.Peer) error {
	fd, err := unix.Open(p.Args[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	m, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	if err := p.Say("mapped"); err != nil {
		return err
	}
	for {
		line, err := p.Hear()
		if err != nil {
			return nil
		}
		if line == "read" {
			line = string(bytes.TrimRight(m[4090:4110], "\x00"))
		} else {
			copy(m[4090:], line)
		}
		if err := p.Say(line); err != nil {
			return err
		}
	}
}

// TestMappingBetweenProcesses: two processes see each other's changes through their mappings, across a page boundary.
func TestMappingBetweenProcesses(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, make([]byte, 8192))
	a, b := drive.Start(t, "map", p), drive.Start(t, "map", p)
	a.Expect("mapped")
	b.Expect("mapped")
	a.Say("from the first")
	a.Expect("from the first")
	b.Say("read")
	b.Expect("from the first")
	b.Say("FROM")
	b.Expect("FROM")
	a.Say("read")
	a.Expect("FROM the first")
	a.Wait()
	b.Wait()
	expect.Bytes(t, expect.Read(t, p)[4090:4104], []byte("FROM the first"), "the file")
}

// TestManyMappedWrites: many pages changed in an order of their own, written back by the kernel when it likes.
func TestManyMappedWrites(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	const pages = 2000
	f := expect.Create(t, p)
	f.Truncate(pages * 4096)
	m := mapFile(t, f, pages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	for i := range pages {
		at := i * 769 % pages
		copy(m[at*4096+i%4000:], fmt.Sprint("page ", at))
	}
	want := bytes.Clone(m)
	expect.OK(t, unix.Munmap(m), "munmap")
	f.Close()
	d.Remount()
	expect.Contents(t, p, want)
}
