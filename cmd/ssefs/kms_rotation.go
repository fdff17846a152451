package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) kmsRotateCommand() *cobra.Command {
	var masterKey bool
	cmd := &cobra.Command{
		Use:   "rotate KEY | --service-master-key",
		Short: "Add a version to a key",
		Long: `Add a version to a key, now. Files made from now on are under the new version; older versions
go on opening the files that are under them.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := keyOrMasterKey(args, masterKey); err != nil {
				return err
			}
			if masterKey {
				return a.callMasterKey(cmd, ops.MasterKeyRotate, ops.None{})
			}
			return a.callKey(cmd, ops.KeyRotate, ops.KeyRequest{Key: args[0]})
		},
	}
	masterKeyFlag(cmd, &masterKey)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) kmsSetRotationCommand() *cobra.Command {
	var every string
	var masterKey bool
	cmd := &cobra.Command{
		Use:   "set-rotation KEY --every INTERVAL | --service-master-key --every INTERVAL",
		Short: "Set how often a key rotates by itself",
		Long: `Set how often a key rotates by itself: 90d, 12h, or off. The next rotation is due that long after
the last one, at once if that is over. It waits while the key is not enabled, and while the volume is
not mounted. Keys with imported material do not rotate.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := keyOrMasterKey(args, masterKey); err != nil {
				return err
			}
			if every == "" {
				return exit.With(exit.Usage, errors.New("say how often: --every 90d, or --every off"))
			}
			if _, err := interval.Parse(every); err != nil {
				return exit.With(exit.Usage, err)
			}
			if masterKey {
				return a.callMasterKey(cmd, ops.MasterKeySetRotation, ops.KeyRequest{RotateEvery: every})
			}
			return a.callKey(cmd, ops.KeySetRotation, ops.KeyRequest{Key: args[0], RotateEvery: every})
		},
	}
	cmd.Flags().StringVar(&every, "every", "", "the `INTERVAL`, such as 90d, or off")
	masterKeyFlag(cmd, &masterKey)
	return a.jsonFlag(a.volumeFlags(cmd))
}

// callMasterKey does an operation whose reply is the service master key, and shows that.
func (a *app) callMasterKey(cmd *cobra.Command, operation string, req any) error {
	return a.with(cmd.Context(), nil, func(t *target) error {
		var k ops.MasterKey
		if err := t.Call(cmd.Context(), operation, req, &k); err != nil {
			return err
		}
		return a.show(k, func(w io.Writer) {
			row(w, "Version:", fmt.Sprintf("%d of %d", k.Current, len(k.Versions)))
			row(w, "Rotation:", rotation(k.RotateEvery, k.NextRotation))
			for _, v := range k.Versions {
				row(w, fmt.Sprintf("Version %d:", v.Number), v.Created)
			}
		})
	})
}

// rotation tells how a key rotates.
func rotation(every string, next time.Time) string {
	switch {
	case every == interval.Off:
		return every
	case next.IsZero():
		return "every " + every + ", suspended"
	}
	return fmt.Sprintf("every %s, next on %s", every, next.Local().Format(time.DateTime))
}
