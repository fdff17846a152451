package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/sandbox/sandboxtest"
)

// helperVariable makes the test binary, started again, a process that enters the sandbox: nothing brings it out again.
const helperVariable = "SSEFS_SANDBOX_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperVariable) {
	case "":
		os.Exit(m.Run())
	case "attempts":
		report(attempts(os.Args[1], os.Args[2], os.Args[3]))
	case "blind":
		report(withoutLandlock())
	case "nested":
		report(nested())
	case "status":
		report(enterAndTell(os.Args[1], os.Args[2]))
	}
}

func report(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helper runs the test binary as a helper and returns what it printed.
func helper(t *testing.T, what string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperVariable+"="+what)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// site is a store, and what lies outside of it.
func site(t *testing.T) (store, outside string) {
	t.Helper()
	base := t.TempDir()
	store, outside = filepath.Join(base, "store"), filepath.Join(base, "outside")
	for _, dir := range []string{store, outside, filepath.Join(store, "db")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{filepath.Join(store, "file"), filepath.Join(outside, "file")} {
		if err := os.WriteFile(file, []byte("contents"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return store, outside
}

// TestAttempts has a process enter the sandbox and try what it may and what it may not, by a path with a symlink in it.
func TestAttempts(t *testing.T) {
	abi, err := ABI()
	if err != nil {
		t.Fatalf("the sandbox cannot be tested here: %v", err)
	}
	store, outside := site(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(store), link); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	abstract, err := net.Listen("unix", fmt.Sprintf("@ssefs-sandbox-test-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	out, err := helper(t, "attempts", filepath.Join(link, "store"), outside, listener.Addr().String()+" "+abstract.Addr().String())
	if err != nil {
		t.Errorf("%v (Landlock ABI %d):\n%s", err, abi, out)
	}
	if err := errors.Join(listener.Close(), abstract.Close()); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(outside, "file")); string(b) != "contents" || err != nil {
		t.Errorf("the file outside is %q, %v", b, err)
	}
}

// threads is how many threads there are before the sandbox, each of which must be in it.
const threads = 8

// attempts is the helper of TestAttempts.
func attempts(store, outside, addresses string) error {
	var waiting sync.WaitGroup
	entered := make(chan struct{})
	results := make(chan error, threads)
	for range threads {
		waiting.Add(1)
		go func() {
			runtime.LockOSThread()
			waiting.Done()
			<-entered
			results <- refused("open outside from an older thread", unix.EACCES, openFile(outside+"/file"))
		}()
	}
	waiting.Wait()
	before, err := os.OpenFile(outside+"/file", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	status, err := Enter(On, Rules{Store: store})
	if err != nil {
		return err
	}
	close(entered)
	for range threads {
		err = errors.Join(err, <-results)
	}
	if status.ABI == 0 || status.Reason != "" {
		err = errors.Join(err, fmt.Errorf("status %+v", status))
	}
	if _, writeErr := before.WriteAt([]byte("c"), 0); writeErr != nil {
		err = errors.Join(err, fmt.Errorf("a file that was open before: %w", writeErr))
	}
	reopened := openFile(fmt.Sprintf("/proc/self/fd/%d", before.Fd()))
	err = errors.Join(err, refused("open once more what is open", unix.EACCES, reopened))
	tcp, abstract, _ := strings.Cut(addresses, " ")
	return errors.Join(err, allowed(store), forbiddenFiles(store, outside), forbiddenProcesses(status.ABI),
		forbiddenSockets(status.ABI, tcp, abstract), forbiddenToRoot(outside))
}

// allowed does what a store does.
func allowed(store string) error {
	name, renamed := store+"/db/new", store+"/db/renamed"
	steps := []struct {
		what string
		err  error
	}{
		{"read", openFile(store + "/file")},
		{"create", os.WriteFile(name, []byte("x"), 0o600)},
		{"truncate", os.Truncate(name, 100)},
		{"overwrite", os.WriteFile(name, []byte("y"), 0o600)},
		{"rename", os.Rename(name, renamed)},
		{"mkdir", os.Mkdir(store+"/dir", 0o700)},
		{"rmdir", os.Remove(store + "/dir")},
		{"remove", os.Remove(renamed)},
		{"list", openFile(store + "/db")},
		{"groups of another process", openFile(fmt.Sprintf("/proc/%d/status", os.Getppid()))},
	}
	var err error
	for _, s := range steps {
		if s.err != nil {
			err = errors.Join(err, fmt.Errorf("%s in the sandbox: %w", s.what, s.err))
		}
	}
	return err
}

func openFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

func refused(what string, want unix.Errno, err error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("%s: %v, want %w", what, err, want)
}

func forbiddenFiles(store, outside string) error {
	return errors.Join(
		refused("read outside", unix.EACCES, openFile(outside+"/file")),
		refused("read outside by way of the store", unix.EACCES, openFile(store+"/../outside/file")),
		refused("list outside", unix.EACCES, openFile(outside)),
		refused("list above", unix.EACCES, openFile(store+"/..")),
		refused("create outside", unix.EACCES, os.WriteFile(outside+"/new", nil, 0o600)),
		refused("create beside the store", unix.EACCES, os.WriteFile(filepath.Dir(outside)+"/new", nil, 0o600)),
		refused("truncate outside", unix.EACCES, os.Truncate(outside+"/file", 0)),
		refused("remove outside", unix.EACCES, os.Remove(outside+"/file")),
		refused("mkdir outside", unix.EACCES, os.Mkdir(outside+"/dir", 0o700)),
		refused("rename out of the store", unix.EACCES, os.Rename(store+"/file", outside+"/moved")),
		refused("link into the store", unix.EXDEV, os.Link(outside+"/file", store+"/linked")),
		refused("symlink in the store", unix.EACCES, os.Symlink("/etc", store+"/link")),
		refused("socket in the store", unix.EACCES, unix.Mknod(store+"/socket", unix.S_IFSOCK|0o600, 0)),
		refused("passwords", unix.EACCES, openFile("/etc/shadow")),
		refused("settings of the kernel", unix.EACCES, writeTo("/proc/sys/kernel/core_pattern")),
		refused("its own process", unix.EACCES, writeTo("/proc/self/oom_score_adj")),
		refused("devices", unix.EACCES, openFile("/dev/null")),
		refused("start a program", unix.EACCES, exec.Command("/bin/true").Run()),
		refused("start itself", unix.EACCES, exec.Command("/proc/self/exe").Run()),
	)
}

func writeTo(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// abiOfScopes and abiOfTCP are the versions of Landlock from which on it knows of what they are called after.
const (
	abiOfTCP    = 4
	abiOfScopes = 6
)

func forbiddenProcesses(abi int) error {
	parent := os.Getppid()
	memory := fmt.Sprintf("/proc/%d/mem", parent)
	environment := fmt.Sprintf("/proc/%d/environ", parent)
	err := errors.Join(
		refused("memory of another process", unix.EACCES, openFile(memory)),
		refused("environment of another process", unix.EACCES, openFile(environment)),
		refused("files by way of another process", unix.EACCES, openFile(fmt.Sprintf("/proc/%d/root/etc/passwd", parent))),
		refused("files by way of itself", unix.EACCES, openFile("/proc/self/root/etc/passwd")),
		refused("trace another process", unix.EPERM, unix.PtraceSeize(parent)),
		refused("mount", unix.EPERM, unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "")),
		refused("unmount", unix.EPERM, unix.Unmount("/proc", 0)),
	)
	if abi >= abiOfScopes {
		err = errors.Join(err, refused("signal another process", unix.EPERM, unix.Kill(parent, 0)))
	}
	if killErr := unix.Kill(os.Getpid(), 0); killErr != nil {
		err = errors.Join(err, fmt.Errorf("signal itself: %w", killErr))
	}
	return err
}

func forbiddenSockets(abi int, tcp, abstract string) error {
	var err error
	if abi >= abiOfTCP {
		// Multipath TCP, which package net prefers for listeners, is another protocol to Landlock.
		plain := net.ListenConfig{}
		plain.SetMultipathTCP(false)
		l, listenErr := plain.Listen(context.Background(), "tcp", "127.0.0.1:0")
		if listenErr == nil {
			listenErr = l.Close()
		}
		_, dialErr := net.Dial("tcp", tcp)
		err = errors.Join(refused("listen", unix.EACCES, listenErr), refused("connect", unix.EACCES, dialErr))
	}
	if abi >= abiOfScopes {
		_, dialErr := net.Dial("unix", abstract)
		err = errors.Join(err, refused("connect to an abstract socket", unix.EPERM, dialErr))
	}
	return err
}

// forbiddenToRoot is what capabilities were for.
func forbiddenToRoot(outside string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return errors.Join(
		refused("change an owner", unix.EPERM, os.Chown(outside+"/file", 1001, 1001)),
		refused("another root", unix.EPERM, unix.Chroot("/")),
		refused("become another user", unix.EPERM, unix.Setuid(1001)),
		refused("another name space", unix.EPERM, unix.Unshare(unix.CLONE_NEWNS)),
	)
}

// enterAndTell is a helper that enters in some mode, tells the status, and whether it can still read what is outside.
func enterAndTell(mode, store string) error {
	m, err := ParseMode(mode)
	if err != nil {
		return err
	}
	if err := Check(m); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	status, err := Enter(m, Rules{Store: store})
	if err != nil {
		return err
	}
	confined := openFile("/etc/passwd") != nil
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	fmt.Printf("%t %t %s\n", confined, bytes.Contains(b, []byte("NoNewPrivs:\t1")), status.Reason)
	return nil
}

// TestShortMemory: while directory entries are forgotten, the threads are found all the same. It needs root to matter.
func TestShortMemory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can have the kernel forget directory entries")
	}
	store, _ := site(t)
	stop := make(chan struct{})
	var forgetting sync.WaitGroup
	forgetting.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0) // refused to others than root
			}
		}
	})
	defer forgetting.Wait()
	defer close(stop)
	for range 10 {
		if out, err := helper(t, "status", "on", store); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}

func TestModes(t *testing.T) {
	store, _ := site(t)
	for mode, want := range map[string]string{"on": "true true", "auto": "true true", "off": "false false sandbox=off"} {
		out, err := helper(t, "status", mode, store)
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("%s: %q, %v, want %q", mode, out, err, want)
		}
	}
}

