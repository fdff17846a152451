package backup

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// churn is a program that changes a directory all the time: it makes files under temporary names, renames them, overwrites
// one file over and over, and removes all but the last ones.
type churn struct {
	dir  string
	stop atomic.Bool
	made atomic.Int64 // files that have got their names
	done chan error
}

// kept is how many files stay.
const kept = 12

func startChurn(t *testing.T, dir string) *churn {
	t.Helper()
	c := &churn{dir: expect.Mkdir(t, dir), done: make(chan error, 1)}
	go func() {
		for n := int64(1); !c.stop.Load(); n++ {
			if err := c.step(n); err != nil {
				c.done <- err
				return
			}
			c.made.Store(n)
		}
		c.done <- nil
	}()
	return c
}

// contents of the n-th file: now and then it is big.
func (c *churn) contents(n int64) []byte {
	size := 100 + int(n*37%9000)
	if n%10 == 0 {
		size = 2 << 20
	}
	return expect.Random(uint64(n), size)
}

func (c *churn) step(n int64) error {
	temp, name := filepath.Join(c.dir, fmt.Sprint("temp-", n)), filepath.Join(c.dir, fmt.Sprint("file-", n))
	if err := os.WriteFile(temp, c.contents(n), 0o644); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "overwritten"), c.contents(n*7), 0o644); err != nil {
		return err
	}
	if n <= kept {
		return nil
	}
	return os.Remove(filepath.Join(c.dir, fmt.Sprint("file-", n-kept)))
}

func (c *churn) end(t *testing.T) {
	t.Helper()
	c.stop.Store(true)
	expect.OK(t, <-c.done, "change %s", c.dir)
}

// check looks at what was restored of the directory: a moment of its history, not before least files had been made.
func (c *churn) check(t *testing.T, dir string, least int64) {
	t.Helper()
	var first, last int64
	there := map[int64]bool{}
	for _, name := range expect.Names(t, dir) {
		var n int64
		if _, err := fmt.Sscanf(name, "file-%d", &n); err != nil {
			continue // the one being written, or overwritten
		}
		there[n] = true
		if last = max(last, n); first == 0 || n < first {
			first = n
		}
		expect.Contents(t, filepath.Join(dir, name), c.contents(n))
	}
	if last < least {
		t.Errorf("%s: %d files were made before the backup, the newest in it is %d", dir, least, last)
	}
	if want := max(1, last-kept); first != want && first != want+1 || int64(len(there)) != last-first+1 {
		t.Errorf("%s: the files from %d to %d are there, %d of them", dir, first, last, len(there))
	}
}

// change makes the n-th set of changes to the files that are compared.
func change(t *testing.T, paths map[string]string, n int) {
	t.Helper()
	for name, dir := range paths {
		p := func(elem ...any) string { return filepath.Join(dir, strings.ReplaceAll(fmt.Sprint(elem...), " ", "")) }
		d := expect.Mkdir(t, p("dir", n))
		for i, size := range []int{0, 1, 4096, 70_000, 3 << 20} {
			expect.Write(t, filepath.Join(d, fmt.Sprint(size)), expect.Random(uint64(100*n+i), size))
		}
		longAgo := time.Unix(1_000_000_000+int64(n), 123_456_789)
		expect.OK(t, os.Chtimes(filepath.Join(d, "4096"), longAgo, longAgo), "set times")
		expect.SetXattr(t, filepath.Join(d, "1"), "user.note", fmt.Sprint(name, n))
		expect.SetXattr(t, d, "trusted.note", strings.Repeat("x", 3000))
		expect.OK(t, os.Symlink(fmt.Sprint("../dir", n, "/4096"), filepath.Join(d, "link")), "symlink")
		expect.OK(t, os.Link(filepath.Join(d, "70000"), filepath.Join(d, "hard")), "link")
		expect.OK(t, unix.Mkfifo(filepath.Join(d, "fifo"), 0o640), "mkfifo")
		expect.OK(t, os.Chown(filepath.Join(d, "4096"), 1000+n, 2000), "chown")
		sparse := expect.Create(t, filepath.Join(d, "sparse"))
		sparse.Pwrite([]byte("far"), 40<<20)
		sparse.Close()
		if n == 0 {
			continue
		}
		before := p("dir", n-1)
		expect.OK(t, os.Rename(filepath.Join(before, "4096"), filepath.Join(d, "moved")), "rename")
		expect.OK(t, os.Remove(filepath.Join(before, "70000")), "remove")
		expect.OK(t, os.Truncate(filepath.Join(before, "sparse"), 5), "truncate")
		big := expect.Open(t, filepath.Join(before, fmt.Sprint(3<<20)), unix.O_RDWR, 0)
		for i := range 5 {
			big.Pwrite(expect.Random(uint64(n), 5000), int64(i)*600_001)
		}
		big.Close()
		if n > 1 {
			expect.OK(t, os.RemoveAll(p("dir", n-2)), "remove a tree")
		}
	}
}

