package posix

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// entry is what getdents64 tells of one name.
type entry struct {
	name string
	ino  uint64
	kind byte
	next int64 // the position behind it, for lseek
}

// someEntries reads one buffer of entries from an open directory; none mean the end.
func someEntries(t *testing.T, fd, size int) []entry {
	t.Helper()
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	expect.OK(t, err, "getdents")
	var found []entry
	for b := buf[:n]; len(b) > 0; {
		length := binary.NativeEndian.Uint16(b[16:])
		name := b[19:length]
		if i := slices.Index(name, 0); i >= 0 {
			name = name[:i]
		}
		found = append(found, entry{string(name), binary.NativeEndian.Uint64(b), b[18], int64(binary.NativeEndian.Uint64(b[8:]))})
		b = b[length:]
	}
	return found
}

// readDirectory lists a directory with dot and dot-dot.
func readDirectory(t *testing.T, path string) []entry {
	t.Helper()
	f := expect.Open(t, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	var all []entry
	for {
		some := someEntries(t, f.Fd, 4096)
		if len(some) == 0 {
			f.Close()
			return all
		}
		all = append(all, some...)
	}
}

func TestReaddirTells(t *testing.T) {
	d, dir := bucket(t)
	expect.Write(t, filepath.Join(dir, "file"), nil)
	expect.Mkdir(t, filepath.Join(dir, "dir"))
	expect.OK(t, unix.Symlink("x", filepath.Join(dir, "link")), "symlink")
	expect.OK(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600), "mkfifo")
	expect.OK(t, unix.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR, 0), "mknod")
	kinds := map[string]byte{".": unix.DT_DIR, "..": unix.DT_DIR, "file": unix.DT_REG, "dir": unix.DT_DIR, "link": unix.DT_LNK,
		"fifo": unix.DT_FIFO, "device": unix.DT_CHR}
	for range 2 {
		entries := readDirectory(t, dir)
		expect.Equal(t, len(entries), len(kinds), "entries")
		for _, e := range entries {
			expect.Equal(t, e.kind, kinds[e.name], "type of %s", e.name)
			expect.Equal(t, e.ino, expect.Lstat(t, filepath.Join(dir, e.name)).Ino, "inode of %s", e.name)
		}
		d.Remount()
	}
}

// TestReaddirWhileChanging: a name that is there throughout is listed exactly once, one that never was is not, and
// those that come or go are listed once at most.
func TestReaddirWhileChanging(t *testing.T) {
	dir := place(t)
	const steady = 1500
	for i := range steady {
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint("steady-", i)), unix.S_IFREG|0o644, 0), "mknod")
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint("going-", i)), unix.S_IFREG|0o644, 0), "mknod")
	}
	f := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	seen := map[string]int{}
	for i := 0; ; i++ {
		some := someEntries(t, f.Fd, 2048)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			seen[e.name]++
		}
		for j := i * 20; j < min(steady, i*20+20); j++ {
			expect.OK(t, unix.Unlink(filepath.Join(dir, fmt.Sprint("going-", j))), "unlink")
			expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint("coming-", j)), unix.S_IFREG|0o644, 0), "mknod")
		}
	}
	for i := range steady {
		expect.Equal(t, seen[fmt.Sprint("steady-", i)], 1, "times that steady-%d was listed", i)
	}
	for name, n := range seen {
		expect.Equal(t, n, 1, "times that %s was listed", name)
	}
	expect.Equal(t, seen["."]+seen[".."], 2, "dot and dot-dot")
}

// TestRemoveWhileListing: the loop of rm -r, which removes what it has listed and reads on, empties a directory.
func TestRemoveWhileListing(t *testing.T) {
	dir := place(t)
	const files = 2000
	for i := range files {
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o644, 0), "mknod")
	}
	f := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	removed := 0
	for {
		some := someEntries(t, f.Fd, 1024)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			if e.name != "." && e.name != ".." {
				expect.OK(t, unix.Unlink(filepath.Join(dir, e.name)), "unlink %s", e.name)
				removed++
			}
		}
	}
	expect.Equal(t, removed, files, "files removed in one listing")
	// Read from the start again, the same descriptor shows the new state.
	f.SeekTo(0, unix.SEEK_SET)
	expect.Equal(t, len(someEntries(t, f.Fd, 1024)), 2, "entries left")
}

// TestSeekInDirectory: every position that a listing told leads, in any order and on any descriptor, to the entries
// that followed it, also after others have gone.
func TestSeekInDirectory(t *testing.T) {
	d, dir := bucket(t)
	for i := range 500 {
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o644, 0), "mknod")
	}
	all := readDirectory(t, dir)
	expect.Equal(t, len(all), 502, "entries")
	check := func() {
		t.Helper()
		f := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		for i := range all {
			i = i * 197 % len(all)
			f.SeekTo(all[i].next, unix.SEEK_SET)
			some := someEntries(t, f.Fd, 512)
			if i == len(all)-1 {
				expect.Equal(t, len(some), 0, "entries behind the last")
				continue
			}
			if len(some) == 0 || some[0].name != all[i+1].name {
				t.Fatalf("behind entry %d came %v, want %s", i, some, all[i+1].name)
			}
		}
		f.Close()
	}
	check()
	d.Remount()
	check()
	kept := all[:0:0]
	for i, e := range all {
		if i%2 == 1 && e.name != "." && e.name != ".." {
			expect.OK(t, unix.Unlink(filepath.Join(dir, e.name)), "unlink")
			continue
		}
		kept = append(kept, e)
	}
	all = kept
	check()
}

// TestFsyncWhileListing: an open listing survives changes made durable under it.
func TestFsyncWhileListing(t *testing.T) {
	dir := place(t)
	for i := range 600 {
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint(i)), unix.S_IFREG|0o644, 0), "mknod")
	}
	f := expect.Open(t, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	seen := map[string]int{}
	for i := 0; ; i++ {
		some := someEntries(t, f.Fd, 1024)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			seen[e.name]++
		}
		expect.OK(t, unix.Mknod(filepath.Join(dir, fmt.Sprint("more-", i)), unix.S_IFREG|0o644, 0), "mknod")
		f.Sync()
	}
	for i := range 600 {
		expect.Equal(t, seen[fmt.Sprint(i)], 1, "times that %d was listed", i)
	}
}
