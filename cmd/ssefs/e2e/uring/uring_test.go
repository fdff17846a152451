// Package uring has the tests of drives whose requests come over io_uring: what mount and status say, killed daemons,
// unmounting under load. How blocked handlers, interrupts and failures of the kernel's side are dealt with is tested in
// fs/transport; all other end-to-end tests run over io_uring in the section uring of scripts/test.
//
// A kernel without FUSE over io_uring runs the same tests over /dev/fuse, and that it does is logged.
package uring

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/fs/uring/uringtest"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// newDrive makes a drive over io_uring where this kernel has it.
func newDrive(t *testing.T) (d *drive.Drive, rings bool) {
	t.Helper()
	rings = uringtest.Available(t)
	mode := "auto"
	if rings {
		mode = "on"
	}
	uringtest.SwitchedOn(t, func() { d = drive.New(t, drive.Options{Mount: []string{"--io-uring", mode}}) })
	return d, rings
}

// mountAgain mounts a drive that was unmounted or killed.
func mountAgain(t *testing.T, d *drive.Drive) {
	t.Helper()
	uringtest.SwitchedOn(t, func() { d.Mount() })
}

// status is what `ssefs status` says of how requests come.
type status struct {
	Transport string `json:"transport"`
	Reason    string `json:"transport_reason"`
	Rings     int    `json:"rings"`
}

// statusOf waits until it says something: the first requests are answered while the daemon is still mounting.
func statusOf(t *testing.T, store string) status {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		var s status
		text := drive.Must(t, drive.Binary(t), "status", "--store", store, "--json")
		expect.OK(t, json.Unmarshal([]byte(text), &s), "parse %q", text)
		if s.Transport != "" {
			return s
		}
	}
	t.Fatal("status does not say how requests come")
	return status{}
}

// TestStatus: it says how requests come, and in mode auto why not over io_uring.
func TestStatus(t *testing.T) {
	d, rings := newDrive(t)
	s := statusOf(t, d.Store())
	if rings != (s.Transport == "io_uring") || rings != (s.Rings > 0) || rings != (s.Reason == "") {
		t.Errorf("status %+v, available: %v", s, rings)
	}
	d.Unmount()
	uringtest.SwitchedOff(t, func() { d.Mount("--io-uring", "auto") })
	if s := statusOf(t, d.Store()); s.Transport != "/dev/fuse" || s.Reason == "" || s.Rings != 0 {
		t.Errorf("status %+v, want a reason", s)
	}
	text := d.MustCLI("status")
	if !strings.Contains(text, "/dev/fuse (") {
		t.Errorf("status does not tell: %s", text)
	}
	d.Unmount()
	uringtest.SwitchedOff(t, func() {
		if err := d.TryMount("--io-uring", "on"); err == nil || !strings.Contains(err.Error(), "io_uring=on") {
			t.Errorf("mount without what it was to have: %v", err)
		}
	})
	if err := d.TryMount("--io-uring", "perhaps"); err == nil || !strings.Contains(err.Error(), "auto, on or off") {
		t.Errorf("mount with a mode that there is not: %v", err)
	}
	uringtest.SwitchedOn(t, func() { d.Mount("--io-uring", "off") })
	expect.Equal(t, statusOf(t, d.Store()).Transport, "/dev/fuse", "transport")
}