// TestChain makes a full backup and two incremental ones of a drive in use, restores each beginning of the chain and compares.
func TestChain(t *testing.T) {
	d := drive.New(t, drive.Options{})
	paths := buckets(t, d)
	dir := t.TempDir()
	var chain []string
	var trees []map[string]string
	var least []int64
	c := startChurn(t, filepath.Join(d.Bucket("churn"), "dir"))
	for n := range 3 {
		change(t, map[string]string{"aes": paths["aes"], "clear": paths["clear"], "managed": paths["managed"], "own": paths["own"]}, n)
		switch n {
		case 1:
			expect.SetXattr(t, paths["aes"], "user.sse.policy", "none")
			d.MustCLI("kms", "rotate", "--service-master-key")
			paths["late"] = d.Bucket("late")
			change(t, map[string]string{"late": paths["late"]}, 0)
		case 2:
			expect.OK(t, os.RemoveAll(paths["late"]), "remove a bucket")
			delete(paths, "late")
			d.MustCLI("kms", "rotate", "alias/acs/oss")
		}
		least = append(least, c.made.Load())
		file := filepath.Join(dir, fmt.Sprint(n))
		var args []string
		if n > 0 {
			args = []string{"--base", chain[n-1]}
		}
		gc := command(t, "gc", d.Store())
		expect.OK(t, gc.Start(), "start a collection of garbage")
		s := backup(t, d, file, args...)
		ends(t, gc)
		expect.Equal(t, gc.ProcessState.ExitCode(), 0, "exit code of gc")
		if n > 0 && s.Records >= s.Listed {
			t.Errorf("an incremental backup has %d of %d records", s.Records, s.Listed)
		}
		chain = append(chain, file)
		all := map[string]string{}
		for name, path := range paths {
			for file, text := range tree(t, path) {
				all[filepath.Join(name, file)] = text
			}
		}
		trees = append(trees, all)
	}
	c.end(t)
	d.Unmount()
	for n := range chain {
		r := mountRestored(t, d, restore(t, d, chain[:n+1]...))
		got := map[string]string{}
		for _, name := range expect.Names(t, r.Mountpoint()) {
			if name == "churn" {
				continue
			}
			for file, text := range tree(t, r.Path(name)) {
				got[filepath.Join(name, file)] = text
			}
		}
		sameTree(t, got, trees[n], fmt.Sprint("restored from ", n+1))
		c.check(t, r.Path("churn", "dir"), least[n])
		r.MustCLI("kms", "audit", "--verify")
		// New files under the keys that came with the backup.
		for _, name := range []string{"aes", "clear", "managed", "own"} {
			expect.Write(t, r.Path(name, "new"), []byte("written after the restore"))
		}
		r.Unmount()
	}
}

// TestGoingOn: after a restore the chain can be gone on with, from the restored store and from the original, but not from
// one to the other.
func TestGoingOn(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	dir := t.TempDir()
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, filepath.Join(b, "old"), expect.Random(1, 100_000))
	backup(t, d, p("full"))
	expect.Write(t, filepath.Join(b, "more"), expect.Random(2, 10_000))
	backup(t, d, p("one"), "--base", p("full"))
	r := mountRestored(t, d, restore(t, d, p("full"), p("one")))
	expect.Write(t, filepath.Join(b, "here"), []byte("in the original"))
	backup(t, d, p("two"), "--base", p("one"))
	expect.Write(t, r.Path("b", "there"), []byte("in the restored one"))
	backup(t, r, p("other two"), "--base", p("one"))
	want, other := tree(t, b), tree(t, r.Path("b"))
	sameTree(t, tree(t, mountRestored(t, d, restore(t, d, p("full"), p("one"), p("two"))).Path("b")), want, "the original")
	sameTree(t, tree(t, mountRestored(t, d, restore(t, d, p("full"), p("one"), p("other two"))).Path("b")), other, "the restored one")
	// Nor does a backup of the one follow from one of the other, unless all that differs is in it.
	for _, mixed := range []struct {
		of   *drive.Drive
		base string
		want map[string]string
	}{{r, "two", other}, {d, "other two", want}} {
		file := p("mixed " + mixed.base)
		switch result := mixed.of.CLI("backup", file, "--base", p(mixed.base)); result.Code {
		case 0:
			sameTree(t, tree(t, mountRestored(t, d, restore(t, d, p("full"), p("one"), p(mixed.base), file)).Path("b")), mixed.want, "mixed")
		case codeUsage:
			drive.OneLine(t, result)
			expect.Missing(t, file)
			expect.Missing(t, file+".partial")
		default:
			t.Errorf("mixed: exit %d: %s", result.Code, result.Stderr)
		}
	}
}

// TestUnmounted makes backups of stores that are mounted read-only and not at all, one with a passphrase, through pipes.
func TestUnmounted(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "file"), expect.Random(1, 2<<20))
	dir := t.TempDir()
	passphrase := filepath.Join(dir, "passphrase")
	expect.OK(t, os.WriteFile(passphrase, []byte("correct horse\n"), 0o600), "write a passphrase")
	d.MustCLI("key", "add", "--new-passphrase-file", passphrase)
	want := tree(t, b)
	d.Remount("-o", "ro")
	readOnly := backup(t, d, filepath.Join(dir, "ro"))
	d.Unmount()
	before := tree(t, d.Store())
	bin := drive.Binary(t)
	store := filepath.Join(dir, "store")
	script := fmt.Sprintf("set -o pipefail; %[1]s backup - --store %[2]s --key-file %[3]s | %[1]s restore - %[4]s --data --passphrase-file %[5]s",
		bin, d.Store(), d.KeyFile(), store, passphrase)
	if out := drive.Must(t, "bash", "-c", script); !strings.HasPrefix(out, "clean: ") {
		t.Errorf("restored through a pipe: %s", out)
	}
	for name, text := range tree(t, d.Store()) {
		if strings.HasPrefix(name, "keystore") || name == "volume.json" || name == "head" {
			expect.Equal(t, text, before[name], "%s after a backup of an unmounted store", name)
		}
	}
	offline := backup(t, d, filepath.Join(dir, "offline"), "--key-file", d.KeyFile())
	expect.Equal(t, offline.Version, readOnly.Version, "version of a store that nobody changes")
	sameTree(t, tree(t, mountRestored(t, d, store).Path("b")), want, "restored through a pipe")
	sameTree(t, tree(t, mountRestored(t, d, restore(t, d, filepath.Join(dir, "ro"))).Path("b")), want, "of a read-only mount")
}
