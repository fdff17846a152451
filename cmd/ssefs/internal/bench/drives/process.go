package drives

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/mounts"
)

// How long things may take. They are there so that a drive that hangs ends a benchmark some time.
const (
	mountLimit   = 60 * time.Second
	unmountLimit = 2 * time.Minute
	killGrace    = 5 * time.Second // for what was interrupted
	pollEvery    = 2 * time.Millisecond
)

// process is a running process that serves a drive.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of the end; read after exited
	log    string
}

// startProcess starts cmd with its output going to the end of the file log. It gets a process group of its own, so that
// an interrupt from the terminal leaves it to us to end it, and is killed when this process dies or, some time after,
// when ctx ends.
func startProcess(ctx context.Context, cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, exited: make(chan struct{}), log: log}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the signal comes when the thread that started the process ends
		if err := cmd.Start(); err != nil {
			started <- errors.Join(err, out.Close())
			return
		}
		started <- nil
		p.err = errors.Join(cmd.Wait(), out.Close())
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() {
		select {
		case <-p.exited:
		case <-time.After(killGrace):
			_ = p.kill() // whatever waits for it in the kernel fails
		}
	})
	return p, nil
}

// waitForMount waits until something is mounted at point that was not before, and answers.
func (p *process) waitForMount(ctx context.Context, point string) error {
	limit := time.After(mountLimit)
	for !mounts.Shows(point) {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it had mounted anything (%v): %s", p.cmd.Path, p.err, p.tail())
		case <-limit:
			return fmt.Errorf("%s has mounted nothing within %v: %s", p.cmd.Path, mountLimit, p.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(point, &st); err != nil { // the mount is there before the process answers
		return fmt.Errorf("stat %s: %w: %s", point, err, p.tail())
	}
	return nil
}

// wait waits for the end of the process.
func (p *process) wait() error {
	select {
	case <-p.exited:
		if p.err != nil {
			return fmt.Errorf("%s: %w: %s", p.cmd.Path, p.err, p.tail())
		}
		return nil
	case <-time.After(unmountLimit):
		return fmt.Errorf("%s has not ended within %v", p.cmd.Path, unmountLimit)
	}
}

// kill ends the process by force.
func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.exited
	return err
}

// tail returns the end of what the process printed.
func (p *process) tail() string {
	const most = 2048
	f, err := os.Open(p.log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read from
	if end, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, end-most), io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	return string(bytes.TrimSpace(text))
}

// unmount unmounts point, which may be in use for a moment after the last file is closed.
func unmount(ctx context.Context, point string) error {
	limit := time.Now().Add(unmountLimit)
	for {
		err := mounts.Unmount(point)
		if err == nil || !errors.Is(err, mounts.ErrBusy) || time.Now().After(limit) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(10 * time.Millisecond):
		}
	}
}
