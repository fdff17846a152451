package main

import (
	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/session"
)

func (a *app) keyAcceptHeaderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accept-header",
		Short: "Accept a volume.json that was put back",
		Long: `Make the volume.json in the store the current one. The volume knows which one is the newest
and refuses to be opened with another: somebody may have put an old one back to use a
passphrase or key file that was removed. When you did that yourself, from a backup since the
newest was lost, this accepts it. Then look at 'ssefs key list': unlock slots that were
removed since are back, and those that were added are gone. The volume must not be mounted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.store == "" {
				return exit.Errorf(exit.Usage, "name the store with --store DIR")
			}
			t, err := a.openStoreAs(cmd.Context(), a.store, session.Options{Header: session.AnyHeader})
			if err != nil {
				return err
			}
			return t.close()
		},
	}
	return a.volumeFlags(cmd)
}
