package drive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperVariable tells the test binary, started again, which helper to be.
const helperVariable = "SSEFS_E2E_HELPER"

// helperLimit bounds the wait for one line of a helper that hangs.
const helperLimit = 2 * time.Minute

// Helper is code that runs in a process of its own. It talks with its test in lines. The error it returns reaches
// the test through [Process.Wait].
type Helper func(p *Peer) error

// Peer is a helper's side of the talk.
type Peer struct {
	Args []string
	in   *bufio.Reader
}

// Say sends a line to the test.
func (p *Peer) Say(line string) error {
	_, err := fmt.Println(line)
	return err
}

// Hear waits for a line from the test; io.EOF means that the test has nothing more to say.
func (p *Peer) Hear() (string, error) {
	line, err := p.in.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// Main is TestMain: it builds the binary and runs the tests, or runs the helper that the environment names. It does not
// return.
func Main(m *testing.M, helpers map[string]Helper) {
	name := os.Getenv(helperVariable)
	if name == "" {
		if err := requirements(); err != nil {
			fmt.Fprintf(os.Stderr, "the end-to-end tests cannot run here: %v\n", err)
			os.Exit(1)
		}
		remove, err := prepare()
		if err != nil {
			fmt.Fprintf(os.Stderr, "no ssefs binary to test: %v\n", err)
			os.Exit(1)
		}
		races, err := collectRaces()
		if err != nil {
			fmt.Fprintf(os.Stderr, "no place for reports of data races: %v\n", err)
			os.Exit(1)
		}
		code := m.Run()
		remove()
		if err := races(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	helper, ok := helpers[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no helper %q\n", name)
		os.Exit(1)
	}
	if err := helper(&Peer{Args: os.Args[1:], in: bufio.NewReader(os.Stdin)}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// requirements looks for what every test needs. Its absence fails the run: a skipped test would look like a passed
// one.
func requirements() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("they need root: other users, devices and mounts are part of them")
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("no FUSE: %w", err)
	}
	return f.Close()
}

// Process is a helper at work. Its methods end the test on failure.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan string
	stderr strings.Builder
	exited chan error
}

// Start starts a helper, named in the map given to [Main], in another process. It is killed at the test's end if it
// still runs.
func Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command("/proc/self/exe", args...), lines: make(chan string, 16),
		exited: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), helperVariable+"="+name)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatalf("start helper %s: %v", name, err)
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("start helper %s: %v", name, err)
	}
	started := make(chan error)
	go p.attend(out, started)
	if err := <-started; err != nil {
		t.Fatalf("start helper %s: %v", name, err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // mostly it has ended long before
	return p
}

// attend starts the process, passes its lines on and waits for its end, all on one thread for the sake of Pdeathsig.
func (p *Process) attend(out io.Reader, started chan<- error) {
	runtime.LockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.lines <- lines.Text()
	}
	close(p.lines)
	p.exited <- p.cmd.Wait()
}

// Pid returns the helper's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Say sends a line to the helper.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("talk to the helper: %v", err)
	}
}

// Hear returns the helper's next line.
func (p *Process) Hear() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("the helper ended: %v\n%s", <-p.exited, p.stderr.String())
		}
		return line
	case <-time.After(helperLimit):
		p.t.Fatalf("the helper said nothing for %v", helperLimit)
	}
	return ""
}

// Expect fails the test unless the helper's next line is want.
func (p *Process) Expect(want string) {
	p.t.Helper()
	if got := p.Hear(); got != want {
		p.t.Errorf("the helper said %q, want %q", got, want)
	}
}

// Wait tells the helper that nothing more will be said and waits for its end, which has to be a good one.
func (p *Process) Wait() {
	p.t.Helper()
	// It is closed already if the helper has ended.
	if err := p.in.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		p.t.Fatalf("end the talk with the helper: %v", err)
	}
	for _, line := range p.Rest() {
		p.t.Errorf("the helper still said %q", line)
	}
}

// Rest waits for the helper to end well, without another word to it, and returns what it still said.
func (p *Process) Rest() []string {
	p.t.Helper()
	var rest []string
	for {
		select {
		case line, ok := <-p.lines:
			if ok {
				rest = append(rest, line)
				continue
			}
			if err := <-p.exited; err != nil {
				p.t.Fatalf("helper: %v\n%s", err, p.stderr.String())
			}
			return rest
		case <-time.After(helperLimit):
			p.t.Fatalf("the helper did not end within %v", helperLimit)
		}
	}
}

// Kill ends the helper with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Fatalf("kill the helper: %v", err)
	}
	for range p.lines {
		// what it had still said
	}
	<-p.exited
}
