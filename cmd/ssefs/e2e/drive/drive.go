// Package drive runs the built ssefs binary for end-to-end tests: a store in a temporary directory, mounted by a
// daemon in a process of its own, driven from outside through the kernel as users drive it.
//
// The test process never holds the daemon, so a test may touch the mount directly. What must happen in yet another
// process (locks, forks) uses [Start]; what must happen as another user uses [As].
//
// Invariants. Every drive is unmounted at the end of its test, its store is checked with `ssefs fsck --data` and has
// to be clean (unless the test said [Drive.Damaged]), and neither a mount nor a daemon may be left. A test that hangs
// is ended by a watchdog that kills its daemon, so that no system call waits for ever. Nothing is skipped: what the
// tests need (root, /dev/fuse, the tools they call) and do not find fails them.
//
// Environment. SSEFS_BIN names the binary to test; without it one is built at the start of the run. SSEFS_E2E_TRANSPORT is
// the --io-uring of all mounts, off unless it is set: what the kernel happens to offer must not decide what is tested.
// SSEFS_E2E_RACE has that one built with the race detector; a report of any process of a binary that has it fails
// the test or the run. SSEFS_E2E_NATIVE
// names a directory of an ordinary file system, on which the package posix is then run in place of a mount: only for
// developing tests, so that every expectation is first checked against the kernel's own file systems. Tests of what
// only ssefs has (buckets, the root directory) fail there.
package drive

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// watchdogAfter is how long a test may keep one drive before its daemon is killed: more than twenty times what the
// longest one needs on an idle machine.
const watchdogAfter = 15 * time.Minute

// Options choose how a drive is made. The zero value is a fresh store opened by a key file, mounted by root with
// allow_other.
type Options struct {
	// Store is the directory of the store; empty means a new one in the test's temporary directory.
	Store string
	// KeyFile opens the store; empty means a new one, made with the store.
	KeyFile string
	// Create are more arguments for the mount that creates the store.
	Create []string
	// Mount are more arguments for every mount.
	Mount []string
	// Private leaves allow_other out: root alone may enter, and the kernel checks no permissions.
	Private bool
}

// Drive is a store and, while mounted, the daemon that serves it. Its methods end the test on failure. They are to
// be called from the test's goroutine only.
type Drive struct {
	t          testing.TB
	store      string
	mountpoint string
	keyFile    string
	logFile    string
	native     string
	mountArgs  []string
	damaged    bool

	mu      sync.Mutex // guards process, which the watchdog reads
	process *daemon
}

// New makes a store, mounts it and registers the checks that run at the test's end.
func New(t testing.TB, o Options) *Drive {
	t.Helper()
	base := Dir(t)
	d := &Drive{
		t:          t,
		store:      o.Store,
		mountpoint: filepath.Join(base, "drive"),
		keyFile:    o.KeyFile,
		logFile:    filepath.Join(base, "log"),
		mountArgs:  slices.Clone(o.Mount),
	}
	if d.keyFile == "" {
		d.keyFile = filepath.Join(base, "key")
	}
	if !o.Private {
		d.mountArgs = append(d.mountArgs, "-o", "allow_other")
	}
	if d.store == "" {
		d.store = filepath.Join(base, "store")
	}
	if native := os.Getenv(nativeVariable); native != "" {
		d.useNative(native)
		return d
	}
	if err := os.Mkdir(d.mountpoint, 0o755); err != nil {
		t.Fatalf("make the mount point: %v", err)
	}
	t.Cleanup(d.finish)
	watchdog := time.AfterFunc(watchdogAfter, d.abort)
	t.Cleanup(func() { watchdog.Stop() })
	d.Mount(slices.Concat([]string{"--create"}, o.Create)...)
	return d
}

// Dir returns a new temporary directory that other users can reach, removed at the test's end.
func Dir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	// The testing package makes the parent for us alone.
	for _, p := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatalf("open the temporary directory to other users: %v", err)
		}
	}
	return dir
}

// Path returns the path of elem below the mount point.
func (d *Drive) Path(elem ...string) string {
	return filepath.Join(slices.Concat([]string{d.mountpoint}, elem)...)
}

// Bucket makes a bucket under the default policy, open to every user, and returns its path.
func (d *Drive) Bucket(name string) string {
	d.t.Helper()
	p := d.Path(name)
	if err := os.Mkdir(p, 0o777); err != nil {
		d.t.Fatalf("make bucket %s: %v", name, err)
	}
	if err := os.Chmod(p, 0o777); err != nil {
		d.t.Fatalf("open bucket %s to all: %v", name, err)
	}
	return p
}

// Store returns the store's directory.
func (d *Drive) Store() string { return d.store }

// Mountpoint returns the mount point, which exists also while nothing is mounted there.
func (d *Drive) Mountpoint() string { return d.mountpoint }

// KeyFile returns the key file that opens the store.
func (d *Drive) KeyFile() string { return d.keyFile }

// Log returns all that the daemons of this drive have logged.
func (d *Drive) Log() string {
	d.t.Helper()
	if d.native != "" {
		d.t.Fatalf("there is no log without a mount")
	}
	b, err := os.ReadFile(d.logFile)
	if err != nil {
		d.t.Fatalf("read the daemon's log: %v", err)
	}
	return string(b)
}

// Output returns what the daemons of this drive have printed, which is not their log.
func (d *Drive) Output() string {
	d.t.Helper()
	b, err := os.ReadFile(d.logFile + ".out")
	if err != nil {
		d.t.Fatalf("read the daemon's output: %v", err)
	}
	return string(b)
}

// Damaged says that the test damages the store on purpose: the check at its end may then report errors.
func (d *Drive) Damaged() { d.damaged = true }
