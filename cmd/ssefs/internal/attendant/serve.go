package attendant

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
)

// FlushCommand is the hidden command that has the kernel write its dirty pages of a mount back. It runs in a process
// of its own, which can be given up.
const FlushCommand = "push-dirty-pages"

// flushTime bounds it: pages of a file whose writer never pauses could go on for ever.
const flushTime = 30 * time.Second

// Serve is the whole of the attendant's process: it returns when the daemon is gone.
func Serve(mountpoint, socket string) error {
	for _, fd := range []int{requestFD, replyFD} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return exit.Errorf(exit.Usage, "%s is started by a mount daemon only", Command)
		}
		unix.CloseOnExec(fd)
	}
	// It ends when the daemon does, not before.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	s := server{mountpoint: mountpoint, socket: socket}
	replies := json.NewEncoder(os.NewFile(replyFD, "replies"))
	for requests := bufio.NewScanner(os.NewFile(requestFD, "requests")); requests.Scan(); {
		var r reply
		if err := s.do(requests.Text()); err != nil {
			r = reply{Error: err.Error(), Busy: errors.Is(err, mounts.ErrBusy)}
		}
		if err := replies.Encode(r); err != nil {
			return nil // the daemon is gone
		}
	}
	return nil
}

// server is the attendant's side.
type server struct {
	mountpoint string
	socket     string
	detached   mounts.Mount
}

func (s *server) do(request string) error {
	switch request {
	case doUnmount:
		return mounts.Unmount(s.mountpoint)
	case doFlush:
		return flush(s.mountpoint)
	case doDetach:
		var err error
		if s.detached, err = s.mount(); err != nil {
			return err
		}
		return mounts.Detach(s.mountpoint)
	case doAbort:
		return s.detached.Abort()
	case doReadAhead:
		m, err := s.mount()
		if err != nil {
			return err
		}
		return m.SetReadAhead(mounts.ReadAheadKiB)
	case doRemoveSocket:
		return os.Remove(s.socket)
	}
	return fmt.Errorf("unknown request %q", request)
}

// mount finds the drive.
func (s *server) mount() (mounts.Mount, error) {
	list, err := mounts.List()
	if err != nil {
		return mounts.Mount{}, err
	}
	m, ok := mounts.At(list, s.mountpoint)
	if !ok || !m.FUSE() {
		return mounts.Mount{}, fmt.Errorf("%s is not mounted", s.mountpoint)
	}
	return m, nil
}

func flush(mountpoint string) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	push := exec.CommandContext(ctx, "/proc/self/exe", FlushCommand, mountpoint)
	if out, err := push.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
