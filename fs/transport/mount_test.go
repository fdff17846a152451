package transport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/fs/uring/uringtest"
)

// hangs is after how long a test gives a server up.
const hangs = 60 * time.Second

func TestMain(m *testing.M) {
	if point := os.Getenv(helperVariable); point != "" {
		if err := help(point, os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// server is a mount served by a process of its own.
type server struct {
	t      *testing.T
	point  string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors *bytes.Buffer
	ended  chan struct{} // closed when err is set
	err    error

	connection atomic.Uint64 // the kernel's number of it
}

// abort cuts the connection, which ends requests even if the server is stuck in
// the kernel itself. It needs the control file system of FUSE.
func (s *server) abort() {
	_ = os.WriteFile(fmt.Sprintf("/sys/fs/fuse/connections/%d/abort", s.connection.Load()), []byte("1"), 0)
}

// mount starts a server. It fails the test only if that hangs.
func mount(t *testing.T, mode, spoil string) (*server, error) {
	t.Helper()
	s := &server{t: t, point: t.TempDir(), errors: &bytes.Buffer{}, ended: make(chan struct{})}
	s.cmd = exec.Command("/proc/self/exe", mode, spoil)
	s.cmd.Env = append(os.Environ(), helperVariable+"="+s.point)
	s.cmd.Stderr = s.errors
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	// Not StdoutPipe: Wait would close it under the reader.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.out = w, bufio.NewReader(r)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close() // theirs now
	go func() {
		s.err = s.cmd.Wait()
		close(s.ended)
	}()
	watchdog := time.AfterFunc(hangs, func() {
		t.Errorf("hangs; killing the server")
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		time.Sleep(time.Second)
		_ = s.cmd.Process.Kill()
		s.abort()
	})
	t.Cleanup(func() {
		s.finish()
		watchdog.Stop()
		_ = r.Close()
	})
	line, err := s.out.ReadString('\n')
	if err != nil {
		<-s.ended
		return s, fmt.Errorf("%w: %s", errors.Join(s.err, err), s.errors)
	}
	if line != "mounted\n" {
		t.Fatalf("the server says %q", line)
	}
	var st unix.Stat_t
	if err := unix.Stat(s.point, &st); err != nil {
		t.Fatal(err)
	}
	s.connection.Store(uint64(unix.Minor(st.Dev)))
	return s, nil
}

// mustMount mounts over io_uring where this kernel has it.
func mustMount(t *testing.T) (s *server, rings bool) {
	t.Helper()
	rings = uringtest.Available(t)
	mode := "auto"
	if rings {
		mode = "on"
	}
	var err error
	uringtest.SwitchedOn(t, func() { s, err = mount(t, mode, "") })
	if err != nil {
		t.Fatal(err)
	}
	s.isOn(rings)
	return s, rings
}

// isOn checks how requests come.
func (s *server) isOn(rings bool) {
	s.t.Helper()
	want := NameDevice
	if rings {
		want = NameURing
	}
	if got := s.ask("status"); !strings.HasPrefix(got, want+" ") {
		s.t.Fatalf("requests come over %q, want %s", got, want)
	}
}

// rings returns how many rings the server has.
func (s *server) rings() int {
	s.t.Helper()
	var name string
	var n int
	if _, err := fmt.Sscan(s.ask("status"), &name, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// ask has the server carry out a command.
func (s *server) ask(command string) string {
	s.t.Helper()
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		s.t.Fatal(err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, s.errors)
	}
	return strings.TrimSpace(line)
}

// until waits for an answer.
func (s *server) until(command, want string) {
	s.t.Helper()
	got := ""
	for end := time.Now().Add(hangs); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = s.ask(command); got == want {
			return
		}
	}
	s.t.Fatalf("%s is %s, want %s", command, got, want)
}

func (s *server) path(name string) string { return filepath.Join(s.point, name) }

// unmount ends a server the plain way.
func (s *server) unmount() {
	s.t.Helper()
	if err := unix.Unmount(s.point, 0); err != nil {
		s.t.Fatalf("unmount: %v", err)
	}
	<-s.ended
	if s.err != nil {
		s.t.Errorf("the server ended with %v", s.err)
	}
}

// finish takes away what the test has left.
func (s *server) finish() {
	for unix.Unmount(s.point, unix.MNT_DETACH) == nil {
		// There may be more than one mount.
	}
	select {
	case <-s.ended:
	default:
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	if s.t.Failed() {
		s.t.Logf("the server said:\n%s", s.errors)
	}
}

// hold opens a file, so that the kernel remembers one.
func (s *server) hold() *os.File {
	s.t.Helper()
	f, err := os.Open(s.path("held"))
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// exists looks a name up; there is no cache before the server.
func (s *server) exists(name string) error {
	var st unix.Stat_t
	return unix.Lstat(s.path(name), &st)
}

// mounted reports whether anything is mounted on the mount point.
func (s *server) mounted() bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Contains(string(b), " "+s.point+" ")
}
