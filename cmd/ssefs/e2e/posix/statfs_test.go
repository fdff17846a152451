package posix

import (
	"fmt"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestStatfs: the numbers are those of the file system behind, and what is written shows in them.
func TestStatfs(t *testing.T) {
	d, dir := bucket(t)
	statfs := func(p string) unix.Statfs_t {
		t.Helper()
		var st unix.Statfs_t
		expect.OK(t, unix.Statfs(p, &st), "statfs %s", p)
		return st
	}
	st, behind := statfs(dir), statfs(filepath.Dir(d.Store()))
	expect.Equal(t, st.Namelen, 255, "longest name")
	total, free := st.Blocks*uint64(st.Frsize), st.Bavail*uint64(st.Frsize)
	behindTotal, behindFree := behind.Blocks*uint64(behind.Frsize), behind.Bavail*uint64(behind.Frsize)
	if total == 0 || total > behindTotal {
		t.Errorf("total is %d, of %d that the file system behind has", total, behindTotal)
	}
	// Others write there too: a tenth of slack.
	if free > behindFree+behindTotal/10 || free+1<<30+behindTotal/10 < behindFree {
		t.Errorf("free is %d, of %d that the file system behind has", free, behindFree)
	}
	if st.Bfree < st.Bavail || st.Blocks < st.Bfree {
		t.Errorf("blocks %d, free %d, available %d contradict each other", st.Blocks, st.Bfree, st.Bavail)
	}
	if st.Ffree == 0 || st.Files <= st.Ffree {
		t.Errorf("files %d, free %d", st.Files, st.Ffree)
	}
	for i := range 10 {
		expect.Write(t, filepath.Join(dir, fmt.Sprint(i)), nil)
	}
	after := statfs(dir)
	expect.Equal(t, after.Files-after.Ffree, st.Files-st.Ffree+10, "files in use after ten more")
	expect.Equal(t, statfs(d.Path()).Blocks, after.Blocks, "total seen from the root")
	drive.Must(t, "df", "-h", dir)
	// What a file takes shows in its blocks once it is written.
	f := expect.Create(t, filepath.Join(dir, "big"))
	f.Pwrite(expect.Random(1, 4<<20), 0)
	f.Sync()
	if got := f.Stat().Blocks * 512; got < 4<<20 || got > 5<<20 {
		t.Errorf("4 MiB take %d bytes", got)
	}
}
