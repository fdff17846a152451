package secrecy

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/internal/sandbox/sandboxtest"

	"golang.org/x/sys/unix"
)

// confined checks that each thread of a daemon of root's is in the sandbox.
func confined(t *testing.T, pid int, when string) {
	t.Helper()
	kept := uint64(1)<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_IPC_LOCK
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(threads) < 3 {
		t.Fatalf("%s: %d threads, %v", when, len(threads), err)
	}
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if err != nil {
			continue // it ended
		}
		expect.Equal(t, field(t, string(b), "NoNewPrivs"), "1", "%s: no_new_privs of %s", when, thread)
		for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb"} {
			bits, err := strconv.ParseUint(field(t, string(b), set), 16, 64)
			if err != nil || bits&^kept != 0 {
				t.Errorf("%s: %s of %s is %x, %v", when, set, thread, bits, err)
			}
		}
	}
}

func statusOf(d *drive.Drive, t *testing.T) status {
	t.Helper()
	return parseStatus(t, d.MustCLI("status", "--json"))
}

// TestSandboxInForce: by default, with the kernel's Landlock, for threads that come later too, and while everything works.
func TestSandboxInForce(t *testing.T) {
	d := drive.New(t, drive.Options{})
	if s := statusOf(d, t); s.SandboxABI == 0 || s.SandboxReason != "" {
		t.Fatalf("the sandbox is not in force: %+v", s)
	}
	confined(t, d.Pid(), "when mounted")
	b := d.Bucket("b")
	expect.SetXattr(t, b, "user.sse.policy", "KMS")
	for i := range 40 {
		f := expect.Create(t, filepath.Join(b, fmt.Sprint(i)))
		f.Write(expect.Random(uint64(i), 1<<20))
		f.Sync()
		f.Close()
	}
	drive.Must(t, "cp", "-r", b, d.Path("copy"))
	drive.Must(t, "rm", "-r", b)
	d.MustCLI("gc")
	d.MustCLI("kms", "rotate", "--service-master-key")
	d.MustCLI("backup", filepath.Join(t.TempDir(), "backup"))
	confined(t, d.Pid(), "after work")
	d.Remount()
	if strings.Contains(d.Log(), "permission denied") || strings.Contains(d.Log(), "not permitted") {
		t.Errorf("something was refused: %s", d.Log())
	}
	// The groups of a caller are looked up.
	shared := d.Bucket("shared")
	var key struct {
		ID string `json:"id"`
	}
	expect.OK(t, json.Unmarshal([]byte(d.MustCLI("kms", "create", "--json")), &key), "parse")
	d.MustCLI("kms", "grant", key.ID, "--group", "4321", "--allow", "decrypt,generate")
	d.MustCLI("bucket", "set", "shared", "--sse", "KMS", "--key-id", key.ID)
	write := func(who drive.Identity) error {
		return drive.As(t, who, func() error { return os.WriteFile(filepath.Join(shared, fmt.Sprint(who.UID)), []byte("x"), 0o600) })
	}
	expect.OK(t, write(drive.Identity{UID: 1001, GID: 1001, Groups: []int{4321}}), "write with a grant to a group")
	expect.Errno(t, write(drive.User(1002)), unix.EACCES, "write without")
	r := drive.CLI(t, "status", "--store", d.Store())
	if !strings.Contains(r.Stdout, "in force (Landlock") {
		t.Errorf("status says %q", r.Stdout)
	}
}

