package powerloss

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/powerloss/disk"
)

// program is a real one that works on the drive until its daemon is killed.
type program interface {
	// work runs it in an empty directory. It fails when the daemon is gone.
	work(dir string)
	// check looks at the directory after the next mount.
	check(t *testing.T, dir string)
}

// TestKillsUnderPrograms kills the daemon while real programs work, which have checks of their own.
func TestKillsUnderPrograms(t *testing.T) {
	seed := setting(t, "SSEFS_CRASH_SEED", 1)
	points := int(setting(t, "SSEFS_CRASH_PROGRAMS", 1))
	t.Parallel()
	dev := newDisk(t)
	d := drive.New(t, drive.Options{Store: filepath.Join(dev.point, storeName)})
	b := d.Bucket("b")
	rng := rand.New(rand.NewPCG(seed, 6))
	for i := range points {
		for name, start := range map[string]func(t *testing.T) program{"sqlite": newSQLite, "tar": newUntar, "git": newGit} {
			t.Run(fmt.Sprint(name, i), func(t *testing.T) {
				p := start(t)
				dir := filepath.Join(b, fmt.Sprint(name, i))
				expect.OK(t, os.Mkdir(dir, 0o755), "make a directory")
				k := disk.Kill{Skip: rng.IntN(400), Moment: disk.After}
				dev.arm(k)
				p.work(dir)
				d.Kill()
				at := dev.disarm()
				t.Logf("killed after step %d: %s", k.Skip, at)
				d.Mount()
				if _, err := os.Stat(dir); err == nil { // nothing was synced yet
					p.check(t, dir)
				}
				if r := drive.CLI(t, "fsck", d.Mountpoint(), "--data"); r.Code != 0 {
					t.Errorf("fsck: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
				}
				expect.OK(t, os.RemoveAll(dir), "clean up")
				dev.forget()
			})
		}
	}
}

// output runs a command and returns what it printed; that it fails is to be expected.
func output(dir, stdin, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// sqlite commits transactions that it tells of when they are durable.
type sqlite struct {
	mode string
	last int // transaction that was told of
}

func newSQLite(t *testing.T) program {
	modes := []string{"delete", "wal", "truncate"}
	return &sqlite{mode: modes[len(t.Name())%len(modes)]}
}

func (s *sqlite) work(dir string) {
	var script strings.Builder
	fmt.Fprintf(&script, "pragma journal_mode=%s; pragma synchronous=extra; create table t(n integer primary key, v blob);\n", s.mode)
	for i := 1; i <= 300; i++ {
		fmt.Fprintf(&script, "insert into t values(%d, randomblob(%d)); select 'done %d';\n", i, 10+i*37%5000, i)
	}
	out, _ := output(dir, script.String(), "sqlite3", "-bail", "db")
	for line := range strings.Lines(out) {
		if n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "done ")); err == nil {
			s.last = max(s.last, n)
		}
	}
}

func (s *sqlite) check(t *testing.T, dir string) {
	if s.last == 0 {
		return
	}
	out, err := output(dir, "pragma integrity_check; select count(*), max(n) from t;", "sqlite3", "db")
	var rows, newest int
	text, intact := strings.CutPrefix(out, "ok\n")
	_, scanErr := fmt.Sscanf(text, "%d|%d", &rows, &newest)
	if err != nil || !intact || scanErr != nil || rows != newest || rows < s.last {
		t.Errorf("%d transactions were durable, the database says %q (%v, %v)", s.last, out, err, scanErr)
	}
}

// untar unpacks an archive, which syncs nothing.
type untar struct {
	names []string
	files map[string][]byte
}

func newUntar(*testing.T) program { return &untar{files: map[string][]byte{}} }

func (u *untar) work(dir string) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for i := range 300 {
		name := fmt.Sprint("f", i)
		data := expect.Random(uint64(i), i*257%30_000)
		u.names, u.files[name] = append(u.names, name), data
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))})
		_, writeErr := w.Write(data)
		if err := errors.Join(err, writeErr); err != nil {
			panic(err) // a buffer in memory
		}
	}
	if err := w.Close(); err != nil {
		panic(err) // a buffer in memory
	}
	_, _ = output(dir, archive.String(), "tar", "-x") // it fails when the daemon is gone
}

// check: the files are those of the first part of the archive, each with the first part of its contents.
func (u *untar) check(t *testing.T, dir string) {
	missing := ""
	for _, name := range u.names {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			missing = name
			continue
		}
		if err != nil || missing != "" {
			t.Errorf("%s is there, and %q, unpacked before it, is not (%v)", name, missing, err)
			continue
		}
		got, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Errorf("read %s: %v", name, err)
		}
		if !bytes.HasPrefix(u.files[name], got) {
			t.Errorf("%s: %d bytes are not the beginning of what was unpacked", name, len(got))
		}
	}
}

// git makes commits.
type git struct{ commits int }

func newGit(*testing.T) program { return &git{} }

func (g *git) work(dir string) {
	if _, err := output(dir, "", "git", "init", "-q"); err != nil {
		return
	}
	for i := range 12 {
		for j := range 5 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(j)), expect.Random(uint64(i*10+j), 3000), 0o644); err != nil {
				return
			}
		}
		if _, err := output(dir, "", "git", "add", "."); err != nil {
			return
		}
		if _, err := output(dir, "", "git", "-c", "core.fsync=all", "-c", "gc.auto=0", "commit", "-q", "-m", "c"); err != nil {
			return
		}
		g.commits = i + 1
	}
}

// check: the commits are there and no object is damaged. Git syncs files, not their directories, and so not the rename
// that is the last step of a commit.
func (g *git) check(t *testing.T, dir string) {
	if g.commits == 0 {
		return
	}
	if out, err := output(dir, "", "git", "fsck", "--strict"); err != nil {
		t.Errorf("git fsck: %v\n%s", err, out)
	}
	out, err := output(dir, "", "git", "rev-list", "--count", "HEAD")
	if n, convErr := strconv.Atoi(strings.TrimSpace(out)); err != nil || convErr != nil || n < g.commits-1 {
		t.Errorf("%d commits were made, git finds %q (%v)", g.commits, out, err)
	}
}
