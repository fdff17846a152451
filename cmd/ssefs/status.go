package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/runtimedir"
	"ssefs/fs/transport"
	"ssefs/store"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [PATH]",
		Short: "Show what is mounted and how it does",
		Long: `Show the mounted volumes of this user (of all users, for root), or the one that PATH or
--store names.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeMountpoints,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), args) },
	}
	cmd.Flags().StringVar(&a.store, "store", "", "the store `DIR` of the volume, or a path on its drive")
	return a.jsonFlag(cmd)
}

// status shows one volume that was named, or all: as JSON one object, or an array. The secret of a volume that is not
// mounted is not asked for: it has no status.
func (a *app) status(ctx context.Context, args []string) error {
	named := a.store
	if len(args) > 0 {
		if named != "" {
			return exit.With(exit.Usage, errors.New("give PATH or --store, not both"))
		}
		named = args[0]
	}
	if named != "" {
		t, err := a.findServed(ctx, named)
		if err != nil {
			return err
		}
		if t == nil {
			if !exists(filepath.Join(named, store.HeaderFile)) {
				if err := noStore(named); err != nil {
					return err
				}
			}
			return fmt.Errorf("%s is not mounted", named)
		}
		s, err := askStatus(ctx, t)
		if err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) { writeStatus(w, s) })
	}
	list := []ops.VolumeStatus{}
	for _, t := range a.everyMounted(ctx) {
		s, err := askStatus(ctx, t)
		if err != nil {
			return err
		}
		list = append(list, s)
	}
	return a.show(list, func(w io.Writer) {
		if len(list) == 0 {
			row(w, "No volume is mounted.")
		}
		for i, s := range list {
			if i > 0 {
				_, _ = fmt.Fprintln(w)
			}
			writeStatus(w, s)
		}
	})
}

// askStatus asks a daemon and lets go of it.
func askStatus(ctx context.Context, t *target) (ops.VolumeStatus, error) {
	var s ops.VolumeStatus
	err := t.Call(ctx, ops.Status, ops.None{}, &s)
	if closeErr := t.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", t.info.Mountpoint, err)
	}
	return s, nil
}

// everyMounted returns the mounted volumes of this user; for root, of all users.
func (a *app) everyMounted(ctx context.Context) []*target {
	targets := connectAll(ctx, runtimedir.Own(a.uid, a.getenv), a.uid)
	if a.uid == 0 {
		for dir, uid := range runtimedir.All() {
			targets = append(targets, connectAll(ctx, dir, uid)...)
		}
	}
	slices.SortFunc(targets, func(x, y *target) int { return strings.Compare(x.info.Mountpoint, y.info.Mountpoint) })
	return targets
}

func writeStatus(w io.Writer, s ops.VolumeStatus) {
	row(w, "Mount point:", s.Mountpoint)
	row(w, "Store:", s.Store)
	row(w, "Volume:", s.ID)
	row(w, "Daemon:", fmt.Sprintf("process %d of uid %d", s.PID, s.UID))
	row(w, "Mounted:", s.Since)
	row(w, "Read-only:", yesNo(s.ReadOnly))
	if s.Bucket != "" {
		row(w, "Shows bucket:", s.Bucket)
	}
	row(w, "Requests:", requestsCome(s))
	row(w, "Sandbox:", sandboxed(s))
	row(w, "Default policy:", s.DefaultPolicy)
	row(w, "Region:", s.Region)
	row(w, "Buckets:", s.Buckets)
	row(w, "Inodes:", s.Inodes)
	row(w, "Disk:", fmt.Sprintf("%s free of %s", mountopt.FormatSize(s.Available), mountopt.FormatSize(s.Total)))
	row(w, "Store size:", mountopt.FormatSize(s.StoreBytes))
}

// sandboxed says whether the daemon is confined, and why not.
func sandboxed(s ops.VolumeStatus) string {
	switch {
	case s.SandboxABI != 0:
		return fmt.Sprintf("in force (Landlock, ABI %d)", s.SandboxABI)
	case s.SandboxReason == "":
		return "not yet"
	}
	return fmt.Sprintf("none (%s)", s.SandboxReason)
}

// requestsCome says how, and why not the faster way.
func requestsCome(s ops.VolumeStatus) string {
	switch {
	case s.Transport == "":
		return "not yet"
	case s.Transport == transport.NameURing:
		return fmt.Sprintf("over io_uring, %d rings", s.Rings)
	case s.TransportReason != "":
		return fmt.Sprintf("over %s (%s)", s.Transport, s.TransportReason)
	}
	return "over " + s.Transport
}
