package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/exit"
)

// Child is the whole of the process that Start made: it returns when the store is closed. ctx ends by the
// signals that ask the daemon to end.
func Child(ctx context.Context, logger *slog.Logger) error {
	for _, fd := range []int{handoverFD, reportFD} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return exit.Errorf(exit.Usage, "%s is started by 'ssefs mount' only", ChildCommand)
		}
		unix.CloseOnExec(fd)
	}
	up := &reporter{pipe: os.NewFile(reportFD, "report")}
	err := serveChild(ctx, up, logger)
	if err != nil {
		logger.Error("the mount daemon ends", "err", err)
		up.fail(err)
	}
	return err
}

func serveChild(ctx context.Context, up *reporter, logger *slog.Logger) error {
	if err := Harden(); err != nil {
		return err
	}
	handover := os.NewFile(handoverFD, "handover")
	cfg, s, err := readHandover(handover)
	if closeErr := handover.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	defer s.Wipe()
	return Serve(ctx, cfg, s, logger, up)
}

// Reporter hears how a mount gets on. After Ready nothing more is said.
type Reporter interface {
	// Note says what takes a while.
	Note(text string)
	// Ready says that the drive is usable. An error means that nobody wants it any more.
	Ready() error
}

// reporter writes reports to the pipe. It is safe for concurrent use.
type reporter struct {
	mu   sync.Mutex
	pipe *os.File // nil after the last report
}

func (r *reporter) Note(text string) { _ = r.send(report{Note: text}) }

func (r *reporter) Ready() error {
	err := r.send(report{Ready: true})
	if errors.Is(err, syscall.EPIPE) {
		err = errors.New("the mount command is gone")
	}
	return err
}

func (r *reporter) fail(err error) { _ = r.send(report{Error: err.Error(), Code: exit.Of(err)}) }

func (r *reporter) send(line report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pipe == nil {
		return nil
	}
	err := json.NewEncoder(r.pipe).Encode(line)
	if line.Ready || line.Error != "" {
		if closeErr := r.pipe.Close(); err == nil {
			err = closeErr
		}
		r.pipe = nil
	}
	return err
}