// TestHostileStore: a link in the place of a file of the store leads out of it only without a sandbox.
func TestHostileStore(t *testing.T) {
	for _, c := range []struct {
		sandbox string
		code    int
	}{{"off", 0}, {"on", 1}} {
		d := drive.New(t, drive.Options{Mount: []string{"--sandbox", c.sandbox}})
		d.MustCLI("kms", "create")
		segments, err := filepath.Glob(filepath.Join(d.Store(), "audit-keys.*"))
		if err != nil || len(segments) != 1 {
			t.Fatalf("segments of the audit log: %q, %v", segments, err)
		}
		segment := segments[0]
		outside := filepath.Join(drive.Dir(t), "outside")
		expect.OK(t, os.Rename(segment, outside), "move a segment of the audit log out")
		expect.OK(t, os.Symlink(outside, segment), "symlink")
		if r := d.CLI("kms", "audit"); (r.Code == 0) != (c.code == 0) {
			t.Errorf("sandbox %s: the audit log is read with exit code %d: %s", c.sandbox, r.Code, r.Stderr)
		}
		expect.OK(t, os.Rename(outside, segment), "move it back")
		d.MustCLI("kms", "audit", "--verify")
		d.Unmount()
	}
}

// TestSandboxModes: off is off, by option and by -o, and what is neither is refused.
func TestSandboxModes(t *testing.T) {
	d := drive.New(t, drive.Options{Mount: []string{"-o", "sandbox=off"}})
	s := statusOf(d, t)
	if s.SandboxABI != 0 || s.SandboxReason != "sandbox=off" {
		t.Errorf("off: %+v", s)
	}
	expect.Equal(t, field(t, procFile(t, s.PID, "status"), "NoNewPrivs"), "0", "no_new_privs without a sandbox")
	d.Unmount()
	if err := d.TryMount("--sandbox", "perhaps"); err == nil || !strings.Contains(err.Error(), "auto, on or off") {
		t.Errorf("an unknown mode: %v", err)
	}
	d.Mount("--sandbox", "on")
	if s := statusOf(d, t); s.SandboxABI == 0 {
		t.Errorf("on: %+v", s)
	}
}

// withoutLandlock is a helper that becomes another program, for which the kernel has no Landlock.
func withoutLandlock(p *drive.Peer) error {
	if err := sandboxtest.HideLandlock(); err != nil {
		return err
	}
	return unix.Exec(p.Args[0], p.Args, os.Environ())
}

// TestWithoutLandlock: on an older kernel, auto mounts and says why there is no sandbox, and on does not mount.
func TestWithoutLandlock(t *testing.T) {
	u := newUser(t)
	older := func(args ...string) drive.Result {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "/proc/self/exe", slices.Concat([]string{drive.Binary(t)}, drive.WithTransport(args))...)
		cmd.Env = append(os.Environ(), "SSEFS_E2E_HELPER=older")
		return drive.Run(ctx, t, cmd)
	}
	mount := []string{"mount", u.store, u.point, "--key-file", u.key, "--create", "--log-file", u.base + "/log", "--sandbox"}
	r := older(append(mount, "on")...)
	if r.Code != 1 || !strings.Contains(r.Stderr, "this kernel has no Landlock") {
		t.Errorf("on: exit %d, %s", r.Code, r.Stderr)
	}
	drive.OneLine(t, r)
	if _, err := os.Stat(u.store); err == nil {
		t.Error("on: a store was made all the same")
	}
	if r := older(append(mount, "auto")...); r.Code != 0 {
		t.Fatalf("auto: exit %d, %s", r.Code, r.Stderr)
	}
	s := parseStatus(t, drive.Must(t, drive.Binary(t), "status", "--store", u.store, "--json"))
	if s.SandboxABI != 0 || !strings.Contains(s.SandboxReason, "this kernel has no Landlock") {
		t.Errorf("auto: %+v", s)
	}
	drive.Must(t, drive.Binary(t), "umount", u.point)
}

