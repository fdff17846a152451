package fs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/transport"
	"ssefs/fs/uring"
	"ssefs/fs/volume"
	"ssefs/kms"
)

// Config says what to mount, and how.
type Config struct {
	Volume     *volume.Volume
	KMS        *kms.Service
	Mountpoint string
	// Bucket, unless empty, is the bucket that the mount shows as its root.
	Bucket     string
	AllowOther bool
	// MountFlags are the flags of mount(2): MS_RDONLY, MS_NOSUID and so on.
	MountFlags uintptr
	FsName     string
	Subtype    string
	ReadOnly   bool
	// NoACL switches POSIX ACLs off.
	NoACL bool
	// DefaultPermissions has the kernel check permissions also where it does not
	// need to; see checks.
	DefaultPermissions bool
	// IOUring says whether requests are to come over io_uring.
	IOUring transport.Mode
	// Mounted and Detach, unless nil, are called as [transport.Config] says.
	Mounted, Detach func() error
	Logger          *slog.Logger
}

// checks reports whether the kernel is to check modes and ACLs. It is not for a
// mount of root's that nobody else may enter: root may do what it likes to the
// files, while checking costs a request for the attributes of the directory
// after each change to it. ACLs are kept and inherited all the same.
func (c *Config) checks() bool {
	return c.DefaultPermissions || c.AllowOther || os.Geteuid() != 0
}

// maxRequest is the largest READ or WRITE in bytes.
const maxRequest = 1 << 20

// maxBackground is how many requests the kernel has in flight that nobody
// waits for: read-ahead and write-back. Fewer than a queue of io_uring may have
// rings, so that they never take them all.
const maxBackground = uring.MaxRings / 2

// Server is a mounted drive.
type Server struct {
	transport *transport.Server
	drive     *drive
	stop      func()
}

// Serve mounts the volume and serves it in the background. It returns when the
// drive can be used.
func Serve(cfg Config) (*Server, error) {
	d, err := newDrive(cfg)
	if err != nil {
		return nil, err
	}
	stop := d.followKeys(cfg.KMS)
	server, err := transport.Serve(transport.Config{
		Mount: mountOf(cfg), FileSystem: d, Options: MountOptions(cfg), Mode: cfg.IOUring,
		Mounted: cfg.Mounted, Detach: cfg.Detach, Logger: cfg.Logger,
	})
	if err != nil {
		stop()
		d.close()
		return nil, err
	}
	return &Server{transport: server, drive: d, stop: stop}, nil
}

// Wait returns when the drive is unmounted and all requests are answered.
func (s *Server) Wait() {
	s.transport.Wait()
	s.stop()
	s.drive.close()
}

// Transport says how the kernel's requests come.
func (s *Server) Transport() transport.Status { return s.transport.Status() }

// EntryChanged tells the kernel that a name in a directory, given by its inode
// number, was changed by other means than its requests, so that it forgets what
// it knows of the name, and of the directory. It must not be called by a request
// handler.
func (s *Server) EntryChanged(dir uint64, name string) {
	d := s.drive
	if dir != d.root.Ino && d.root.Ino != volume.RootInode {
		return // outside what the mount shows
	}
	d.kernel.EntryNotify(d.node(dir), name)
	d.invalidate(dir)
}

