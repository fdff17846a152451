package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/runtimedir"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/store"
)

// fileSystemType is how mountinfo calls a drive that kept the default subtype.
const fileSystemType = "fuse.ssefs"

// target is the volume that a command works on.
type target struct {
	ops.Caller
	info  ops.Volume // zero when the volume is not mounted
	close func() error
}

// with finds the volume, calls f with it and lets go of it. paths are arguments that may lie on the drive.
func (a *app) with(ctx context.Context, paths []string, f func(t *target) error) error {
	t, err := a.find(ctx, paths)
	if err != nil {
		return err
	}
	err = f(t)
	if closeErr := t.close(); err == nil {
		err = closeErr
	}
	return err
}

// find looks for the volume in the order that the help promises: --store, a path on the drive, the only mounted one.
func (a *app) find(ctx context.Context, paths []string) (*target, error) {
	if a.store != "" {
		return a.findStore(ctx, a.store)
	}
	for _, path := range append(paths, ".") {
		if t, err := a.findOnDrive(ctx, path); t != nil || err != nil {
			return t, err
		}
	}
	mounted := connectAll(ctx, runtimedir.Own(a.uid, a.getenv), a.uid)
	switch len(mounted) {
	case 0:
		return nil, exit.Errorf(exit.Usage, "no volume is mounted: name one with --store DIR")
	case 1:
		return mounted[0], nil
	}
	var where []string
	for _, t := range mounted {
		where = append(where, t.info.Mountpoint)
		_ = t.close()
	}
	return nil, exit.Errorf(exit.Usage, "several volumes are mounted (%s): choose with --store", strings.Join(where, ", "))
}

// findStore takes what --store names: a path on a drive, the store of a mounted volume, or one that is not mounted.
func (a *app) findStore(ctx context.Context, path string) (*target, error) {
	if t, err := a.findServed(ctx, path); t != nil || err != nil {
		return t, err
	}
	return a.openStore(ctx, path)
}

// findServed returns the volume that a path on its drive or its store names, if a daemon serves it, else nil.
func (a *app) findServed(ctx context.Context, path string) (*target, error) {
	if t, err := a.findOnDrive(ctx, path); t != nil || err != nil {
		return t, err
	}
	owner, err := store.ReadOwner(path)
	switch {
	case errors.Is(err, store.ErrNoOwner), errors.Is(err, store.ErrMissing):
		return nil, nil
	case err != nil:
		return nil, err
	case owner.Socket == "" || owner.Closing:
		return nil, nil // opening the store waits for it, or tells who has it
	}
	t, err := connect(ctx, owner.Socket)
	if errors.Is(err, control.ErrGone) {
		return nil, nil
	}
	return t, err
}

// nameStore takes the store that an argument may name as if --store did.
func (a *app) nameStore(args []string) error {
	if len(args) == 0 {
		return nil
	}
	if a.store != "" && a.store != args[0] {
		return exit.Errorf(exit.Usage, "the store is named twice: %s and %s", args[0], a.store)
	}
	a.store = args[0]
	return nil
}

// unlockUnmounted gets the secret of a store that must not be mounted, and where that is. purpose completes "the store
// to be".
func (a *app) unlockUnmounted(ctx context.Context, purpose string) (path string, s crypto.Secret, err error) {
	if a.store == "" {
		return "", s, exit.Errorf(exit.Usage, "name the store to be %s", purpose)
	}
	if path, err = mounts.Resolve(a.store); err != nil {
		return "", s, exit.Errorf(exit.NoStore, "store: %w", err)
	}
	if err := refuseServed(path); err != nil {
		return "", s, err
	}
	if err := daemon.Harden(); err != nil {
		return "", s, err
	}
	s, err = a.unlockSecret(ctx, path)
	return path, s, err
}

// openStore opens a store in this process.
func (a *app) openStore(ctx context.Context, path string) (*target, error) {
	return a.openStoreAs(ctx, path, session.Options{})
}