// churn makes, reads and removes files of its own until stop is true. An error ends it.
func churn(dir string, id int, stop *atomic.Bool) error {
	for i := 0; !stop.Load(); i++ {
		name := filepath.Join(dir, fmt.Sprintf("%d-%d", id, i))
		want := fmt.Sprintf("contents of %d", i)
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			return err
		}
		got, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if string(got) != want {
			return fmt.Errorf("%s: %w: %q", name, errWrong, got)
		}
		if i%2 == 0 {
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

var errWrong = errors.New("wrong contents")

// TestKilledUnderLoad: a daemon that is killed with requests in flight leaves a mount that goes away, users with errors
// and a store that is whole.
func TestKilledUnderLoad(t *testing.T) {
	d, _ := newDrive(t)
	dir := d.Bucket("b")
	drive.Must(t, drive.Binary(t), "sync", d.Mountpoint())
	for range 4 {
		underLoad(t, dir, func() { d.Kill() })
		mountAgain(t, d)
	}
}

// TestUnmountedUnderLoad: the same for a mount that is taken away by force.
func TestUnmountedUnderLoad(t *testing.T) {
	d, _ := newDrive(t)
	dir := d.Bucket("b")
	drive.Must(t, drive.Binary(t), "sync", d.Mountpoint())
	for range 4 {
		underLoad(t, dir, func() {
			expect.OK(t, unix.Unmount(d.Mountpoint(), unix.MNT_FORCE|unix.MNT_DETACH), "unmount")
			d.Ended()
		})
		mountAgain(t, d)
	}
}

// underLoad calls f while files are made and removed from all sides.
func underLoad(t *testing.T, dir string, f func()) {
	t.Helper()
	var stop atomic.Bool
	var all sync.WaitGroup
	for id := range 8 {
		all.Go(func() {
			if err := churn(dir, id, &stop); errors.Is(err, errWrong) {
				t.Error(err)
			}
		})
	}
	expect.Write(t, filepath.Join(dir, "first"), []byte("so much is done"))
	f()
	stop.Store(true)
	all.Wait()
}

// TestContents: big and small files, after a remount too, read by all processors at once.
func TestContents(t *testing.T) {
	d, _ := newDrive(t)
	dir := d.Bucket("b")
	sizes := []int{0, 1, 4095, 4096, 1<<20 - 1, 1 << 20, 5<<20 + 17}
	check := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			for i, size := range sizes {
				all.Go(func() { expect.Contents(t, filepath.Join(dir, fmt.Sprint(i)), expect.Random(uint64(i), size)) })
			}
		}
		all.Wait()
	}
	for i, size := range sizes {
		expect.Write(t, filepath.Join(dir, fmt.Sprint(i)), expect.Random(uint64(i), size))
	}
	check()
	d.Unmount()
	mountAgain(t, d)
	check()
}

// TestSignals: programs that are signalled all the time work.
func TestSignals(t *testing.T) {
	d, _ := newDrive(t)
	dir := d.Bucket("b")
	dd := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(dir, "zeros"), "bs=64k", "count=512", "conv=fsync", "status=none")
	expect.OK(t, dd.Start(), "start dd")
	ended := make(chan error, 1)
	go func() { ended <- dd.Wait() }()
	for running := true; running; {
		select {
		case err := <-ended:
			expect.OK(t, err, "dd")
			running = false
		default:
			_ = unix.Kill(dd.Process.Pid, unix.SIGURG) // it may have ended
		}
	}
	expect.Equal(t, expect.Stat(t, filepath.Join(dir, "zeros")).Size, int64(512*64<<10), "size")
}

// TestOptions: as an option of mount(8), and by an ordinary user.
func TestOptions(t *testing.T) {
	rings := uringtest.Available(t)
	base := drive.Dir(t)
	store, point, key := filepath.Join(base, "store"), filepath.Join(base, "drive"), filepath.Join(base, "key")
	expect.OK(t, os.Mkdir(point, 0o755), "make the mount point")
	t.Cleanup(func() { drive.NothingLeft(t, store, point) })
	mode := "auto"
	if rings {
		mode = "on"
	}
	uringtest.SwitchedOn(t, func() {
		drive.Must(t, drive.Binary(t), "mount", "--create", "--key-file", key, "-o", "io_uring="+mode, store, point)
	})
	expect.Equal(t, statusOf(t, store).Transport == "io_uring", rings, "over io_uring")
	drive.Must(t, drive.Binary(t), "umount", point)
}