// MountOptions are the options that a drive is mounted with. The benchmark's drive that does nothing has the same ones, so
// that it shows what they allow.
func MountOptions(cfg Config) *gofuse.MountOptions {
	o := &gofuse.MountOptions{
		AllowOther:               cfg.AllowOther,
		FsName:                   cfg.FsName,
		Name:                     cfg.Subtype,
		MaxWrite:                 maxRequest,
		MaxBackground:            maxBackground,
		MaxReadAhead:             maxRequest,
		EnableSymlinkCaching:     true,
		ExplicitDataCacheControl: true,
		DisableSplice:            true, // only for contents that are in a file
		ExtraCapabilities: gofuse.CAP_WRITEBACK_CACHE | gofuse.CAP_HANDLE_KILLPRIV_V2 | gofuse.CAP_EXPORT_SUPPORT |
			gofuse.CAP_DONT_MASK | gofuse.CAP_SETXATTR_EXT | gofuse.CAP_ASYNC_DIO |
			gofuse.CAP_DIRECT_IO_ALLOW_MMAP,
		PanicHandler: func(p any) gofuse.Status {
			cfg.Logger.Error("a request failed for a fault of the program; please report it", "panic", p, "stack", string(debug.Stack()))
			return gofuse.EIO
		},
		Logger: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
	}
	if cfg.checks() {
		o.Options = append(o.Options, "default_permissions")
		o.EnableAcl = !cfg.NoACL // for the kernel this implies default_permissions
	}
	if os.Geteuid() == 0 {
		o.DirectMountStrict = true
		o.DirectMountFlags = cfg.MountFlags
		if o.DirectMountFlags == 0 {
			o.DirectMountFlags = unix.MS_MGC_VAL // or go-fuse would choose flags itself
		}
		return o
	}
	for _, f := range []struct {
		flag uintptr
		name string
	}{
		{unix.MS_RDONLY, "ro"}, {unix.MS_NOEXEC, "noexec"}, {unix.MS_NOATIME, "noatime"}, {unix.MS_SYNCHRONOUS, "sync"},
		{unix.MS_DIRSYNC, "dirsync"},
	} {
		if cfg.MountFlags&f.flag != 0 {
			o.Options = append(o.Options, f.name)
		}
	}
	return o
}

// mountOf is the same for mounting without go-fuse.
func mountOf(cfg Config) transport.Mount {
	return transport.Mount{
		Point: cfg.Mountpoint, FsName: cfg.FsName, Subtype: cfg.Subtype, Flags: cfg.MountFlags,
		Options: MountOptions(cfg).Options, AllowOther: cfg.AllowOther, MaxRead: maxRequest,
	}
}

// drive answers the kernel's requests.
type drive struct {
	gofuse.RawFileSystem // for requests that the kernel does not send here, such as locks
	v                    *volume.Volume
	kms                  *kms.Service
	log                  *slog.Logger
	root                 *volume.Inode // pinned; what the kernel knows as number 1
	handles              handleTable
	writeBacks           chan struct{} // holds a token for each that waits, see writeBackCache
	reports              reports
	kernel               notifier
}

// notifier is the kernel's side that cached contents are taken back through.
type notifier interface {
	InodeNotify(node uint64, off int64, length int64) gofuse.Status
	EntryNotify(parent uint64, name string) gofuse.Status
}

func newDrive(cfg Config) (*drive, error) {
	d := &drive{
		reports:       reports{table: errnoTable()},
		writeBacks:    make(chan struct{}, maxWriteBacks),
		RawFileSystem: gofuse.NewDefaultRawFileSystem(),
		v:             cfg.Volume, kms: cfg.KMS, log: cfg.Logger,
	}
	var err error
	if cfg.Bucket == "" {
		d.root, err = d.v.Inode(volume.RootInode)
	} else {
		d.root, err = d.v.Lookup(volume.RootInode, cfg.Bucket)
		if errors.Is(err, volume.ErrNotExist) {
			return nil, fmt.Errorf("bucket %s: %w", cfg.Bucket, err)
		}
	}
	return d, err
}

// Init takes the server that notifications go through, before any other request
// comes.
func (d *drive) Init(server *gofuse.Server) { d.kernel = server }

func (d *drive) close() { d.v.Unpin(d.root) }

// String names the file system in go-fuse's messages.
func (d *drive) String() string { return "ssefs" }

// ino translates a node number of the kernel.
func (d *drive) ino(node uint64) uint64 {
	if node == gofuse.FUSE_ROOT_ID {
		return d.root.Ino
	}
	return node
}

// node translates an inode number for the kernel.
func (d *drive) node(ino uint64) uint64 {
	if ino == d.root.Ino {
		return gofuse.FUSE_ROOT_ID
	}
	return ino
}

// inode returns the inode of a node number, pinned.
func (d *drive) inode(node uint64) (*volume.Inode, error) { return d.v.Inode(d.ino(node)) }