// openStoreAs is openStore with options, but for the logger.
func (a *app) openStoreAs(ctx context.Context, path string, o session.Options) (*target, error) {
	if err := daemon.Harden(); err != nil {
		return nil, err
	}
	secret, err := a.unlockSecret(ctx, path)
	if err != nil {
		return nil, err
	}
	defer secret.Wipe()
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	o.Logger = a.logger(slog.LevelWarn)
	s, err := session.Open(ctx, abs, secret, o)
	if err != nil {
		return nil, err
	}
	peer := control.Peer{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}
	return &target{Caller: ops.NewLocal(s, peer), close: s.Close}, nil
}

// findOnDrive returns the volume of the drive that path lies on, or nil if it lies on none.
func (a *app) findOnDrive(ctx context.Context, path string) (*target, error) {
	m, ok, err := driveOf(path)
	if err != nil || !ok {
		return nil, nil // a path that cannot be looked at is on no drive
	}
	return a.findMount(ctx, m)
}

// driveOf returns the FUSE mount that path, which need not exist, lies on, or leads to as a symlink.
func driveOf(path string) (mounts.Mount, bool, error) {
	if led, err := mounts.Resolve(path); err == nil {
		path = led
	}
	return driveHolding(path)
}

// driveHolding is driveOf for a path whose last part is meant itself, even if it is a symlink.
func driveHolding(path string) (mounts.Mount, bool, error) {
	abs, err := mounts.Canonical(path)
	if err != nil {
		return mounts.Mount{}, false, err
	}
	list, err := mounts.List()
	if err != nil {
		return mounts.Mount{}, false, err
	}
	m, ok := mounts.Holding(list, abs)
	return m, ok && m.FUSE(), nil
}

// findMount returns the volume that is shown by the mount m, or nil if no daemon of ours serves it.
func (a *app) findMount(ctx context.Context, m mounts.Mount) (*target, error) {
	list, err := mounts.List()
	if err != nil {
		return nil, err
	}
	points := map[string]bool{}
	for _, other := range list {
		if other.Device == m.Device { // bind mounts show the same drive
			points[other.Point] = true
		}
	}
	places := map[string]int{runtimedir.Own(a.uid, a.getenv): a.uid}
	if uid, ok := m.UserID(); ok && uid != a.uid {
		for _, dir := range runtimedir.Of(uid) {
			places[dir] = uid
		}
	}
	var denied error
	for dir, uid := range places {
		sockets, err := runtimedir.Sockets(dir, uid)
		if errors.Is(err, os.ErrPermission) {
			denied = fmt.Errorf("%w: %s was mounted by uid %d", control.ErrDenied, m.Point, uid)
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, socket := range sockets {
			t, err := connect(ctx, socket)
			if err != nil {
				continue // the daemon of another drive, which ended
			}
			if points[t.info.Mountpoint] {
				return t, nil
			}
			_ = t.close()
		}
	}
	if m.Type == fileSystemType {
		return nil, denied
	}
	return nil, nil
}

// connectAll returns the mounted volumes whose sockets lie in the runtime directory dir of uid.
func connectAll(ctx context.Context, dir string, uid int) []*target {
	sockets, err := runtimedir.Sockets(dir, uid)
	if err != nil {
		return nil
	}
	var found []*target
	for _, socket := range sockets {
		if t, err := connect(ctx, socket); err == nil {
			found = append(found, t)
		}
	}
	return found
}

// greeting is how long a daemon may take to say who it is.
const greeting = 5 * time.Second

// connect calls the daemon at socket and asks who it is.
func connect(ctx context.Context, socket string) (*target, error) {
	ctx, cancel := context.WithTimeout(ctx, greeting)
	defer cancel()
	client := control.Dial(socket)
	t := &target{Caller: client, close: func() error { client.Close(); return nil }}
	if err := client.Call(ctx, ops.Info, ops.None{}, &t.info); err != nil {
		client.Close()
		return nil, err
	}
	return t, nil
}
