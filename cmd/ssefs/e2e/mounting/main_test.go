// Package mounting has the tests of how drives are mounted and unmounted: what is refused and how, the options of
// mount(8) and FUSE, other users, signals, and stores whose creation was cut short.
package mounting

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// site is the paths of a store that a test mounts by its own commands, with daemons in the background.
type site struct {
	t                       *testing.T
	base, store, point, key string
}

// newSite makes the directories and the checks that run at the test's end. Nothing is created or mounted.
func newSite(t *testing.T) *site {
	t.Helper()
	base := drive.Dir(t)
	s := &site{t: t, base: base, store: filepath.Join(base, "store"), point: filepath.Join(base, "drive"),
		key: filepath.Join(base, "key")}
	expect.OK(t, os.Mkdir(s.point, 0o755), "make the mount point")
	t.Cleanup(func() { drive.NothingLeft(t, s.store, s.point) })
	return s
}

// mount runs `ssefs mount` with the key file in the background and returns what came of it.
func (s *site) mount(extra ...string) drive.Result {
	s.t.Helper()
	args := slices.Concat([]string{"mount", s.store, s.point, "--key-file", s.key, "--log-file", s.base + "/log"}, extra)
	return drive.CLI(s.t, args...)
}

// mustMount is mount that has to succeed.
func (s *site) mustMount(extra ...string) {
	s.t.Helper()
	succeeded(s.t, s.mount(extra...), "mount %q", extra)
}

// unmount runs `ssefs umount`, which has to succeed.
func (s *site) unmount() {
	s.t.Helper()
	succeeded(s.t, drive.CLI(s.t, "umount", s.point), "umount")
}

// created makes the store and leaves it unmounted.
func (s *site) created() {
	s.t.Helper()
	s.mustMount("--create")
	s.unmount()
}

func succeeded(t *testing.T, r drive.Result, format string, args ...any) {
	t.Helper()
	expect.Equal(t, r.Code, 0, format, args...)
	if r.Code != 0 {
		t.Fatalf("%s%s", r.Stdout, r.Stderr)
	}
}

// failed marks the test failed unless the command ended with code and one line that says why.
func failed(t *testing.T, r drive.Result, code int, what string) {
	t.Helper()
	if r.Code != code {
		t.Errorf("%s: exit %d, want %d: %s%s", what, r.Code, code, r.Stdout, r.Stderr)
	}
	drive.OneLine(t, r)
}

// bounded prepares a command that is ended if it hangs.
func bounded(t *testing.T, name string, args ...string) (context.Context, *exec.Cmd) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx, exec.CommandContext(ctx, name, args...)
}
