package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/attendant"
	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/runtimedir"
	"ssefs/cmd/ssefs/internal/sandbox"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/fs"
	"ssefs/fs/transport"
	"ssefs/fs/uring"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// goodbye is how long those who wait on the control socket have to take their answers.
const goodbye = 2 * time.Second

// Serve mounts a drive, serves it until it is unmounted or ctx ends, and closes the store.
func Serve(ctx context.Context, cfg Config, s crypto.Secret, logger *slog.Logger, up Reporter) error {
	logger.Info("mounting", "store", cfg.Store, "mountpoint", cfg.Mountpoint, "pid", os.Getpid())
	socket := runtimedir.Socket(cfg.Runtime, cfg.Store)
	// First of all, so that it inherits nothing.
	helper, err := attendant.Start(cfg.Mountpoint, socket)
	if err != nil {
		return err
	}
	defer func() {
		if err := helper.Close(); err != nil {
			logger.Warn("the attendant did not end well", "err", err)
		}
	}()
	opened, err := open(ctx, cfg, s, logger, up)
	s.Wipe()
	if err != nil {
		return err
	}
	d := &drive{cfg: cfg, session: opened, attendant: helper, logger: logger, closed: make(chan struct{}), rest: func() {}}
	d.operations = ops.New(opened, d.mount())
	server, err := control.Listen(socket, d.operations, logger)
	if err != nil {
		return errors.Join(err, opened.Close())
	}
	err = d.run(ctx, socket, up)
	d.close(socket)
	bye, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	if closeErr := server.Close(bye); closeErr != nil {
		logger.Debug("control socket", "err", closeErr)
	}
	if err = errors.Join(err, d.closeErr); err == nil {
		logger.Info("store closed", "store", cfg.Store)
	}
	return err
}

// open opens or makes the store as the options say.
func open(ctx context.Context, cfg Config, s crypto.Secret, logger *slog.Logger, up Reporter) (*session.Session, error) {
	o := session.Options{
		ReadOnly: cfg.Options.ReadOnly,
		Memory:   cfg.Options.Memory,
		Logger:   logger,
		Note:     up.Note,
	}
	LimitHeap(o.Memory)
	o.Atime, o.AtimeDirs = atime(cfg.Options)
	if cfg.Options.KMS == "off" {
		o.KMS = kms.Off
	}
	o.Settings = session.Settings{
		DefaultPolicy: cfg.Options.DefaultPolicy, Region: cfg.Options.Region, RotateMasterKey: cfg.Options.RotateMasterKey,
	}
	opener := session.Open
	if cfg.Options.Create {
		opener = session.OpenOrCreate
	}
	opened, err := opener(ctx, cfg.Store, s, o)
	if err != nil {
		return nil, err
	}
	if err := prepareBucket(ctx, opened, cfg.Options); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

// heapLimit is what the collector keeps the Go heap under at the default size of dirty data, which is not on it, in
// bytes: under a sustained fill with small files the database and its garbage took more than 1 GB without a limit, and
// no longer for it. Of that up to 235 MB are in use, half of them buffers that the database builds tables in and keeps
// for a while. With a limit of 256 MiB the collector then ran without a pause and took half of all processor time.
const heapLimit = 320 << 20

// LimitHeap bounds the Go heap, unless the environment does (GOMEMLIMIT). It grows with the memory that mount is given.
func LimitHeap(memory int64) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(heapLimit + max(0, memory-volume.DefaultDirtyMemory))
	}
}

