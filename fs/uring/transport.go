package uring

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrUnavailable is wrapped by the reasons why requests cannot come over
// io_uring here.
var ErrUnavailable = errors.New("FUSE over io_uring is not available")

// errOver is for what comes after the end.
var errOver = errors.New("the mount is gone")

// SwitchFile is the parameter of the kernel that allows FUSE over io_uring.
const SwitchFile = "/sys/module/fuse/parameters/enable_uring"

// leastPayload is the kernel's FUSE_MIN_READ_BUFFER.
const leastPayload = 8192

// Handler answers a request: in is what would be read from /dev/fuse, out takes
// what would be written to it. It returns the size of the reply. The buffers
// are the kernel's again after that.
type Handler func(in, out [][]byte) (n int)

// Config says how requests are served.
type Config struct {
	// RequestSize is the largest READ or WRITE in bytes.
	RequestSize int
	Logger      *slog.Logger
	// Spoil is for tests: rings of the queues that it chooses are registered so
	// that the kernel refuses them.
	Spoil func(queue int) bool
}

// Transport is the rings of a mount.
type Transport struct {
	payload int
	logger  *slog.Logger
	spoil   func(queue int) bool
	allowed unix.CPUSet // processors that this process may use
	queues  []*queue
	device  int // ours; 0 before Start
	handle  Handler

	first, rest chan struct{} // closed to have each queue's first ring registered, and the others
	started     []chan error  // outcomes, of the first rings and then of the others
	stop        chan struct{} // closed to end all workers
	stopped     int           // a pipe that is at its end then
	stopPipe    *os.File      // its other end
	stopOnce    sync.Once
	inUse       atomic.Bool
	nudges      atomic.Uint64
	watching    atomic.Bool
	watch       chan struct{}
	shortage    sync.Once
	done        chan struct{} // closed when all workers have ended
	mu          sync.Mutex    // guards what follows
	live        int           // workers; negative once all have ended
	workers     []*worker     // all that there ever were
}

// New makes the rings, their buffers and threads for a mount to come.
func New(cfg Config) (*Transport, error) {
	unavailable := func(err error) (*Transport, error) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := switchedOn(SwitchFile); err != nil {
		return unavailable(err)
	}
	n, err := queues()
	if err != nil {
		return unavailable(err)
	}
	t := &Transport{
		payload: max(leastPayload, pages(cfg.RequestSize)), logger: cfg.Logger, spoil: cfg.Spoil,
		first: make(chan struct{}), rest: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
		watch: make(chan struct{}, 1),
	}
	if err := unix.SchedGetaffinity(0, &t.allowed); err != nil {
		return unavailable(err)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return unavailable(err)
	}
	t.stopped, t.stopPipe = pipe[0], os.NewFile(uintptr(pipe[1]), "stop")
	for i := range n {
		t.queues = append(t.queues, &queue{t: t, number: i})
	}
	if err := t.spawnAll(); err != nil {
		t.Close()
		return unavailable(explain(err))
	}
	return t, nil
}

func (t *Transport) spawnAll() error {
	t.begun() // until all are there, the last one to end must not be the last
	defer t.ended()
	for i := range firstRings {
		start := t.first
		if i > 0 {
			start = t.rest
		}
		for _, q := range t.queues {
			started := make(chan error, 1)
			if err := t.spawn(q, start, started); err != nil {
				return err
			}
			t.started = append(t.started, started)
		}
	}
	return nil
}

// switchedOn looks at the kernel's parameter.
func switchedOn(file string) error {
	b, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return errors.New("this kernel does not have it (Linux 6.14 and later do)")
	case err != nil:
		return err
	case strings.TrimSpace(string(b)) != "Y":
		return errors.New("it is switched off: 'echo Y > " + file + "' as root switches it on")
	}
	return nil
}

// explain adds to errors of io_uring what they mean.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("io_uring is forbidden here, by the sysctl kernel.io_uring_disabled or a filter of system calls: %w", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("this kernel has no io_uring: %w", err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("not enough memory, or a limit on it: %w", err)
	}
	return err
}

