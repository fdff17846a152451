package daemon

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/crypto"
)

// ChildCommand is the hidden command that a child is started with.
const ChildCommand = "mount-daemon"

// The file descriptors of a child, after the three standard ones.
const (
	handoverFD = 3
	reportFD   = 4
)

// report is one line from the child. Exactly one line is the last: one that is Ready or has an Error.
type report struct {
	Note  string    `json:"note,omitempty"`
	Ready bool      `json:"ready,omitempty"`
	Error string    `json:"error,omitempty"`
	Code  exit.Code `json:"code,omitempty"`
}

// Start mounts in the background and returns the daemon's pid once the drive is usable. The daemon writes to
// log. note is called with what takes a while. When ctx ends first, the daemon is told to end and Start waits for it.
func Start(ctx context.Context, cfg Config, s crypto.Secret, log *os.File, note func(string)) (pid int, err error) {
	handoverR, handoverW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer func() { _ = handoverW.Close() }()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		_ = handoverR.Close()
		return 0, err
	}
	defer func() { _ = reportR.Close() }()
	cmd := exec.Command("/proc/self/exe", ChildCommand, cfg.Store, cfg.Mountpoint)
	cmd.Args[0] = "ssefs"
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{handoverR, reportW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_, _ = handoverR.Close(), reportW.Close()
	if err != nil {
		return 0, fmt.Errorf("start the mount daemon: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer stop()
	if err := writeHandover(handoverW, cfg, s); err != nil && !errors.Is(err, syscall.EPIPE) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, err
	}
	last, err := follow(reportR, note)
	if err == nil && last.Ready {
		pid := cmd.Process.Pid
		return pid, cmd.Process.Release()
	}
	waitErr := cmd.Wait()
	switch {
	case last.Error != "":
		return 0, exit.With(last.Code, errors.New(last.Error))
	case err != nil:
		return 0, err
	}
	return 0, fmt.Errorf("the mount daemon ended before the drive was usable (%v): its last words are in %s", waitErr, log.Name())
}

// follow reads reports up to the last one; the zero report means that the child is gone without one.
func follow(r *os.File, note func(string)) (report, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line report
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return report{}, fmt.Errorf("the mount daemon reported %q: %w", lines.Text(), err)
		}
		if line.Ready || line.Error != "" {
			return line, nil
		}
		note(line.Note)
	}
	return report{}, lines.Err()
}
