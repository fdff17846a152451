package secrecy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// status is what `ssefs status --json` says of processes.
type status struct {
	PID           int    `json:"pid"`
	SandboxABI    int    `json:"sandbox_landlock_abi"`
	SandboxReason string `json:"sandbox_reason"`
}

func parseStatus(t *testing.T, text string) status {
	t.Helper()
	var s status
	expect.OK(t, json.Unmarshal([]byte(text), &s), "parse %q", text)
	return s
}

// procFile reads a file of a process in /proc, as root.
func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	expect.OK(t, err, "%s of process %d", name, pid)
	return string(b)
}

// field returns the value of a line of /proc/PID/status or of a file like it.
func field(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in %q", name, text)
	return ""
}

// peek tries as a user what could show the memory of a process, and returns what succeeded.
func peek(t *testing.T, who drive.Identity, pid int) (seen []string) {
	t.Helper()
	expect.OK(t, drive.As(t, who, func() error {
		for _, name := range []string{"mem", "environ", "maps", "fd", "auxv", "io", "stack"} {
			f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, name))
			if err == nil {
				seen = append(seen, name)
				err = f.Close()
			}
			if err != nil && !errors.Is(err, os.ErrPermission) {
				return err
			}
		}
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
			seen = append(seen, "exe")
		}
		if err := unix.PtraceSeize(pid); err == nil {
			seen = append(seen, "trace")
			if err := unix.PtraceDetach(pid); err != nil && !errors.Is(err, unix.ESRCH) { // it has not stopped
				return err
			}
		}
		local := make([]byte, 8)
		_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &local[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
		if err == nil || errors.Is(err, unix.EFAULT) {
			seen = append(seen, "memory")
		}
		return nil
	}), "look at process %d", pid)
	return seen
}

// closed checks that a process is closed to others of its user, and dumps no core.
func closed(t *testing.T, who drive.Identity, pid int, what string) {
	t.Helper()
	if seen := peek(t, who, pid); len(seen) > 0 {
		t.Errorf("%s: another process of its user gets at %q", what, seen)
	}
	for line := range strings.Lines(procFile(t, pid, "limits")) {
		if rest, ok := strings.CutPrefix(line, "Max core file size"); ok {
			expect.Equal(t, strings.Join(strings.Fields(rest)[:2], " "), "0 0", "%s: limits of core dumps", what)
		}
	}
}

// TestPeek: the checks see something where there is something to see.
func TestPeek(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1001, Gid: 1001}, Pdeathsig: syscall.SIGKILL}
	expect.OK(t, cmd.Start(), "start")
	defer func() {
		expect.OK(t, cmd.Process.Kill(), "kill")
		_ = cmd.Wait() // it was killed
	}()
	// Until it has become sleep, it is the test's.
	seen := ""
	for deadline := time.Now().Add(time.Minute); !strings.Contains(seen, "environ") && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		seen = strings.Join(peek(t, drive.User(1001), cmd.Process.Pid), " ")
	}
	for _, want := range []string{"environ", "maps", "fd", "exe"} { // tracing is restricted on some systems
		if !strings.Contains(seen, want) {
			t.Errorf("an ordinary process shows %q, not %s", seen, want)
		}
	}
}

// TestMountedProcesses: the daemon and its attendant are closed, keys lie in locked memory that is not dumped, and neither
// arguments nor environment have a secret.
func TestMountedProcesses(t *testing.T) {
	u := newUser(t)
	u.mount("--create")
	u.must("bucket", "create", "b", "--sse", "KMS", "--store", u.store)
	expect.OK(t, u.as(u.who, func() error { return os.WriteFile(u.point+"/b/file", []byte("x"), 0o600) }), "write")
	daemon := u.status().PID
	attendant := attendantOf(t, daemon)
	secret := expect.Read(t, u.key)
	for what, pid := range map[string]int{"daemon": daemon, "attendant": attendant} {
		closed(t, u.who, pid, what)
		for _, name := range []string{"cmdline", "environ"} {
			if bytes.Contains([]byte(procFile(t, pid, name)), secret[:16]) {
				t.Errorf("the %s of the %s has the key", name, what)
			}
		}
	}
	// The attendant has nothing of the store open.
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", attendant))
	expect.OK(t, err, "descriptors of the attendant")
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, u.base) {
			t.Errorf("the attendant has %s open", target)
		}
	}
	locked := 0
	for line := range strings.Lines(procFile(t, daemon, "smaps")) {
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && strings.Contains(flags, " lo ") {
			locked++
			if !strings.Contains(flags, " dd ") {
				t.Errorf("locked memory would be dumped: %s", flags)
			}
		}
	}
	if locked == 0 || field(t, procFile(t, daemon, "status"), "VmLck") == "0 kB" {
		t.Error("the daemon has no locked memory")
	}
	u.must("umount", u.point)
}

// attendantOf returns the attendant of a daemon.
func attendantOf(t *testing.T, daemon int) int {
	t.Helper()
	var pid int
	children := strings.Fields(procFile(t, daemon, fmt.Sprintf("task/%d/children", daemon)))
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", daemon))
	expect.OK(t, err, "threads")
	for _, thread := range threads { // whichever of them started it
		if b, err := os.ReadFile(thread + "/children"); err == nil {
			children = append(children, strings.Fields(string(b))...)
		}
	}
	for _, child := range children {
		if _, err := fmt.Sscan(child, &pid); err == nil && strings.Contains(procFile(t, pid, "cmdline"), "mount-attendant") {
			return pid
		}
	}
	t.Fatalf("daemon %d has no attendant among its children %q", daemon, children)
	return 0
}