// prepareBucket sees to it that the bucket to be shown is there.
func prepareBucket(ctx context.Context, s *session.Session, o mountopt.Options) error {
	if o.Bucket == "" {
		return nil
	}
	if o.Create {
		return s.EnsureBucket(ctx, o.Bucket, session.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
	}
	return s.RequireBucket(o.Bucket)
}

// drive is one mount.
type drive struct {
	cfg        Config
	session    *session.Session
	attendant  *attendant.Attendant
	operations *ops.Operations
	logger     *slog.Logger
	server     atomic.Pointer[fs.Server] // nil before it is mounted
	sandbox    atomic.Pointer[sandbox.Status]
	rest       func()        // ends the upkeep of keys; see maintain
	closed     chan struct{} // closed when the store is
	closeErr   error         // what went wrong then; read after closed
	abandoned  bool          // the kernel still sends requests: see finish
}

// mount is what the control socket tells about this mount.
func (d *drive) mount() ops.Mount {
	return ops.Mount{
		Mountpoint: d.cfg.Mountpoint,
		Bucket:     d.cfg.Options.Bucket,
		Closed:     d.closed,
		CloseError: func() error { return d.closeErr },
		Appeared:   d.appeared,
		Transport:  d.transport,
		Sandbox:    d.sandboxed,
	}
}

// appeared tells the kernel of a bucket that was not made through it.
func (d *drive) appeared(bucket string) {
	if server := d.server.Load(); server != nil {
		server.EntryChanged(volume.RootInode, bucket)
	}
}

// transport tells how requests come.
func (d *drive) transport() transport.Status {
	if server := d.server.Load(); server != nil {
		return server.Transport()
	}
	return transport.Status{}
}

// sandboxed tells whether the sandbox is in force.
func (d *drive) sandboxed() sandbox.Status {
	if status := d.sandbox.Load(); status != nil {
		return *status
	}
	return sandbox.Status{}
}

// confine puts this process into its sandbox. All that needs more than the store is open by then.
func (d *drive) confine() error {
	mode, err := sandbox.ParseMode(d.cfg.Options.Sandbox)
	if err != nil {
		return err
	}
	rules := sandbox.Rules{Store: d.cfg.Store}
	if d.cfg.Options.IOUring != "off" {
		rules.Keep = uring.Capabilities()
	}
	status, err := sandbox.Enter(mode, rules)
	if err != nil {
		return err
	}
	d.sandbox.Store(&status)
	return nil
}

// config is what the FUSE server needs.
func (d *drive) config() (fs.Config, error) {
	o := d.cfg.Options
	mode, err := transport.ParseMode(o.IOUring)
	c := fs.Config{
		Volume: d.session.Volume(), KMS: d.session.KMS(), Mountpoint: d.cfg.Mountpoint, Bucket: o.Bucket,
		AllowOther: o.AllowOther, MountFlags: mountFlags(o), FsName: o.FsName, Subtype: o.Subtype,
		ReadOnly: o.ReadOnly, NoACL: o.NoACL, DefaultPermissions: o.DefaultPermissions, IOUring: mode,
		Mounted: d.confine, Detach: d.attendant.Detach, Logger: d.logger,
	}
	if c.FsName == "" {
		c.FsName = d.cfg.Store
	}
	if c.Subtype == "" {
		c.Subtype = "ssefs"
	}
	return c, err
}

// mountFlags are the flags of mount(2). What becomes of access times is the volume's business.
func mountFlags(o mountopt.Options) uintptr {
	flags := o.Flags
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if o.Atime == mountopt.AtimeNever {
		flags |= unix.MS_NOATIME
	}
	return flags
}

// atime translates the rules for access times of files and of directories.
func atime(o mountopt.Options) (files, dirs volume.AtimePolicy) {
	switch o.Atime {
	case mountopt.AtimeStrict:
		files = volume.AtimeStrict
	case mountopt.AtimeNever:
		files = volume.AtimeNever
	}
	dirs = files
	if o.Flags&unix.MS_NODIRATIME != 0 {
		dirs = volume.AtimeNever
	}
	return files, dirs
}

// run mounts and returns when the drive is unmounted.
func (d *drive) run(ctx context.Context, socket string, up Reporter) error {
	owner := store.OwnerInfo{PID: os.Getpid(), Socket: socket, Mountpoint: d.cfg.Mountpoint}
	if err := d.session.SetOwner(owner); err != nil {
		return err
	}
	cfg, err := d.config()
	if err != nil {
		return err
	}
	server, err := fs.Serve(cfg)
	if err != nil {
		return fmt.Errorf("mount %s: %w", d.cfg.Mountpoint, d.explain(err))
	}
	d.server.Store(server)
	makeProcessorsForWaiting(server.Transport().Waiting)
	d.readAhead()
	unmounted := make(chan struct{})
	go func() {
		server.Wait()
		close(unmounted)
	}()
	d.rest = d.maintain()
	if err := up.Ready(); err != nil {
		d.logger.Error("unmounting at once", "err", err)
		d.leave(unmounted)
		return err
	}
	how, confined := server.Transport(), d.sandboxed()
	d.logger.Info("drive is mounted", "mountpoint", d.cfg.Mountpoint, "transport", how.Name, "reason", how.Reason,
		"landlock", confined.ABI, "no_sandbox", confined.Reason)
	select {
	case <-unmounted:
		d.logger.Info("unmounted", "mountpoint", d.cfg.Mountpoint)
	case <-ctx.Done():
		d.logger.Info("asked to end: unmounting", "mountpoint", d.cfg.Mountpoint)
		d.leave(unmounted)
	}
	return nil
}

// readAhead sets the kernel's read-ahead, which needs root; without, reading takes more requests.
func (d *drive) readAhead() {
	if os.Geteuid() != 0 {
		return
	}
	if err := d.attendant.SetReadAhead(); err != nil {
		d.logger.Debug("the kernel's read-ahead stays as it is", "err", err)
	}
}

// maintain has the key service do what becomes due, until the function that it returns is called.
func (d *drive) maintain() (stop func()) {
	if d.session.ReadOnly() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		d.session.KMS().Run(ctx)
		close(ended)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// explain tells a user, for whom fusermount3 mounts, where that program's reason is: it writes to the log.
func (d *drive) explain(err error) error {
	if os.Geteuid() == 0 {
		return err
	}
	return fmt.Errorf("%s; its reason is in the log %s", strings.TrimSpace(err.Error()), d.cfg.Options.LogFile)
}

// close closes the store and tells those who wait for it. First of all it says so: a mount that comes at once looks for
// that, and whatever else there is to do may take a busy disk long.
func (d *drive) close(socket string) {
	owner := store.OwnerInfo{PID: os.Getpid(), Socket: socket, Closing: true}
	if err := d.session.SetOwner(owner); err != nil {
		d.logger.Warn("lock file", "err", err)
	}
	// While the store is ours: whoever has it next puts a socket of its own there.
	if err := d.attendant.RemoveSocket(); err != nil {
		d.logger.Debug("control socket", "err", err)
	}
	d.rest()
	d.operations.Stop()
	if err := d.finish(); err != nil {
		d.closeErr = fmt.Errorf("close the store %s: %w", d.cfg.Store, err)
		d.logger.Error("the store was not closed cleanly, the last changes may be lost", "err", err)
	}
	close(d.closed)
}

// finish closes the store. With requests still coming the volume cannot be closed; everything is written then, and the
// end of the process, which follows, lets go of the lock. A store is always fit to be opened after that.
func (d *drive) finish() error {
	if d.abandoned {
		return d.session.Volume().Sync()
	}
	return d.session.Close()
}

// Foreground is the Reporter of a mount that nobody but its own terminal waits for.
type Foreground func(string)

// Note implements Reporter.
func (f Foreground) Note(text string) { f(text) }

// Ready implements Reporter.
func (f Foreground) Ready() error { return nil }
