package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) gcCommand() *cobra.Command {
	var withoutKey bool
	cmd := &cobra.Command{
		Use:   "gc [STORE]",
		Short: "Give back the space of what was deleted",
		Long: `Give the space of deleted, overwritten and cut contents back to the disk, all of it, and
return when that is done. A drive does most of this by itself when it is not in use.

STORE is the store, or a path on its drive. A mounted volume stays in use meanwhile. For a
while the store may take up more space than before, as what is alive is moved together. The
command can be interrupted at any time and started again.

With --without-key the store, which must not be mounted, is not unlocked. Contents that
share a record with others that are still needed then stay until they are moved apart by a
collection with the key.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.nameStore(args); err != nil {
				return err
			}
			collect := a.gc
			if withoutKey {
				collect = a.gcWithoutKey
			}
			r, err := collect(cmd.Context())
			if err != nil {
				return err
			}
			return a.show(r, func(w io.Writer) { writeGC(w, r) })
		},
	}
	cmd.Flags().BoolVar(&withoutKey, "without-key", false, "do what can be done to an unmounted store without its key")
	return a.jsonFlag(a.volumeFlags(cmd))
}

// progressEvery is how often a daemon is asked how far it is.
const progressEvery = 300 * time.Millisecond

// gc has the volume collected, by its daemon or here, and shows how far that is.
func (a *app) gc(ctx context.Context) (r ops.GCResult, err error) {
	t, err := a.find(ctx, nil)
	if err != nil {
		return r, err
	}
	defer func() {
		if closeErr := t.close(); err == nil {
			err = closeErr
		}
	}()
	done := make(chan error, 1)
	go func() { done <- t.Call(ctx, ops.GC, ops.None{}, &r) }()
	bar := a.progress()
	defer bar.close()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return r, err
		case <-tick.C:
			var p ops.GCProgress
			if t.Call(ctx, ops.GCProgressOf, ops.None{}, &p) == nil && p.Step != "" {
				bar.step(p.Done, p.Total, p.Step)
			}
		}
	}
}

// gcWithoutKey collects a store that is not mounted, as far as that goes without its key.
func (a *app) gcWithoutKey(ctx context.Context) (r ops.GCResult, err error) {
	if a.store == "" {
		return r, exit.With(exit.Usage, errors.New("name the store that is to be collected without its key"))
	}
	t, err := a.findServed(ctx, a.store)
	if err != nil {
		return r, err
	}
	if t != nil {
		_ = t.close() // nothing was asked of it
		return r, exit.Errorf(exit.Usage, "the volume is mounted on %s: --without-key is for stores that are not", t.info.Mountpoint)
	}
	if err := daemon.Harden(); err != nil {
		return r, err
	}
	path, err := filepath.Abs(a.store)
	if err != nil {
		return r, err
	}
	bar := a.progress()
	defer bar.close()
	return ops.GCWithoutKey(ctx, path, a.logger(slog.LevelWarn), bar.step)
}

func writeGC(w io.Writer, r ops.GCResult) {
	row(w, "Store before:", mountopt.FormatSize(r.Before.Total()))
	row(w, "Store now:", mountopt.FormatSize(r.After.Total()))
	if r.Live > 0 {
		row(w, "Contents of files:", mountopt.FormatSize(r.Live))
	}
	if r.Deletions > 0 {
		row(w, "Deletions finished:", r.Deletions)
	}
	if r.Merged > 0 {
		row(w, "Moved together:", fmt.Sprintf("%s in %s", mountopt.FormatSize(r.MergedBytes), plural(r.Merged, "file")))
	}
	if r.Locked > 0 {
		row(w, "Left alone:", plural(r.Locked, "file")+" whose key cannot be used")
	}
	if r.ShortOfSpace {
		row(w, "Not finished:", "the disk has too little space for moving all contents together")
	}
}