// Probe asks the kernel, before INIT of the mount is answered, whether it would
// take registrations for this device.
func (t *Transport) Probe(device int) error {
	result, err := refusal(device)
	if err == nil && result != unix.EAGAIN {
		err = fmt.Errorf("the kernel refuses: %w", result)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// refusal sends a registration without buffers and returns how it was refused:
// with EAGAIN before INIT, with EINVAL after it, which has the kernel go on
// with /dev/fuse. Other numbers mean that it did not get that far.
func refusal(device int) (unix.Errno, error) {
	r, err := newRing()
	if err != nil {
		return 0, err
	}
	r.submit(func(e sqe) { e.refuse(device, tagRequest) })
	c, err := r.wait()
	return unix.Errno(-c.result), errors.Join(err, r.close())
}

// Start registers the rings, after INIT was answered with the flag. An error is
// either ErrUnavailable, and the kernel sends requests over /dev/fuse, or
// another one: then the mount is of no use and has to be taken away.
func (t *Transport) Start(device int, handle Handler) error {
	var err error
	if t.device, err = unix.FcntlInt(uintptr(device), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return t.giveUp(device, err)
	}
	t.handle = handle
	close(t.first)
	if err := collect(t.started[:len(t.queues)]); err != nil {
		return t.giveUp(device, err)
	}
	// The kernel uses the rings now, and nothing brings it back to /dev/fuse.
	t.inUse.Store(true)
	go t.watchQueues()
	close(t.rest)
	if err := collect(t.started[len(t.queues):]); err != nil {
		t.logger.Warn("not all rings could be registered; blocked requests may hold others up", "err", err)
	}
	return nil
}

func collect(started []chan error) error {
	var errs []error
	for _, c := range started {
		errs = append(errs, <-c)
	}
	return errors.Join(errs...)
}

// giveUp has the kernel go on with /dev/fuse after a failure.
func (t *Transport) giveUp(device int, cause error) error {
	result, err := refusal(device)
	t.Close()
	switch {
	case err != nil:
		return fmt.Errorf("give io_uring up after %w: %w", cause, err)
	case result != unix.EINVAL && result != unix.EOPNOTSUPP: // not supported: the kernel never meant to use it
		return fmt.Errorf("give io_uring up after %w: the kernel says %w", cause, result)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, cause)
}

// Close ends all workers, once their handlers have ended, and gives the rings
// back. It is for a mount that is gone, or that does not use the rings.
func (t *Transport) Close() {
	t.stopOnce.Do(func() {
		close(t.stop)
		t.close("stop the rings", t.stopPipe.Close)
		if t.begun() {
			t.ended() // there may have been none
		}
		<-t.done
		t.close("close a pipe", func() error { return unix.Close(t.stopped) })
		if t.device != 0 {
			t.close("close the FUSE device", func() error { return unix.Close(t.device) })
		}
	})
	<-t.done
}

func (t *Transport) close(what string, f func() error) {
	if err := f(); err != nil {
		t.logger.Error(what, "err", err)
	}
}

// Rings returns how many rings there are now.
func (t *Transport) Rings() int {
	n := 0
	for _, q := range t.queues {
		n += int(q.size.Load())
	}
	return n
}

// begun counts a worker in; false means that it is too late.
func (t *Transport) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live < 0 {
		return false
	}
	t.live++
	return true
}

// ended counts a worker out. The last one turns off the light.
func (t *Transport) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live--; t.live == 0 {
		t.live = -1
		close(t.done)
	}
}

// watchOut has the queues watched, one of which is short of rings.
func (t *Transport) watchOut() {
	if t.watching.CompareAndSwap(false, true) {
		t.watch <- struct{}{} // has room: one token for each turn of the watch
	}
}

// watchQueues looks at the queues every few milliseconds from the moment that
// one is short of rings until none has been for a while.
func (t *Transport) watchQueues() {
	for {
		select {
		case <-t.watch:
		case <-t.done:
			return
		}
		tick := time.NewTicker(watchInterval)
		for quiet := 0; quiet < quietTimes; quiet++ {
			select {
			case <-tick.C:
			case <-t.done:
			}
			for _, q := range t.queues {
				if q.look() {
					quiet = 0
				}
			}
		}
		tick.Stop()
		t.watching.Store(false)
		for _, q := range t.queues {
			if q.short() {
				t.watchOut() // it filled up just before
			}
		}
	}
}

// shortOfRings says, once, that a queue could not grow.
func (t *Transport) shortOfRings(q *queue, err error) {
	if errors.Is(err, errOver) {
		return
	}
	t.shortage.Do(func() {
		t.logger.Warn("no more rings to be had; blocked requests hold up others of the same processor",
			"processor", q.number, "rings", q.size.Load(), "err", err)
	})
}
