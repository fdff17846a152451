package durability

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestPeriodicCommit: changes become durable by themselves once the daemon has them.
func TestPeriodicCommit(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.OK(t, unix.Mkdir(filepath.Join(b, "dir"), 0o755), "mkdir")
	expect.OK(t, os.Symlink("x", filepath.Join(b, "link")), "symlink")
	data := expect.Random(1, 200_000)
	expect.Write(t, filepath.Join(b, "file"), data) // its close hands the data over
	f := expect.Create(t, filepath.Join(b, "open"))
	f.Pwrite(data, 0)
	expect.OK(t, unix.Syncfs(f.Fd), "syncfs") // hands over what is dirty, and waits for no commit
	d.AwaitCommit()
	d.Kill()
	f.Drop()
	d.Fsck()
	d.Mount()
	expect.Stat(t, filepath.Join(b, "dir"))
	expect.Lstat(t, filepath.Join(b, "link"))
	expect.Contents(t, filepath.Join(b, "file"), data)
	expect.Contents(t, filepath.Join(b, "open"), data)
}

// TestLengthBehindAHole: a file that fallocate makes longer right after a hole was made in it, which might be data on its
// way, has that length after a commit in the background and a clean unmount.
func TestLengthBehindAHole(t *testing.T) {
	d := drive.New(t, drive.Options{})
	path := filepath.Join(d.Bucket("b"), "file")
	f := expect.Create(t, path)
	f.Pwrite(expect.Random(1, 4096), 3<<20)
	f.Sync()
	expect.OK(t, unix.Fallocate(f.Fd, 0, 0, 6<<20), "fallocate")
	d.AwaitCommit()
	f.Close()
	d.Unmount()
	d.Fsck()
	d.Mount()
	if size := expect.Stat(t, path).Size; size != 6<<20 {
		t.Errorf("%d bytes, want %d", size, 6<<20)
	}
}

// TestOrphans: files without a name that were open when the daemon died are gone after it, with all that they took.
func TestOrphans(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "stays"), []byte("x"))
	inUse := func() uint64 {
		t.Helper()
		var st unix.Statfs_t
		expect.OK(t, unix.Statfs(b, &st), "statfs")
		return st.Files - st.Ffree
	}
	before := inUse()
	var open []*expect.File
	for i := range 10 {
		p := filepath.Join(b, fmt.Sprint(i))
		f := expect.Create(t, p)
		f.Pwrite(expect.Random(uint64(i), 2<<20), 0)
		f.Sync()
		switch i % 3 {
		case 0:
			expect.OK(t, unix.Unlink(p), "unlink")
		case 1:
			expect.Write(t, p+"-over", []byte("over"))
			expect.OK(t, unix.Rename(p+"-over", p), "rename over")
			expect.OK(t, unix.Unlink(p), "unlink")
		case 2:
			expect.OK(t, unix.Unlink(p), "unlink")
			tmp := expect.Open(t, b, unix.O_TMPFILE|unix.O_RDWR, 0o644)
			tmp.Pwrite(expect.Random(uint64(i), 100_000), 0)
			tmp.Sync()
			open = append(open, tmp)
		}
		open = append(open, f)
	}
	dir := expect.Open(t, b, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	dir.Sync()
	d.Kill()
	dir.Drop()
	for _, f := range open {
		f.Drop()
	}
	d.Fsck()
	d.Mount()
	expect.Equal(t, fmt.Sprint(expect.Names(t, b)), "[stays]", "names")
	expect.Equal(t, inUse(), before, "files in use")
	d.Remount()
	expect.Equal(t, inUse(), before, "files in use after remount")
}

// makeInOrder is the helper that makes directories and renames them, in order, until it fails, and says each that is
// done.
func makeInOrder(p *drive.Peer) error {
	for i := 0; ; i++ {
		name := filepath.Join(p.Args[0], fmt.Sprint(i))
		if err := unix.Mkdir(name, 0o755); err != nil {
			return nil
		}
		if err := unix.Rename(name, name+".done"); err != nil {
			return nil
		}
		if i == 0 || i == 200 {
			if err := p.Say("at work"); err != nil {
				return err
			}
		}
	}
}

