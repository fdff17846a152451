package drives

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/mounts"
)

// Paths are what a served drive has in its directory.
type Paths struct {
	Store string // where the drive keeps its data
	Point string // where it is mounted
	Work  string // a directory for keys and the like
}

// Ending says what a process does when its drive is unmounted.
type Ending int

const (
	// EndsWithMount is for a process that ends.
	EndsWithMount Ending = iota
	// MountsAgain is for a process that mounts what it has in memory again, until it gets SIGTERM.
	MountsAgain
)

// Served is a drive that a process serves.
type Served struct {
	Title string
	// Prepare makes what has to be there before the first mount; nil if that is nothing.
	Prepare func(ctx context.Context, p Paths) error
	// Command is the process, which must stay in the foreground and serve p.Point.
	Command func(p Paths) *exec.Cmd
	Ending  Ending
	// Subdir, unless empty, is the directory on the drive to work in, made after the first mount.
	Subdir string
}

// Name names the drive.
func (d Served) Name() string { return d.Title }

// Start makes and mounts the drive.
func (d Served) Start(ctx context.Context, dir string) (Session, error) { return d.Open(ctx, dir) }

// Open is Start for those who want to do more with the drive than with others.
func (d Served) Open(ctx context.Context, dir string) (*Mounted, error) {
	s := &Mounted{drive: d, paths: Paths{
		Store: filepath.Join(dir, "store"), Point: filepath.Join(dir, "mount"), Work: filepath.Join(dir, "work"),
	}}
	for _, path := range []string{s.paths.Store, s.paths.Point, s.paths.Work} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
	}
	if d.Prepare != nil {
		if err := d.Prepare(ctx, s.paths); err != nil {
			return nil, fmt.Errorf("make a drive of %s: %w", d.Title, err)
		}
	}
	s.ctx = ctx
	if err := s.Mount(ctx); err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	if d.Subdir != "" {
		if err := os.Mkdir(s.Dir(), 0o755); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Mounted is a served drive in use.
type Mounted struct {
	drive   Served
	paths   Paths
	ctx     context.Context // of the session: its end ends the process
	process *process        // nil if there is none
	sampler *sampler        // of process
	past    Usage           // of the processes before
}

// Dir is where to work.
func (s *Mounted) Dir() string { return filepath.Join(s.paths.Point, s.drive.Subdir) }

// Mount mounts a drive that is not mounted.
func (s *Mounted) Mount(ctx context.Context) error {
	if s.process == nil {
		p, err := startProcess(s.ctx, s.drive.Command(s.paths), filepath.Join(s.paths.Work, "log"))
		if err != nil {
			return fmt.Errorf("start %s: %w", s.drive.Title, err)
		}
		s.process, s.sampler = p, startSampler(p.cmd.Process.Pid)
	}
	if err := s.process.waitForMount(ctx, s.paths.Point); err != nil {
		return fmt.Errorf("mount %s: %w", s.drive.Title, err)
	}
	return nil
}

// Cold unmounts and mounts again.
func (s *Mounted) Cold(ctx context.Context) error {
	if err := syncfs(s.paths.Point); err != nil {
		return err
	}
	leave := s.Unmount
	if s.drive.Ending == MountsAgain {
		leave = func(ctx context.Context) error { return unmount(ctx, s.paths.Point) }
	}
	if err := leave(ctx); err != nil {
		return err
	}
	return s.Mount(ctx)
}

// Unmount unmounts the drive, which ends the process, and makes the kernel forget what it has cached of the store.
func (s *Mounted) Unmount(ctx context.Context) error {
	last, err := s.ofProcess()
	if err != nil {
		return err
	}
	if s.drive.Ending == MountsAgain {
		err = s.process.cmd.Process.Signal(unix.SIGTERM)
	} else {
		err = unmount(ctx, s.paths.Point)
	}
	if err != nil {
		return err
	}
	if err := s.process.wait(); err != nil {
		return err
	}
	s.gone(last)
	return dropCaches(s.paths.Store)
}

// Kill ends the process with SIGKILL and takes away the mount that it leaves.
func (s *Mounted) Kill() error {
	last, err := s.ofProcess()
	if err != nil {
		return err
	}
	if err := s.process.kill(); err != nil {
		return err
	}
	s.gone(last)
	if err := mounts.Detach(s.paths.Point); err != nil {
		return err
	}
	return dropCaches(s.paths.Store)
}

// gone adds what the process that has ended has used. The kernel counts its time to the end.
func (s *Mounted) gone(last Usage) {
	state := s.process.cmd.ProcessState
	last.CPU = state.UserTime() + state.SystemTime()
	last.PeakAnon = max(last.PeakAnon, s.sampler.stop())
	if r, ok := state.SysUsage().(*syscall.Rusage); ok {
		last.Written = max(last.Written, r.Oublock*512)
	}
	s.past = s.past.add(last)
	s.process, s.sampler = nil, nil
}

// Usage tells what all processes of the session have used.
func (s *Mounted) Usage() (Usage, error) {
	u := s.past
	if s.process != nil {
		now, err := s.ofProcess()
		if err != nil {
			return u, err
		}
		u = u.add(now)
	}
	var err error
	u.Space, err = spaceOf(s.paths.Store)
	return u, err
}

func (s *Mounted) ofProcess() (Usage, error) {
	u, err := usageOf(s.process.cmd.Process.Pid)
	if err != nil {
		return u, fmt.Errorf("%w: %s", err, s.process.tail())
	}
	u.PeakAnon = s.sampler.peak()
	return u, nil
}

// Close unmounts, by force if it must be.
func (s *Mounted) Close() error {
	if s.process == nil {
		return nil
	}
	var err error
	select {
	case <-s.process.exited:
		err = fmt.Errorf("%s has ended by itself (%v): %s", s.drive.Title, s.process.err, s.process.tail())
	default:
		err = s.Unmount(s.ctx)
	}
	return errors.Join(err, s.abandon())
}

// abandon ends a process that is still there, and takes away the mount that it leaves.
func (s *Mounted) abandon() error {
	if s.process == nil {
		return nil
	}
	err := s.process.kill()
	s.sampler.stop()
	s.process = nil
	if mounts.Shows(s.paths.Point) {
		err = errors.Join(err, mounts.Detach(s.paths.Point))
	}
	return err
}
