// Package attendant is a process beside a mount daemon, for what must not or cannot be done in the daemon: unmounting,
// since no process in a sandbox may, nor start the set-uid program that does it for users; and having the kernel write
// back the dirty pages of the drive, which the daemon would wait for itself to take.
//
// It is started before the daemon enters its sandbox, and before it opens the store, of which it inherits nothing. It
// holds no secret, and does a handful of things with one mount point, which it was started with: that is all that a
// daemon which was taken over gets from it. They talk through a pair of pipes, one line for each request and reply. The
// attendant ends with the daemon, when its pipe does, and by nothing else: signals that end everything at once must not
// end it first.
package attendant

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"ssefs/cmd/ssefs/internal/mounts"
)

// Command is the hidden command that an attendant is started with.
const Command = "mount-attendant"

// The file descriptors of an attendant, after the three standard ones.
const (
	requestFD = 3
	replyFD   = 4
)

// What can be asked for.
const (
	doUnmount      = "unmount"
	doFlush        = "flush"
	doDetach       = "detach"
	doAbort        = "abort"
	doReadAhead    = "read-ahead"
	doRemoveSocket = "remove-socket"
)

// reply is one line from the attendant.
type reply struct {
	Error string `json:"error,omitempty"`
	Busy  bool   `json:"busy,omitempty"` // the error is mounts.ErrBusy
}

// ErrGone is wrapped when the attendant has ended before the daemon.
var ErrGone = errors.New("the attendant of the mount is gone")

// Attendant is the daemon's side. It is safe for concurrent use.
type Attendant struct {
	process *exec.Cmd

	mu       sync.Mutex // guards what follows: one request at a time
	requests *os.File
	replies  *bufio.Reader
	pipe     *os.File // of replies
}

// Start starts the attendant of the drive at mountpoint, whose control socket is to be at socket.
func Start(mountpoint, socket string) (*Attendant, error) {
	requestR, requestW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	replyR, replyW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, requestR.Close(), requestW.Close())
	}
	cmd := exec.Command("/proc/self/exe", Command, mountpoint, socket)
	cmd.Args[0] = "ssefs"
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{requestR, replyW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a terminal's signals are for the daemon
	err = cmd.Start()
	_, _ = requestR.Close(), replyW.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the attendant of the mount: %w", err), requestW.Close(), replyR.Close())
	}
	return &Attendant{process: cmd, requests: requestW, replies: bufio.NewReader(replyR), pipe: replyR}, nil
}

// Unmount takes the drive away the plain way: it fails with mounts.ErrBusy while it is in use.
func (a *Attendant) Unmount() error { return a.ask(doUnmount) }

// Flush has the kernel write its dirty pages of the drive back, within a bounded time.
func (a *Attendant) Flush() error { return a.ask(doFlush) }

// Detach takes the drive out of the name space.
func (a *Attendant) Detach() error { return a.ask(doDetach) }

// Abort cuts the connection between the kernel and the daemon of a drive that was detached.
func (a *Attendant) Abort() error { return a.ask(doAbort) }

// SetReadAhead sets the kernel's read-ahead on the drive. Only root may.
func (a *Attendant) SetReadAhead() error { return a.ask(doReadAhead) }

// RemoveSocket removes the control socket from its directory.
func (a *Attendant) RemoveSocket() error { return a.ask(doRemoveSocket) }

func (a *Attendant) ask(request string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.requests.WriteString(request + "\n"); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	line, err := a.replies.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	var r reply
	switch err := json.Unmarshal(line, &r); {
	case err != nil:
		return fmt.Errorf("the attendant of the mount replied %q: %w", line, err)
	case r.Busy:
		return &busyError{r.Error}
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

// busyError is mounts.ErrBusy in the attendant's words.
type busyError struct{ text string }

func (e *busyError) Error() string { return e.text }
func (e *busyError) Unwrap() error { return mounts.ErrBusy }

// Close ends the attendant and waits for its end.
func (a *Attendant) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := errors.Join(a.requests.Close(), a.pipe.Close())
	if waitErr := a.process.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("the attendant of the mount: %w", waitErr))
	}
	return err
}