// TestLinkedStore: a part of the store that lies elsewhere would be out of reach.
func TestLinkedStore(t *testing.T) {
	store, outside := site(t)
	if err := os.Symlink(outside, filepath.Join(store, "db", "link")); err != nil {
		t.Fatal(err)
	}
	out, err := helper(t, "status", "auto", store)
	if err != nil || !strings.HasPrefix(out, "false false ") || !strings.Contains(out, "db/link is a symbolic link") {
		t.Errorf("auto: %q, %v", out, err)
	}
	out, err = helper(t, "status", "on", store)
	if err == nil || !strings.Contains(out, "db/link is a symbolic link") {
		t.Errorf("on: %q, %v", out, err)
	}
}

// TestWithoutLandlock: a kernel that has none is an error in mode on, and in mode auto a reason.
func TestWithoutLandlock(t *testing.T) {
	store, _ := site(t)
	out, err := helper(t, "blind", "auto", store)
	if err != nil || !strings.HasPrefix(out, "false ") || !strings.Contains(out, "this kernel has no Landlock") {
		t.Errorf("auto: %q, %v", out, err)
	}
	out, err = helper(t, "blind", "on", store)
	if err == nil || !strings.Contains(out, "check: ") || !strings.Contains(out, "this kernel has no Landlock") {
		t.Errorf("on: %q, %v", out, err)
	}
}

