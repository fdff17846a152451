package main

import (
	"context"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/session"
)

func (a *app) kmsAcceptKeystoreCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "accept-keystore --store STORE",
		Short: "Use a keystore that does not match the store",
		Long: `Make the newest readable copy of the keystore the current one, when the store refuses to open because its
keystore is older or newer than its head says: a part of the store was put back from a backup. With an older
one, keys that were disabled or deleted since may be usable again, and files under keys or versions made since
cannot be opened any more. The audit log records it. The volume must not be mounted.

When both copies are damaged there is nothing to accept: see 'ssefs kms import-backup'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.checkUnmounted(cmd.Context()); err != nil {
				return err
			}
			question := "Use a keystore that does not match the store? Disabled and deleted keys may come back."
			if err := a.confirm(cmd.Context(), consentOf(yes), question); err != nil {
				return err
			}
			t, err := a.openStoreAs(cmd.Context(), a.store, session.Options{Keystore: session.AnyKeystore})
			if err != nil {
				return err
			}
			a.note("the keystore is in use; look over the keys with 'ssefs kms list'")
			return t.close()
		},
	}
	yesFlag(cmd, &yes)
	return a.volumeFlags(cmd)
}

// checkUnmounted refuses commands on a keystore whose volume is mounted, or not named.
func (a *app) checkUnmounted(ctx context.Context) error {
	if a.store == "" {
		return exit.Errorf(exit.Usage, "name the store: --store DIR")
	}
	t, err := a.findServed(ctx, a.store)
	if err != nil || t == nil {
		return err
	}
	point := t.info.Mountpoint
	_ = t.close()
	return exit.Errorf(exit.InUse, "the volume is mounted on %s, so its keystore is in use: unmount it first", point)
}
