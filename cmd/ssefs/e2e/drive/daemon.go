package drive

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// daemon is a running `ssefs mount --foreground`.
type daemon struct {
	cmd    *exec.Cmd
	output string        // file that takes its standard output and error
	exited chan struct{} // closed when it has ended; err is set before
	err    error
}

// startDaemon runs the command. The daemon dies with the test process, whatever ends that: the signal is bound to
// the thread that forked, so a goroutine keeps that thread until the daemon is gone.
func startDaemon(bin string, args []string, output string) (*daemon, error) {
	out, err := os.OpenFile(output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	d := &daemon{cmd: exec.Command(bin, args...), output: output, exited: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.Env = slices.Concat(os.Environ(), []string{"GOTRACEBACK=all"})
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if err := d.cmd.Start(); err != nil {
			started <- errors.Join(err, out.Close())
			return
		}
		started <- nil
		d.err = errors.Join(d.cmd.Wait(), out.Close())
		close(d.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return d, nil
}

// wait waits for the end of the daemon. It returns an error when it is still running after limit or ended with
// another exit code than 0.
func (d *daemon) wait(limit time.Duration) error {
	select {
	case <-d.exited:
		return d.err
	case <-time.After(limit):
		return fmt.Errorf("daemon %d is still running after %v", d.cmd.Process.Pid, limit)
	}
}

// Mount starts a daemon for the store and returns when the drive is usable. More arguments of `ssefs mount` go in
// extra.
func (d *Drive) Mount(extra ...string) {
	d.t.Helper()
	if err := d.TryMount(extra...); err != nil {
		d.t.Fatalf("mount: %v", err)
	}
}

// TryMount is Mount for a mount that may fail: the error then holds what the daemon printed.
func (d *Drive) TryMount(extra ...string) error {
	d.t.Helper()
	if d.native != "" {
		return nil
	}
	if d.current() != nil {
		d.t.Fatalf("already mounted")
	}
	args := WithTransport(slices.Concat([]string{"mount", d.store, d.mountpoint, "--foreground", "--key-file", d.keyFile,
		"--log-file", d.logFile}, d.mountArgs, extra))
	p, err := startDaemon(Binary(d.t), args, d.logFile+".out")
	if err != nil {
		return err
	}
	d.setCurrent(p)
	for !mounted(d.t, d.mountpoint) {
		select {
		case <-p.exited:
			d.setCurrent(nil)
			return fmt.Errorf("ssefs %s: %w\n%s", strings.Join(args, " "), p.err, tail(p.output, 4096))
		case <-time.After(5 * time.Millisecond):
		}
	}
	// The mount appears before the daemon answers: the first call waits for it.
	var st unix.Stat_t
	if err := unix.Stat(d.mountpoint, &st); err != nil {
		return fmt.Errorf("stat the mounted root: %w\n%s", err, tail(p.output, 4096))
	}
	return nil
}

// Unmount unmounts with `ssefs umount`, which returns when the store is closed, and checks that the daemon ended
// well.
func (d *Drive) Unmount() {
	d.t.Helper()
	if d.native != "" {
		return
	}
	r := CLI(d.t, "umount", d.mountpoint)
	if r.Code != 0 {
		d.t.Fatalf("ssefs umount: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	d.Ended()
}

// Ended waits for the end of a daemon that was told to stop and checks that it ended well and left no mount.
func (d *Drive) Ended() {
	d.t.Helper()
	if err := d.current().wait(mountLimit); err != nil {
		d.t.Fatalf("the daemon did not end well: %v\n%s", err, tail(d.current().output, 8192))
	}
	d.setCurrent(nil)
	if mounted(d.t, d.mountpoint) {
		d.t.Fatalf("the daemon ended and left its mount")
	}
}

// Remount unmounts and mounts again, so that everything read afterwards comes from the store.
func (d *Drive) Remount(extra ...string) {
	d.t.Helper()
	d.Unmount()
	d.Mount(extra...)
}

// Kill ends the daemon with SIGKILL and takes the dead mount away.
func (d *Drive) Kill() {
	d.t.Helper()
	if d.native != "" {
		d.t.Fatalf("there is no daemon to kill without a mount")
	}
	if err := d.kill(); err != nil {
		d.t.Fatalf("kill the daemon: %v", err)
	}
}

// Killed says that the test itself has ended the daemon by force and has taken its mount away.
func (d *Drive) Killed() {
	d.t.Helper()
	<-d.current().exited
	d.setCurrent(nil)
}

// Pid returns the daemon's process id.
func (d *Drive) Pid() int {
	d.t.Helper()
	if p := d.current(); p != nil {
		return p.cmd.Process.Pid
	}
	d.t.Fatalf("not mounted")
	return 0
}

// kill ends a daemon, if one runs, and detaches the mount.
func (d *Drive) kill() error {
	p := d.current()
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	d.setCurrent(nil)
	if mounted(d.t, d.mountpoint) {
		return unix.Unmount(d.mountpoint, unix.MNT_DETACH)
	}
	return nil
}

// abort is the watchdog: it makes the daemon print its stacks, then kills it, so that whatever the test waits for in
// the kernel fails.
func (d *Drive) abort() {
	p := d.current()
	if p == nil {
		return
	}
	d.t.Errorf("the test did not end within %v: killing its daemon", watchdogAfter)
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it may be gone already
	select {
	case <-p.exited:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
	}
}

func (d *Drive) current() *daemon {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

func (d *Drive) setCurrent(p *daemon) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process = p
}