// TestCommandsAreClosed looks at every command that reads a secret at the moment when it does.
func TestCommandsAreClosed(t *testing.T) {
	u := newUser(t)
	u.mount("--create")
	backup := filepath.Join(u.base, "backup")
	u.must("backup", backup, "--store", u.store)
	u.must("umount", u.point)
	at := []string{"--store", u.store}
	for _, c := range [][]string{
		{"mount", u.store, u.point},
		{"mount", u.store, u.point, "--foreground"},
		{"mount", filepath.Join(u.base, "new"), u.point, "--create"},
		append([]string{"bucket", "list"}, at...),
		append([]string{"key", "list"}, at...),
		append([]string{"key", "accept-header"}, at...),
		append([]string{"kms", "list"}, at...),
		append([]string{"kms", "accept-keystore"}, at...),
		append([]string{"kms", "export-backup", filepath.Join(u.base, "keys.age"), "--backup-passphrase-file", backup}, at...),
		append([]string{"backup", filepath.Join(u.base, "second")}, at...),
		{"restore", backup, filepath.Join(u.base, "restored")},
		{"fsck", u.store},
		{"fsck", "--repair", u.store},
		{"fsck", "--salvage", filepath.Join(u.base, "salvaged"), u.store},
		{"gc", u.store},
	} {
		t.Run(strings.Join(c[:2], " "), func(t *testing.T) { u.closedWhileReading(t, c) })
	}
	// A new secret is read by the command also while the volume is mounted.
	u.mount()
	fifo := filepath.Join(u.base, "fifo")
	u.closedWhile(t, []string{"key", "add", "--store", u.store, "--new-passphrase-file", fifo}, fifo)
	u.must("umount", u.point)
}

func (u *user) closedWhileReading(t *testing.T, args []string) {
	t.Helper()
	fifo := filepath.Join(u.base, "fifo")
	u.closedWhile(t, append(args, "--passphrase-file", fifo), fifo)
}

// closedWhile runs a command that reads a secret from fifo, looks at it when it has opened that, and hands it nothing.
func (u *user) closedWhile(t *testing.T, args []string, fifo string) {
	t.Helper()
	if err := os.Remove(fifo); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	expect.OK(t, unix.Mkfifo(fifo, 0o600), "mkfifo")
	expect.OK(t, os.Chown(fifo, u.who.UID, u.who.GID), "chown")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := u.command(ctx, args...)
	expect.OK(t, cmd.Start(), "start %q", args)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		// Opening succeeds once the command has it open.
		fd, err := unix.Open(fifo, unix.O_WRONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			closed(t, u.who, cmd.Process.Pid, strings.Join(args, " "))
			expect.OK(t, unix.Close(fd), "close")
			break
		}
		expect.Errno(t, err, unix.ENXIO, "open")
		select {
		case err := <-ended:
			t.Fatalf("ssefs %q ended without reading a secret: %v", args, err)
		case <-time.After(2 * time.Millisecond):
		}
	}
	if err := <-ended; err == nil {
		t.Errorf("ssefs %q succeeded without a secret", args)
	}
}

// TestNoCore: a daemon that aborts leaves no core, though it may have one and is told to make one.
func TestNoCore(t *testing.T) {
	u := newUser(t)
	u.mount("--create")
	u.must("umount", u.point)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := u.command(ctx, "mount", u.store, u.point, "--key-file", u.key, "--foreground", "--log-file", u.base+"/log")
	expect.OK(t, cmd.Start(), "start")
	for !mounted(t, u.point) {
		time.Sleep(5 * time.Millisecond)
		expect.OK(t, ctx.Err(), "mount")
	}
	expect.OK(t, cmd.Process.Signal(syscall.SIGQUIT), "signal") // with GOTRACEBACK=crash that is an abort
	err := cmd.Wait()
	expect.OK(t, unix.Unmount(u.point, unix.MNT_DETACH), "unmount")
	ended, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !ended.Signaled() || ended.CoreDump() {
		t.Errorf("the daemon ended by %v, core dumped: %v", err, ended.CoreDump())
	}
	cores, err := filepath.Glob(filepath.Join(u.base, "core*"))
	if err != nil || len(cores) > 0 {
		t.Errorf("core dumps: %q, %v", cores, err)
	}
	// The same signal dumps the core of an ordinary program here.
	plain := exec.CommandContext(ctx, "sh", "-c", `ulimit -c unlimited; kill -ABRT $$`)
	plain.Dir = t.TempDir()
	_ = plain.Run() // it is killed
	if ended, ok := plain.ProcessState.Sys().(syscall.WaitStatus); !ok || !ended.CoreDump() {
		t.Errorf("an ordinary program dumps no core here either: %v", plain.ProcessState)
	}
}

func mounted(t *testing.T, point string) bool {
	t.Helper()
	_, ok := drive.MountOf(t, point)
	return ok
}
