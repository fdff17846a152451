// Package space has the tests of how the space of what was deleted, overwritten and cut comes back: by `ssefs gc`, and
// by itself once nothing goes on.
//
// Ordinarily a store on a small disk is written to ten times its size. SSEFS_SPACE_LIVE makes that as many MiB of live
// data on the disk of SSEFS_SPACE_DIR (default: the temporary directory), where memtables and value log files are as
// big as anywhere; then it is waited, too, for what the drive does by itself.
package space

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { drive.Main(m, nil) }

// scale is how much is written where.
type scale struct {
	dir      string
	live     int64
	memtable int64 // with the next one's log, made beforehand
	long     bool
}

// newScale returns what the environment says, or a small disk in memory.
func newScale(t *testing.T) scale {
	t.Helper()
	if text := os.Getenv("SSEFS_SPACE_LIVE"); text != "" {
		live, err := strconv.ParseInt(text, 10, 64)
		expect.OK(t, err, "SSEFS_SPACE_LIVE")
		dir, err := os.MkdirTemp(os.Getenv("SSEFS_SPACE_DIR"), "ssefs-space-")
		expect.OK(t, err, "make a directory for the store")
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return scale{dir: dir, live: live << 20, memtable: 24 << 20, long: true}
	}
	return scale{dir: smallDisk(t), live: 32 << 20, memtable: 6 << 20}
}

// smallDisk mounts a tmpfs that has room for far less than what is written.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := drive.Dir(t)
	expect.OK(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=400m,mode=0755"), "mount a tmpfs")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH) // what is left is reported above
		}
	})
	return dir
}

// fits tells whether the store takes up at most a tenth more than what is alive, a memtable, and the file that is being
// written.
func (s scale) fits(u use, live int64) bool {
	return u.total() <= live+live/10+s.memtable+u.newestSize
}

// wantFit fails the test unless the store fits.
func (s scale) wantFit(t *testing.T, d *drive.Drive, live int64, when string) {
	t.Helper()
	u := useOf(t, d.Store())
	t.Logf("%s: %.1f MiB are alive, the store takes up %v", when, mib(live), u)
	if !s.fits(u, live) {
		t.Errorf("%s: that is too much", when)
	}
}

// gcResult is what `ssefs gc --json` prints.
type gcResult struct {
	Before struct {
		Tables int64 `json:"tables_bytes"`
		Values int64 `json:"values_bytes"`
	} `json:"before"`
	After struct {
		Tables int64 `json:"tables_bytes"`
		Values int64 `json:"values_bytes"`
	} `json:"after"`
	Live int64 `json:"live_bytes"`
}

// TestTenTimesTheStore: after ten times the live data was written, the space of what is not alive comes back.
func TestTenTimesTheStore(t *testing.T) {
	s := newScale(t)
	d := drive.New(t, drive.Options{Store: filepath.Join(s.dir, "store")})
	c := newChurn(t, d, s.live, 1)
	c.run(10 * s.live)
	drive.Must(t, drive.Binary(t), "sync", d.Mountpoint())
	live := liveBytes(t, d.Mountpoint())
	t.Logf("%.0f MiB were written: %.1f MiB are alive, the store takes up %v", mib(c.written), mib(live), useOf(t, d.Store()))
	if s.long {
		start := time.Now()
		for !s.fits(useOf(t, d.Store()), live) {
			if time.Since(start) > 10*time.Minute {
				t.Error("the drive does not come to it by itself")
				break
			}
			time.Sleep(time.Second)
		}
		s.wantFit(t, d, live, "by itself, after "+time.Since(start).Round(time.Second).String())
	}
	before := useOf(t, d.Store())
	start := time.Now()
	var r gcResult
	expect.OK(t, json.Unmarshal([]byte(d.MustCLI("gc", "--json")), &r), "what gc --json prints")
	s.wantFit(t, d, live, "after gc, which took "+time.Since(start).Round(100*time.Millisecond).String())
	if r.Live != live || r.Before.Values == 0 || r.After.Values > before.values {
		t.Errorf("gc says %+v; %d bytes are alive and %v were there before", r, live, before)
	}
	c.verify()

	// The same, unmounted: with the key and without.
	c.run(2 * s.live)
	d.Unmount()
	d.MustCLI("gc", "--without-key")
	if out := d.MustCLI("gc", "--key-file", d.KeyFile()); !strings.Contains(out, "Store now:") {
		t.Errorf("gc says %q", out)
	}
	u := useOf(t, d.Store())
	d.Mount()
	t.Logf("unmounted: the store takes up %v", u)
	if live = liveBytes(t, d.Mountpoint()); !s.fits(u, live) {
		t.Errorf("unmounted: %.1f MiB are alive, that is too much", mib(live))
	}
	c.verify()
}

// TestBesideUse: a collection gets in nobody's way, and can be interrupted.
func TestBesideUse(t *testing.T) {
	d := drive.New(t, drive.Options{Store: filepath.Join(smallDisk(t), "store")})
	c := newChurn(t, d, 24<<20, 2)
	c.run(72 << 20)
	for i := range 6 {
		collection := startGC(t, d)
		for n := 0; ; n++ {
			if i%2 == 1 && n == 2 {
				collection.interrupt()
			}
			c.run(1 << 20)
			if collection.ended() {
				break
			}
		}
		if code := collection.cmd.ProcessState.ExitCode(); i%2 == 0 && code != 0 {
			t.Errorf("gc beside writing: exit %d", code)
		}
	}
	c.verify()
	d.MustCLI("gc")
	c.verify()
	d.Kill()
	d.Mount()
}

// collection is a `ssefs gc` that is going on.
type collection struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan error
}

func startGC(t *testing.T, d *drive.Drive) *collection {
	t.Helper()
	c := &collection{t: t, cmd: exec.Command(drive.Binary(t), "gc", d.Mountpoint()), done: make(chan error, 1)}
	expect.OK(t, c.cmd.Start(), "start gc")
	go func() { c.done <- c.cmd.Wait() }()
	return c
}

// interrupt ends it as the terminal does. The daemon goes on.
func (c *collection) interrupt() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Errorf("interrupt gc: %v", err)
	}
}

// ended tells whether it has.
func (c *collection) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// TestRefusals: what cannot be collected says why.
func TestRefusals(t *testing.T) {
	d := drive.New(t, drive.Options{})
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"gc", d.Store(), "--without-key"}, 2},
		{[]string{"gc", "--without-key"}, 2},
		{[]string{"gc", filepath.Join(d.Store(), "missing"), "--without-key"}, 5},
		{[]string{"gc", "a", "--store", "b"}, 2},
	} {
		r := drive.CLI(t, c.args...)
		if r.Code != c.code {
			t.Errorf("%q: exit %d, want %d: %s", c.args, r.Code, c.code, r.Stderr)
		}
		drive.OneLine(t, r)
	}
	d.Remount("-o", "ro")
	if r := d.CLI("gc"); r.Code == 0 || !strings.Contains(r.Stderr, "read-only") {
		t.Errorf("gc of a read-only drive: exit %d, %q", r.Code, r.Stderr)
	}
}
