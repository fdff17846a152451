package mounting

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestBusyUmount: a drive in use stays mounted and says so.
func TestBusyUmount(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	f := expect.Create(t, filepath.Join(b, "file"))
	f.Write([]byte("first"))
	r := drive.CLI(t, "umount", d.Mountpoint())
	failed(t, r, 9, "umount of a drive in use")
	if !strings.Contains(r.Stderr, d.Mountpoint()) {
		t.Errorf("the refusal does not name the drive: %s", r.Stderr)
	}
	f.Write([]byte(" second"))
	f.Close()
	expect.Contents(t, filepath.Join(b, "file"), []byte("first second"))
	d.Remount()
	expect.Contents(t, filepath.Join(b, "file"), []byte("first second"))
}

// TestSignals: SIGTERM and SIGINT store everything and end the daemon well, also of a drive in use.
func TestSignals(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT} {
		p := filepath.Join(b, sig.String())
		data := expect.Random(uint64(sig), 3<<20)
		expect.Write(t, p, data)
		expect.OK(t, unix.Mkdir(p+".dir", 0o755), "mkdir")
		expect.OK(t, unix.Kill(d.Pid(), sig), "signal the daemon")
		d.Ended()
		d.Mount()
		expect.Contents(t, p, data)
		expect.Stat(t, p+".dir")
	}
	// With a file open the mount cannot go away at once; the daemon stores what it has and ends all the same.
	f := expect.Create(t, filepath.Join(b, "open"))
	f.Write([]byte("contents"))
	f.Sync()
	expect.OK(t, unix.Kill(d.Pid(), unix.SIGTERM), "signal the daemon")
	d.Ended()
	f.Drop()
	d.Mount()
	expect.Contents(t, filepath.Join(b, "open"), []byte("contents"))
}

// TestSystemUmount: after plain umount(8) the daemon closes the store alone, and a mount that comes at once waits for
// it.
func TestSystemUmount(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create")
	b := expect.Mkdir(t, filepath.Join(s.point, "b"))
	for i := range 4 {
		data := expect.Random(uint64(i), 8<<20)
		p := filepath.Join(b, "file")
		expect.Write(t, p, data)
		drive.Must(t, "umount", s.point)
		s.mustMount()
		expect.Contents(t, p, data)
	}
	drive.Must(t, "fusermount3", "-u", s.point)
	s.mustMount()
	s.unmount()
}

// TestBackground: mount returns when the drive is usable, umount when the store is closed; the daemon keeps none of
// the terminal's or the caller's things.
func TestBackground(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create")
	expect.Mkdir(t, filepath.Join(s.point, "b"))
	r := drive.CLI(t, "status", "--store", s.store, "--json")
	succeeded(t, r, "status --json")
	var status struct {
		PID        int    `json:"pid"`
		Store      string `json:"store"`
		Mountpoint string `json:"mountpoint"`
	}
	expect.OK(t, json.Unmarshal([]byte(r.Stdout), &status), "parse %q", r.Stdout)
	expect.Equal(t, status.Store, s.store, "store")
	expect.Equal(t, status.Mountpoint, s.point, "mount point")
	r = drive.CLI(t, "status", "--store", s.store)
	succeeded(t, r, "status")
	if !strings.Contains(r.Stdout, s.point) {
		t.Errorf("status does not tell the mount point: %s", r.Stdout)
	}
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(status.PID) + "/cwd")
	expect.OK(t, err, "the daemon's working directory")
	expect.Equal(t, cwd, "/", "the daemon's working directory")
	// It is an orphan: the child of init, or of another process that takes in those of its descendants.
	keeper := parentOf(t, status.PID)
	for pid := parentOf(t, os.Getpid()); keeper != 1 && pid != keeper; pid = parentOf(t, pid) {
		if pid <= 1 {
			t.Fatalf("the daemon is the child of process %d", keeper)
		}
	}
	s.unmount()
	succeeded(t, drive.CLI(t, "fsck", s.store, "--data", "--key-file", s.key), "fsck right after umount")
	if r := drive.CLI(t, "fsck", s.store, "--data", "--key-file", s.key, "--json"); !json.Valid([]byte(r.Stdout)) || r.Code != 0 {
		t.Errorf("fsck --json: exit %d, %q", r.Code, r.Stdout)
	}
}

// parentOf returns the parent of a process.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	expect.OK(t, err, "the state of process %d", pid)
	_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " ") // behind the name, which may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		t.Fatalf("the state of process %d is %q", pid, b)
	}
	parent, err := strconv.Atoi(fields[1])
	expect.OK(t, err, "the parent of process %d", pid)
	return parent
}

// TestKilledCreation: a creation that is killed at any moment leaves what the next one starts over or takes over.
func TestKilledCreation(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for round := range 12 {
		s := newSite(t)
		_, cmd := bounded(t, drive.Binary(t), "mount", s.store, s.point, "--create", "--key-file", s.key, "--foreground",
			"--log-file", s.base+"/log")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		expect.OK(t, cmd.Start(), "start a creation")
		wait := time.Duration(random.IntN(round*25+10)) * time.Millisecond
		time.Sleep(wait)
		expect.OK(t, unix.Kill(-cmd.Process.Pid, unix.SIGKILL), "kill the creation")
		_ = cmd.Wait() // it was killed
		if _, ok := drive.MountOf(t, s.point); ok {
			expect.OK(t, unix.Unmount(s.point, unix.MNT_DETACH), "unmount")
		}
		r := s.mount("--create")
		if r.Code != 0 {
			t.Errorf("--create after one that was killed after %v: exit %d: %s", wait, r.Code, r.Stderr)
			continue
		}
		b := expect.Mkdir(t, filepath.Join(s.point, "b"))
		expect.Write(t, filepath.Join(b, "file"), []byte("x"))
		s.unmount()
		succeeded(t, drive.CLI(t, "fsck", s.store, "--data", "--key-file", s.key), "fsck")
		s.mustMount()
		expect.Contents(t, filepath.Join(b, "file"), []byte("x"))
		s.unmount()
	}
}

// TestDeadMount: after the daemon was killed the drive can be unmounted, and a mount says what is in the way.
func TestDeadMount(t *testing.T) {
	d := drive.New(t, drive.Options{})
	drive.Must(t, drive.Binary(t), "sync", d.Bucket("b"))
	pid := d.Pid()
	expect.OK(t, unix.Kill(pid, unix.SIGKILL), "kill the daemon")
	// Calls that are under way when the daemon dies are aborted; all that follow find nobody.
	_, err := os.ReadDir(d.Mountpoint())
	for deadline := time.Now().Add(time.Minute); !errors.Is(err, unix.ENOTCONN) && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
		_, err = os.ReadDir(d.Mountpoint())
	}
	expect.Errno(t, err, unix.ENOTCONN, "use of a drive whose daemon is dead")
	r := drive.CLI(t, "mount", d.Store(), d.Mountpoint(), "--key-file", d.KeyFile())
	failed(t, r, 8, "mount over a dead mount")
	succeeded(t, drive.CLI(t, "umount", d.Mountpoint()), "umount of a dead mount")
	d.Killed()
	d.Mount()
	expect.Stat(t, d.Path("b"))
}
