package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/uring"
)

// Mode says whether io_uring is wanted.
type Mode uint8

// The modes: use io_uring if it can be had, never, or refuse to mount without.
const (
	Auto Mode = iota
	Off
	On
)

// ParseMode reads auto, on or off; empty is auto.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "", "auto":
		return Auto, nil
	case "on":
		return On, nil
	case "off":
		return Off, nil
	}
	return 0, fmt.Errorf("io_uring is auto, on or off, not %q", s)
}

// Names of the transports.
const (
	NameURing  = "io_uring"
	NameDevice = "/dev/fuse"
)

// Status says how requests come.
type Status struct {
	Name   string
	Reason string // why it is not the other one
	Rings  int    // of io_uring, at present
	// Waiting is how many goroutines wait for requests in a read of /dev/fuse, at most.
	// Those of the rings are not among them: that made no difference.
	Waiting int
}

// Config says what to mount and serve.
type Config struct {
	Mount      Mount
	FileSystem gofuse.RawFileSystem
	Options    *gofuse.MountOptions // what they say of mounting is passed over
	Mode       Mode
	// Mounted, unless nil, is called once the file system is mounted and before the
	// first request is answered: nobody gets in, and nothing waits in the kernel
	// for an answer of this process. After an error nothing is mounted.
	Mounted func() error
	// Detach, unless nil, takes the mount away if it cannot be served, for a process
	// that gave up the right to do so in Mounted.
	Detach func() error
	Logger *slog.Logger
	// Spoil is for tests, see [uring.Config].
	Spoil func(queue int) bool
}

// Server serves a mounted file system.
type Server struct {
	fuse    *gofuse.Server
	rings   *uring.Transport // nil without
	reason  string
	waiting int
}

// Serve mounts the file system and serves it in the background. It returns when
// requests are answered. The file system's Init gets the server that takes
// notifications.
func Serve(cfg Config) (*Server, error) {
	rings, reason, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	device, err := cfg.Mount.open()
	if err != nil {
		closeRings(rings)
		return nil, err
	}
	if cfg.Mounted != nil {
		if err := cfg.Mounted(); err != nil {
			closeRings(rings)
			return nil, errors.Join(err, unix.Close(device), cfg.detach())
		}
	}
	s, err := serve(cfg, device, rings, reason)
	if err != nil {
		return nil, errors.Join(err, cfg.detach())
	}
	return s, nil
}

// detach takes a mount away that cannot be used.
func (cfg Config) detach() error {
	if cfg.Detach != nil {
		return cfg.Detach()
	}
	return cfg.Mount.detach()
}

// prepare makes the rings, or says why there are none.
func prepare(cfg Config) (rings *uring.Transport, reason string, err error) {
	if cfg.Mode == Off {
		return nil, "io_uring=off", nil
	}
	rings, err = uring.New(uring.Config{RequestSize: cfg.Options.MaxWrite, Logger: cfg.Logger, Spoil: cfg.Spoil})
	if err != nil {
		return cfg.without(err)
	}
	return rings, "", nil
}

// without is how a mount goes on for which io_uring cannot be had.
func (cfg Config) without(cause error) (*uring.Transport, string, error) {
	switch {
	case !errors.Is(cause, uring.ErrUnavailable):
		return nil, "", cause
	case cfg.Mode == On:
		return nil, "", fmt.Errorf("io_uring=on: %w", cause)
	}
	return nil, cause.Error(), nil
}

func closeRings(rings *uring.Transport) {
	if rings != nil {
		rings.Close()
	}
}

// serve answers INIT and starts what answers all else. It takes the device over,
// and the rings.
func serve(cfg Config, device int, rings *uring.Transport, reason string) (*Server, error) {
	options := *cfg.Options
	options.DirectMount, options.DirectMountStrict = false, false // mounted already
	if rings != nil {
		if cause := rings.Probe(device); cause != nil {
			rings.Close()
			var err error
			if rings, reason, err = cfg.without(cause); err != nil {
				return nil, errors.Join(err, unix.Close(device))
			}
		} else {
			options.ExtraCapabilities |= gofuse.CAP_OVER_IO_URING
		}
	}
	readers := readers()
	// go-fuse takes the device over, and sees no file behind this path.
	server, err := gofuse.NewServer(cfg.FileSystem, fmt.Sprintf("/dev/fd/%d", device), &options)
	if err != nil {
		closeRings(rings)
		return nil, err
	}
	s := &Server{fuse: server, reason: reason, waiting: readers}
	if rings != nil {
		if s.rings, s.reason, err = start(cfg, server, device, rings); err != nil {
			go server.Serve() // it lets the device go when the mount is taken away
			return nil, err
		}
	}
	go server.Serve()
	return s, nil
}

// readers is how many goroutines of a server that is made now read requests at
// the same time, at most: go-fuse (maxReaders in its server.go) lets in one more
// than there are processors, of which it counts 2 at least and 16 at most.
func readers() int { return min(max(runtime.GOMAXPROCS(0), 2), 16) + 1 }

// start registers the rings. The kernel has been told by now, and waits for
// them.
func start(cfg Config, server *gofuse.Server, device int, rings *uring.Transport) (*uring.Transport, string, error) {
	settings := server.KernelSettings()
	if settings.Flags64()&gofuse.CAP_OVER_IO_URING == 0 {
		rings.Close()
		return cfg.without(fmt.Errorf("%w: the kernel does not offer it", uring.ErrUnavailable))
	}
	protocol := gofuse.NewProtocolServer(cfg.FileSystem, cfg.Options)
	if err := replayInit(protocol, settings); err != nil {
		rings.Close()
		return nil, "", err
	}
	err := rings.Start(device, func(in, out [][]byte) int {
		n, _ := protocol.HandleRequest(in, out) // the status is in the reply, or there is none
		return n
	})
	if err != nil {
		return cfg.without(err)
	}
	return rings, "", nil
}

// Wait returns when the file system is unmounted and all requests are answered.
func (s *Server) Wait() {
	s.fuse.Wait()
	closeRings(s.rings)
}

// Status says how requests come.
func (s *Server) Status() Status {
	if s.rings == nil {
		return Status{Name: NameDevice, Reason: s.reason, Waiting: s.waiting}
	}
	return Status{Name: NameURing, Rings: s.rings.Rings(), Waiting: s.waiting}
}
