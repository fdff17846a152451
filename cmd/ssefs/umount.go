package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/cmd/ssefs/internal/ops"
)

// patience is how long a mount or an unmount waits before it says what it waits for.
const patience = 2 * time.Second

func (a *app) umountCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "umount MOUNTPOINT",
		Aliases: []string{"unmount"},
		Short:   "Unmount a drive and wait until its store is closed",
		Long: `Unmount a drive. The command returns when everything is written and the store is closed.
A drive that is in use stays mounted, and the exit code is 9.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMountpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.umount(cmd.Context(), args[0])
		},
	}
}

func (a *app) umount(ctx context.Context, point string) error {
	path, err := mounts.Resolve(point)
	if err != nil {
		return exit.Errorf(exit.MountPoint, "mount point: %w", err)
	}
	list, err := mounts.List()
	if err != nil {
		return err
	}
	m, ok := mounts.At(list, path)
	if !ok || !m.FUSE() {
		return exit.Errorf(exit.MountPoint, "%s is not mounted", point)
	}
	t, err := a.findMount(ctx, m)
	if err != nil && !errors.Is(err, control.ErrDenied) {
		return err
	}
	if t == nil {
		// Its daemon is gone, or is none of ours to talk to: there is nothing to wait for.
		return unmountAt(path)
	}
	defer func() { _ = t.close() }()
	return a.unmountAndWait(ctx, t, path)
}

// unmountAndWait asks the daemon to tell when the store is closed, unmounts, and waits for the answer.
func (a *app) unmountAndWait(ctx context.Context, t *target, path string) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	process, err := unix.PidfdOpen(t.info.PID, 0)
	if err == nil {
		defer func() { _ = unix.Close(process) }()
	} else {
		process = -1
	}
	closed := make(chan error, 1)
	go func() { closed <- t.Call(waiting, ops.WaitClosed, ops.None{}, nil) }()
	if err := unmountAt(path); err != nil && mounts.Shows(path) { // else somebody else was faster
		return err
	}
	slow := time.AfterFunc(patience, func() { a.note("unmounted %s, waiting until its store is closed", path) })
	defer slow.Stop()
	err = <-closed
	if errors.Is(err, control.ErrGone) {
		err = nil // the daemon was faster than the request, or died: either way its end is the end
	}
	if waitErr := waitForExit(ctx, process); err == nil {
		err = waitErr
	}
	return err
}

// unmountAt unmounts and explains what stands in the way.
func unmountAt(path string) error {
	err := mounts.Unmount(path)
	if errors.Is(err, mounts.ErrBusy) {
		return exit.Errorf(exit.Busy, "%w: close the files and leave the directories that are in use on it ('fuser -vm %s' lists by whom)", err, path)
	}
	return err
}

// waitForExit waits until the process behind a pidfd has ended; -1 is none.
func waitForExit(ctx context.Context, pidfd int) error {
	if pidfd < 0 {
		return nil
	}
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for the mount daemon: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

func (a *app) syncCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "sync MOUNTPOINT",
		Short: "Write all changes to the store and wait until they are safe",
		Long: `Write all changes of a drive to its store. When the command returns, everything that
programs had written before it was called survives a power cut.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMountpoints,
		RunE: func(cmd *cobra.Command, args []string) error {
			m, ok, err := driveOf(args[0])
			if err != nil {
				return err
			}
			if !ok {
				return exit.Errorf(exit.MountPoint, "%s is not on a mounted drive", args[0])
			}
			t, err := a.findMount(cmd.Context(), m)
			if err != nil {
				return err
			}
			if t == nil {
				return exit.Errorf(exit.MountPoint, "%s is not a drive of ssefs, or its daemon is gone", m.Point)
			}
			defer func() { _ = t.close() }()
			// The kernel also reports here what it could not write back long before, on a full disk for one. What
			// did reach the daemon is to be safe all the same.
			pushed := pushDirtyPages(m.Point)
			if err := t.Call(cmd.Context(), ops.Sync, ops.None{}, nil); err != nil {
				return err
			}
			return pushed
		},
	}
}

// pushDirtyPages has the kernel hand what it still caches of the drive at point to the daemon. It must not run in the daemon.
func pushDirtyPages(point string) error {
	d, err := os.Open(point)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(d.Fd()))
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", point, err)
	}
	return nil
}