// TestPrefixOfMetadata: of unsynced operations a prefix survives: never a later one without all that came before.
func TestPrefixOfMetadata(t *testing.T) {
	d := drive.New(t, drive.Options{})
	total := 0
	const rounds = 4
	for round := range rounds {
		b := d.Bucket(fmt.Sprint("round", round))
		drive.Must(t, drive.Binary(t), "sync", b)
		h := drive.Start(t, "prefix", b)
		h.Expect("at work")
		h.Expect("at work")
		time.Sleep(time.Duration(100+round*471) * time.Millisecond) // anywhere in an epoch
		if round == rounds-1 {
			d.AwaitCommit() // on a busy disk there may have been none
		}
		d.Kill()
		h.Wait()
		d.Fsck()
		d.Mount()
		there := map[string]bool{}
		for _, name := range expect.Names(t, b) {
			there[name] = true
		}
		for i := range len(there) {
			name := fmt.Sprint(i)
			last := i == len(there)-1
			if !there[name+".done"] && (!last || !there[name]) {
				t.Errorf("round %d: %d of %d directories survived, and %d is not among them", round, i, len(there), i)
				break
			}
		}
		t.Logf("round %d: %d directories survived", round, len(there))
		total += len(there)
	}
	if total == 0 {
		t.Errorf("nothing survived in any round: that shows nothing")
	}
}

// version is the contents of a file that tells its own number in every part, of a length that changes with it.
func version(i int) []byte {
	line := fmt.Appendf(nil, "version %06d\n", i)
	var b []byte
	for range 50 + i*37%400 {
		b = append(b, line...)
	}
	return b
}

// wholeVersion returns which version b is, and false if it is none.
func wholeVersion(b []byte) (int, bool) {
	var i int
	if n, err := fmt.Sscanf(string(b[:min(len(b), 15)]), "version %06d\n", &i); err != nil || n != 1 {
		return 0, false
	}
	return i, string(b) == string(version(i))
}

// replaceByRename is the helper that replaces a file as editors do, without fsync, until it fails. It says the versions
// that it has made durable now and then.
func replaceByRename(p *drive.Peer) error {
	target := p.Args[0]
	for i := 1; ; i++ {
		tmp := fmt.Sprint(target, ".tmp", i%3)
		if err := os.WriteFile(tmp, version(i), 0o644); err != nil {
			return nil
		}
		if err := os.Rename(tmp, target); err != nil {
			return nil
		}
		if i%20 != 0 {
			continue
		}
		fd, err := unix.Open(target, unix.O_RDONLY, 0)
		if err != nil {
			return nil
		}
		if err := unix.Fsync(fd); err != nil {
			return nil
		}
		if err := unix.Close(fd); err != nil {
			return nil
		}
		if err := p.Say(fmt.Sprint(i)); err != nil {
			return err
		}
	}
}

// TestReplaceByRename: a file that is replaced by writing another and renaming it over is, after a crash, some whole
// version: not older than the last that was synced, never empty, never torn.
func TestReplaceByRename(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	p := filepath.Join(b, "file")
	expect.Write(t, p, version(0))
	drive.Must(t, drive.Binary(t), "sync", b)
	for round := range 5 {
		h := drive.Start(t, "renames", p)
		var synced int
		for range 2 + round {
			_, err := fmt.Sscan(h.Hear(), &synced)
			expect.OK(t, err, "hear of a version")
		}
		time.Sleep(time.Duration(round*37) * time.Millisecond)
		d.Kill()
		for _, line := range h.Rest() {
			_, err := fmt.Sscan(line, &synced)
			expect.OK(t, err, "hear of a version")
		}
		d.Fsck()
		d.Mount()
		got := expect.Read(t, p)
		i, whole := wholeVersion(got)
		if !whole {
			t.Fatalf("round %d: the file has %d bytes, and they are no version: %.60q", round, len(got), got)
		}
		if i < synced {
			t.Errorf("round %d: version %d survived, and %d had been synced", round, i, synced)
		}
		t.Logf("round %d: synced %d, survived %d", round, synced, i)
		// The next round starts from a known state.
		expect.Write(t, p, version(0))
		drive.Must(t, drive.Binary(t), "sync", b)
	}
}

// TestRewriteInPlace: a file that is truncated and rewritten, without fsync, is afterwards an old or the new version or
// empty: a size never covers what was not written.
func TestRewriteInPlace(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	const files = 60
	name := func(i int) string { return filepath.Join(b, fmt.Sprint(i)) }
	for i := range files {
		expect.Write(t, name(i), version(i))
	}
	drive.Must(t, drive.Binary(t), "sync", b)
	for i := range files {
		expect.Write(t, name(i), version(i+1000))
		if i%10 == 0 {
			f := expect.Open(t, name(i), unix.O_RDWR, 0)
			f.Sync()
			f.Close()
		}
	}
	crash(d)
	for i := range files {
		got := expect.Read(t, name(i))
		v, whole := wholeVersion(got)
		switch {
		case i%10 == 0 && (!whole || v != i+1000):
			t.Errorf("file %d was synced and is %d bytes: %.60q", i, len(got), got)
		case len(got) == 0:
		case !whole || v != i && v != i+1000:
			t.Errorf("file %d is %d bytes, neither the old version nor the new: %.60q", i, len(got), got)
		}
	}
}
