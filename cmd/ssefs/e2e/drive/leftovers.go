package drive

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// finish is the end of every test with a drive: unmount, look for leftovers, check the store, show the log if the
// test failed.
func (d *Drive) finish() {
	d.t.Helper()
	defer d.showLog()
	if d.current() != nil {
		d.unmountAtEnd()
	}
	NothingLeft(d.t, d.store, d.mountpoint)
	if !d.damaged {
		d.Fsck()
	}
	NoRaces(d.t)
}

// unmountAtEnd is Unmount that does not end the test, so that the checks behind it still run, and that forces what
// does not go.
func (d *Drive) unmountAtEnd() {
	d.t.Helper()
	select {
	case <-d.current().exited:
		d.t.Errorf("the daemon had ended before the test did: %v", d.current().err)
	default:
		if r := CLI(d.t, "umount", d.mountpoint); r.Code != 0 {
			d.t.Errorf("ssefs umount at the test's end: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		} else if err := d.current().wait(mountLimit); err != nil {
			d.t.Errorf("the daemon did not end well: %v", err)
		}
	}
	if err := d.kill(); err != nil {
		d.t.Errorf("take the mount away by force: %v", err)
	}
}

// Fsck checks the unmounted store with all its data and fails the test if it is not clean.
func (d *Drive) Fsck() {
	d.t.Helper()
	if r := CLI(d.t, "fsck", d.store, "--data", "--key-file", d.keyFile); r.Code != 0 {
		d.t.Errorf("fsck --data: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// showLog prints the end of what the daemons wrote if the test failed.
func (d *Drive) showLog() {
	if !d.t.Failed() {
		return
	}
	d.t.Logf("end of the daemon's log:\n%s", tail(d.logFile, 8192))
	if out := tail(d.logFile+".out", 32768); out != "" {
		d.t.Logf("end of the daemon's output:\n%s", out)
	}
}

// NothingLeft fails the test if something is mounted on mountpoint or if a process still serves store; it takes
// both away, since they would disturb the tests that follow.
func NothingLeft(t testing.TB, store, mountpoint string) {
	t.Helper()
	if mounted(t, mountpoint) {
		t.Errorf("a mount is left on %s", mountpoint)
		if err := unix.Unmount(mountpoint, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount it: %v", err)
		}
	}
	// A daemon that has closed its store may still be on its way out.
	pids := daemonsOf(t, store)
	for deadline := time.Now().Add(mountLimit); time.Now().Before(deadline); pids = daemonsOf(t, store) {
		if len(pids) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, pid := range pids {
		t.Errorf("process %d still serves the store", pid)
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Errorf("kill it: %v", err)
		}
	}
}

// daemonsOf returns the processes that were started with store among their arguments, except this one.
func daemonsOf(t testing.TB, store string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("list the processes: %d found, %v", len(files), err)
	}
	var pids []int
	for _, f := range files {
		cmdline, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for arg := range bytes.SplitSeq(cmdline, []byte{0}) {
			if string(arg) == store {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// mounted reports whether something is mounted on dir.
func mounted(t testing.TB, dir string) bool {
	t.Helper()
	_, ok := MountOf(t, dir)
	return ok
}

// Mountinfo is what the kernel tells about a mount.
type Mountinfo struct {
	Type    string // file system type, such as fuse.ssefs
	Source  string
	Options []string // of the mount and of its superblock
}

// MountOf returns what is mounted on dir, and false if nothing is.
func MountOf(t testing.TB, dir string) (Mountinfo, bool) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatalf("list the mounts: %v", err)
	}
	var found Mountinfo
	ok := false
	for line := range strings.Lines(string(b)) {
		before, after, cut := strings.Cut(line, " - ")
		front, back := strings.Fields(before), strings.Fields(after)
		if !cut || len(front) < 6 || len(back) < 3 || unescape(front[4]) != dir {
			continue
		}
		ok = true // a later mount covers an earlier one
		found = Mountinfo{
			Type:    back[0],
			Source:  unescape(back[1]),
			Options: append(strings.Split(front[5], ","), strings.Split(back[2], ",")...),
		}
	}
	return found, ok
}

// unescape undoes the octal escapes of /proc/self/mountinfo.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// tail returns up to n bytes from the end of a file, or nothing if it cannot be read.
func tail(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-n):])
}
