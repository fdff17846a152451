package forgery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"
)

// exitDamaged is what commands exit with on a damaged store, fsckErrors what fsck does.
const (
	exitDamaged = 7
	fsckErrors  = 4
)

// copyStore copies a store that nobody has open, without the files that mean nothing.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil || rel == "ballast" {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	expect.OK(t, err, "copy the store %s", from)
}

// records returns all records of a store, which is not touched: Badger changes what it opens.
func records(t testing.TB, store string) raw.Records {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	copyStore(t, store, dir)
	r, err := raw.Read(dir)
	expect.OK(t, err, "read the records of %s", store)
	expect.OK(t, os.RemoveAll(dir), "remove the copy")
	return r
}

// victim is a copy of a store that is attacked once.
type victim struct {
	t                 testing.TB
	store, point, log string
	key               string
	printed           string // by the mount
}

// newVictim copies a store.
func newVictim(t testing.TB, from, key string) *victim {
	t.Helper()
	base := drive.Dir(t)
	v := &victim{t: t, store: filepath.Join(base, "store"), point: filepath.Join(base, "drive"), log: filepath.Join(base, "log"), key: key}
	expect.OK(t, os.Mkdir(v.point, 0o755), "make the mount point")
	copyStore(t, from, v.store)
	return v
}

// remove removes the store; many of them would fill the disk.
func (v *victim) remove() {
	v.t.Helper()
	expect.OK(v.t, os.RemoveAll(v.store), "remove the store")
}

// keep moves the store out of the way of being removed, where the environment says.
func (v *victim) keep(name string) {
	v.t.Helper()
	dir := os.Getenv("SSEFS_FORGERY_KEEP")
	if dir == "" {
		return
	}
	to := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
	if err := os.CopyFS(to, os.DirFS(filepath.Dir(v.store))); err != nil {
		v.t.Logf("keep the store: %v", err)
		return
	}
	v.t.Logf("the store is kept in %s", to)
}

// change changes records.
func (v *victim) change(c raw.Changes) {
	v.t.Helper()
	expect.OK(v.t, raw.Change(v.store, c), "change %d records", len(c))
}

// problem is one that fsck found.
type problem struct {
	Kind, Severity, Path, Message string
}

// checked is what fsck said.
type checked struct {
	code     int
	problems []problem
	text     string // all that was printed
}

// fsck checks the store with all contents. Whatever is wrong with it, there is a report or one line that says why not.
func (v *victim) fsck() checked {
	v.t.Helper()
	c := v.fsckAnyway()
	if c.code != 0 && c.code != fsckErrors {
		v.t.Errorf("fsck: exit %d: %s", c.code, c.text)
	}
	return c
}

// fsckAnyway is fsck of a store that may not be taken for one any more.
func (v *victim) fsckAnyway() checked {
	v.t.Helper()
	r := drive.CLI(v.t, "fsck", v.store, "--data", "--json", "--key-file", v.key)
	c := checked{code: r.Code, text: r.Stdout + r.Stderr}
	noTrace(v.t, "fsck", c.text)
	var report struct{ Problems []problem }
	if err := json.Unmarshal([]byte(r.Stdout), &report); err == nil {
		c.problems = report.Problems
	} else if lines := strings.Split(strings.TrimSpace(r.Stderr), "\n"); !strings.HasPrefix(lines[len(lines)-1], "ssefs: ") {
		v.t.Errorf("fsck neither reports nor says why: exit %d: %s", r.Code, c.text)
	}
	return c
}

// names tells whether a problem is about path or what is below it.
func (c checked) names(path string) bool {
	return slices.ContainsFunc(c.problems, func(p problem) bool { return within(p.Path, path) })
}

// mount mounts the store and reports whether that went well. If not it was refused as damaged, in one line.
func (v *victim) mount(extra ...string) bool {
	v.t.Helper()
	code := v.tryMount(extra...)
	if code != 0 {
		expect.Equal(v.t, code, exitDamaged, "exit of the mount of a forged store: %s", v.printed)
	}
	return code == 0
}

// mountAnyway is mount of a store that may not be taken for one any more.
func (v *victim) mountAnyway() bool {
	v.t.Helper()
	return v.tryMount() == 0
}

// tryMount mounts the store and returns the exit code. A refusal is one line.
func (v *victim) tryMount(extra ...string) int {
	v.t.Helper()
	r := drive.CLI(v.t, slices.Concat([]string{"mount", v.store, v.point, "--key-file", v.key, "--log-file", v.log}, extra)...)
	v.printed = r.Stderr
	noTrace(v.t, "mount", r.Stdout+r.Stderr)
	if r.Code != 0 {
		drive.OneLine(v.t, r)
		drive.NothingLeft(v.t, v.store, v.point)
	}
	return r.Code
}

// unmount unmounts, which has to go well whatever was read, but that Badger may be locked where it met damage.
func (v *victim) unmount() {
	v.t.Helper()
	r := drive.CLI(v.t, "umount", v.point)
	if r.Code != 0 && !strings.Contains(r.Stderr, "could not be closed after an earlier error") {
		v.t.Errorf("umount of a forged store: exit %d: %s", r.Code, r.Stderr)
	}
	drive.NothingLeft(v.t, v.store, v.point)
	noTrace(v.t, "the daemon", v.logged())
}

// logged returns all that the daemon logged.
func (v *victim) logged() string {
	v.t.Helper()
	b, err := os.ReadFile(v.log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		v.t.Fatalf("read the log: %v", err)
	}
	return string(b)
}

// logs tells whether a line names a path, or what is below it, and the kind of a record.
func logs(log, path, kind string) bool {
	for line := range strings.Lines(log) {
		_, after, ok := strings.Cut(line, "path=")
		if !ok {
			continue
		}
		if p := strings.Fields(after)[0]; within(strings.Trim(p, `"`), path) && strings.Contains(line, kind+" record of inode") {
			return true
		}
	}
	return false
}

// within tells whether a path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// noTrace marks the test failed if a program left a stack trace.
func noTrace(t testing.TB, who, text string) {
	t.Helper()
	if b := []byte(text); bytes.Contains(b, []byte("goroutine ")) || bytes.Contains(b, []byte("panic:")) || bytes.Contains(b, []byte("SIGBUS")) {
		t.Errorf("%s crashed: %s", who, text)
	}
}

// bucketNames are the buckets, named by their policies.
func bucketNames() []string { return []string{"none", "AES256", "KMS"} }

// makeBuckets makes them.
func makeBuckets(t testing.TB, d *drive.Drive) {
	t.Helper()
	for _, policy := range bucketNames() {
		expect.SetXattr(t, d.Bucket(policy), "user.sse.policy", policy)
	}
}

// tally counts attacks by what they were aimed at and how they ended.
type tally map[string]map[string]int

func (c tally) add(kind, how string) {
	if c[kind] == nil {
		c[kind] = map[string]int{}
	}
	c[kind][how]++
}

// report logs the counts.
func (c tally) report(t testing.TB) {
	t.Helper()
	for _, kind := range slices.Sorted(keysOf(c)) {
		line := ""
		for _, how := range slices.Sorted(keysOf(c[kind])) {
			line += fmt.Sprintf("  %s %d", how, c[kind][how])
		}
		t.Logf("%-16s%s", kind, line)
	}
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