// withoutLandlock runs the helper enterAndTell with a filter of system calls that makes the kernel look older.
func withoutLandlock() error {
	runtime.LockOSThread()
	if err := sandboxtest.HideLandlock(); err != nil {
		return err
	}
	env := []string{helperVariable + "=status"}
	return unix.Exec("/proc/self/exe", append([]string{os.Args[0]}, os.Args[1:]...), env)
}

// nested enters sandboxes until the kernel allows no more, and then runs the helper enterAndTell. What is allowed in them
// is all that the helper needs.
func nested() error {
	for range maxNested {
		if err := landlock.V1.RestrictPaths(landlock.RWDirs("/")); err != nil {
			return err
		}
	}
	return enterAndTell(os.Args[1], os.Args[2])
}

// maxNested is how many sandboxes Linux allows within one another.
const maxNested = 16

// TestNested: a kernel that refuses the sandbox itself is an error in mode on, and in mode auto a reason.
func TestNested(t *testing.T) {
	store, _ := site(t)
	out, err := helper(t, "nested", "auto", store)
	if err != nil || !strings.HasPrefix(out, "false ") || !strings.Contains(out, "maximum number") {
		t.Errorf("auto: %q, %v", out, err)
	}
	out, err = helper(t, "nested", "on", store)
	if err == nil || !strings.Contains(out, "sandbox=on") || !strings.Contains(out, "maximum number") {
		t.Errorf("on: %q, %v", out, err)
	}
}

func TestShowsProcesses(t *testing.T) {
	for options, want := range map[string]bool{
		"rw": true, "rw,hidepid=off": true, "rw,hidepid=0": true, "rw,gid=5,hidepid=invisible": false, "rw,hidepid=2": false, "rw,hidepid=ptraceable": false,
	} {
		list := []mounts.Mount{{Point: "/", Super: "rw"}, {Point: "/proc", Type: "proc", Super: options}}
		if err := showsProcesses(list); (err == nil) != want || err != nil && !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "on": On, "off": Off} {
		if m, err := ParseMode(text); m != want || err != nil {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"yes", "ON", "1", "on "} {
		if m, err := ParseMode(text); err == nil {
			t.Errorf("%q: %v", text, m)
		}
	}
}