// TestHiddenProcesses: where /proc hides processes, auto does without, so that groups can be looked up.
func TestHiddenProcesses(t *testing.T) {
	u := newUser(t)
	script := `set -eu
mount -t proc -o hidepid=2 proc /proc
for mode in auto on; do
  "$SSEFS" mount "$STORE" "$POINT" --create --key-file "$KEY" --log-file "$STORE.log" --sandbox $mode
  "$SSEFS" status --store "$STORE" | grep Sandbox
  "$SSEFS" umount "$POINT"
done
`
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "SSEFS="+drive.Binary(t), "STORE="+u.store, "POINT="+u.point, "KEY="+u.key)
	r := drive.Run(ctx, t, cmd)
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if r.Code != 0 || len(lines) != 2 || !strings.Contains(lines[0], "none") || !strings.Contains(lines[0], "hidepid") || !strings.Contains(lines[1], "in force") {
		t.Errorf("exit %d, %q, %s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestEndsOfAUser: a user's daemon, which needs set-uid fusermount3, unmounts when it is told to, in use or not; when it is
// killed its attendant goes with it; and without an attendant it still stores everything.
func TestEndsOfAUser(t *testing.T) {
	u := newUser(t)
	u.mount("--create")
	u.must("bucket", "create", "b", "--store", u.store)
	file := filepath.Join(u.point, "b", "file")
	write := func(text string) {
		expect.OK(t, u.as(u.who, func() error { return os.WriteFile(file, []byte(text), 0o600) }), "write")
	}
	read := func() (text string) {
		expect.OK(t, u.as(u.who, func() error {
			b, err := os.ReadFile(file)
			text = string(b)
			return err
		}), "read")
		return text
	}
	end := func(what string, sig syscall.Signal) {
		t.Helper()
		daemon := u.status().PID
		attendant := attendantOf(t, daemon)
		expect.OK(t, unix.Kill(daemon, sig), "signal")
		gone(t, daemon)
		gone(t, attendant)
		expect.Equal(t, len(sockets(t, u)), 0, "control sockets after %s", what)
	}
	write("idle")
	end("an idle drive", unix.SIGTERM)
	expect.Equal(t, mounted(t, u.point), false, "mounted after SIGTERM")
	u.mount()
	expect.Equal(t, read(), "idle", "contents")
	write("busy")
	var fd int
	expect.OK(t, u.as(u.who, func() (err error) {
		fd, err = unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	}), "open")
	end("a busy drive", unix.SIGTERM)
	_ = unix.Close(fd) // of a drive that is gone
	expect.Equal(t, mounted(t, u.point), false, "mounted after SIGTERM in use")
	logs, err := filepath.Glob(filepath.Join(u.runtime, "ssefs", "*.log"))
	if err != nil || len(logs) != 1 || !strings.Contains(string(expect.Read(t, logs[0])), "the drive is busy") {
		t.Errorf("no log says that the drive was busy: %q, %v", logs, err)
	}
	u.mount()
	expect.Equal(t, read(), "busy", "contents")

	write("attended no more")
	daemon := u.status().PID
	expect.OK(t, unix.Kill(attendantOf(t, daemon), unix.SIGKILL), "kill the attendant")
	expect.OK(t, unix.Kill(daemon, unix.SIGTERM), "signal")
	gone(t, daemon)
	if mounted(t, u.point) {
		expect.OK(t, unix.Unmount(u.point, unix.MNT_DETACH), "unmount")
	}
	u.mount()
	expect.Equal(t, read(), "attended no more", "contents after an end without an attendant")
	daemon = u.status().PID
	attendant := attendantOf(t, daemon)
	expect.OK(t, unix.Kill(attendant, unix.SIGTERM), "signal the attendant, which stays")
	u.must("status", "--store", u.store)
	expect.Equal(t, attendantOf(t, daemon), attendant, "attendant")
	expect.OK(t, unix.Kill(daemon, unix.SIGKILL), "kill the daemon")
	gone(t, daemon)
	gone(t, attendant)
	expect.OK(t, unix.Unmount(u.point, unix.MNT_DETACH), "unmount")
}

// gone waits until there is no process of this number any more.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(b), ") Z ") { // a zombie is its parent's business
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// sockets lists the control sockets of a user.
func sockets(t *testing.T, u *user) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(u.runtime, "ssefs", "*.sock"))
	expect.OK(t, err, "control sockets")
	return found
}
