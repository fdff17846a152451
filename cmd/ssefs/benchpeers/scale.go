package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/growth"
	"ssefs/cmd/ssefs/internal/bench/run"
)

// scaleCommand measures how cost grows, of ssefs alone.
func scaleCommand(o *options) *cobra.Command {
	var million, large bool
	cmd := &cobra.Command{
		Use:   "scale",
		Short: "Measure how the cost of ssefs grows with files, sizes and overwrites",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			g := growth.Options{
				Files: []int{10_000, 100_000}, Bytes: []int64{1 << 20, 32 << 20, 1 << 30}, Sparse: 100 << 30,
				Overwritten: 1 << 30, Overwrites: 100_000, Probes: 2000, Rest: time.Minute,
			}
			if o.quick {
				g = growth.Options{
					Files: []int{1000, 3000}, Bytes: []int64{1 << 20, 32 << 20}, Sparse: 1 << 30,
					Overwritten: 32 << 20, Overwrites: 2000, Probes: 200, Rest: time.Second,
				}
			}
			if million {
				g.Files = append(g.Files, 1_000_000)
			}
			if large {
				g.Bytes = append(g.Bytes, 10<<30)
			}
			return scale(cmd.Context(), *o, g)
		},
	}
	cmd.Flags().BoolVar(&million, "million", false, "up to a million files; takes a quarter of an hour more, and gigabytes")
	cmd.Flags().BoolVar(&large, "large", false, "a file of 10 GiB too")
	return cmd
}

// scale measures and shows what came out.
func scale(ctx context.Context, o options, g growth.Options) (err error) {
	if o.backing == "" {
		o.backing = run.Tmpfs
	}
	places, leave, err := o.places()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave()) }()
	tell := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	for _, place := range places {
		if err := place.Enter(); err != nil {
			return err
		}
		tell("on %s", place.Setting)
		r, err := growth.Do(ctx, drives.SSEFS("ssefs", filepath.Join(o.bin, "ssefs"), "AES256"), place.Dir, g, tell)
		if err != nil {
			return err
		}
		r.Machine, r.Setting = run.Machine(), place.Setting
		if err := r.WriteTable(os.Stdout); err != nil {
			return err
		}
		if o.out == "" {
			continue
		}
		name := filepath.Join(o.out, "scale-"+fileName(place.Setting))
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
		if err := errors.Join(writeTo(name+".json", r.WriteJSON), writeTo(name+".md", r.WriteTable)); err != nil {
			return err
		}
	}
	return nil
}
