package main

import (
	"errors"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/secret"
)

func (a *app) keyCommand() *cobra.Command {
	return group("key", "Manage the passphrases and key files that unlock the volume",
		a.keyAddCommand(), a.keyListCommand(), a.keyRemoveCommand(), a.keyAcceptHeaderCommand())
}

func (a *app) keyAddCommand() *cobra.Command {
	var added secret.Source
	var label string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a passphrase or a key file",
		Long: `Add another way to unlock the volume: a key file (made if it is missing), a passphrase
from a file, or one typed at the terminal. A mounted volume needs no secret for that,
its daemon was unlocked already.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				s, err := a.readSecret(cmd.Context(), added, "the new unlock slot", true)
				if err != nil {
					return err
				}
				defer s.Wipe()
				var slot ops.Slot
				req := ops.SlotRequest{Kind: s.Kind(), Secret: s.Bytes(), Label: label}
				if err := t.Call(cmd.Context(), ops.SlotAdd, req, &slot); err != nil {
					return err
				}
				return a.show(slot, func(w io.Writer) { row(w, "Slot:", slot.ID); row(w, "Kind:", slot.Kind); row(w, "Label:", slot.Label) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&added.KeyFile, "new-key-file", "", "add the key `FILE`; it is made if it is missing")
	f.StringVar(&added.PassphraseFile, "new-passphrase-file", "", "add the passphrase in `FILE`")
	f.StringVar(&label, "label", "", "a `TEXT` to know the slot by")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) keyListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the unlock slots",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var slots []ops.Slot
				if err := t.Call(cmd.Context(), ops.SlotList, ops.None{}, &slots); err != nil {
					return err
				}
				return a.show(slots, func(w io.Writer) {
					row(w, "SLOT", "KIND", "LABEL")
					for _, s := range slots {
						row(w, s.ID, s.Kind, s.Label)
					}
				})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) keyRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove SLOT",
		Aliases: []string{"rm"},
		Short:   "Remove a passphrase or key file",
		Long: `Remove an unlock slot. Its passphrase or key file unlocks the volume no more; the last
slot cannot be removed. Who kept an old copy of volume.json can still use it with the old secret.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.Atoi(args[0])
			if err != nil {
				return exit.With(exit.Usage, errors.New("a slot is a number, see 'ssefs key list'"))
			}
			return a.with(cmd.Context(), nil, func(t *target) error {
				return t.Call(cmd.Context(), ops.SlotRemove, ops.SlotRequest{ID: id}, nil)
			})
		},
	}
	return a.volumeFlags(cmd)
}
