package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) kmsCommand() *cobra.Command {
	return group("kms", "Manage customer master keys",
		a.kmsCreateCommand(), a.kmsListCommand(), a.kmsDescribeCommand(), a.kmsSetDescriptionCommand(),
		a.kmsSwitchCommand("enable KEY", "Make a disabled key usable again", ops.KeyEnable),
		a.kmsSwitchCommand("disable KEY", "Refuse all use of a key: its files can be neither opened nor created", ops.KeyDisable),
		a.kmsScheduleDeletionCommand(),
		a.kmsKeyCommand("cancel-deletion KEY", "Keep a key that is pending deletion", ops.KeyCancelDeletion),
		a.kmsKeyCommand("protect KEY", "Refuse to delete a key, until 'unprotect'", ops.KeyProtect),
		a.kmsKeyCommand("unprotect KEY", "Allow a key to be deleted again", ops.KeyUnprotect),
		a.kmsRotateCommand(), a.kmsSetRotationCommand(),
		a.kmsGrantCommand(), a.kmsRevokeCommand(), a.kmsListGrantsCommand(),
		a.kmsImportParametersCommand(), a.kmsImportCommand(), a.kmsDeleteMaterialCommand(),
		a.kmsUsageCommand(), a.kmsAuditCommand(),
		a.kmsExportBackupCommand(), a.kmsImportBackupCommand(), a.kmsAcceptKeystoreCommand(),
		a.aliasCommand())
}

func (a *app) kmsCreateCommand() *cobra.Command {
	var req ops.KeyRequest
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a key",
		Long: `Create a customer master key. It is granted to the user who makes it. A key of origin
EXTERNAL has no material until that is imported, see 'ssefs kms get-import-parameters'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req.Origin = strings.ToUpper(req.Origin)
			return a.callKey(cmd, ops.KeyCreate, req)
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Description, "description", "", "a `TEXT` to know the key by")
	f.StringVar(&req.Origin, "origin", "", "where the material comes from: `ORIGIN` KMS (the default) or EXTERNAL")
	f.StringVar(&req.Region, "region", "", "the `REGION` of the key, the volume's unless told otherwise")
	f.StringVar(&req.RotateEvery, "rotate-every", "", "rotate the key after `INTERVAL`, such as 90d")
	mustComplete(cmd, "origin", "KMS", "EXTERNAL")
	return a.jsonFlag(a.volumeFlags(cmd))
}

// kmsKeyCommand makes a command that does one operation on one key.
func (a *app) kmsKeyCommand(use, short, operation string) *cobra.Command {
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.callKey(cmd, operation, ops.KeyRequest{Key: args[0]})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

// kmsSwitchCommand is kmsKeyCommand for changes that the default key is guarded against.
func (a *app) kmsSwitchCommand(use, short, operation string) *cobra.Command {
	var managed bool
	cmd := a.kmsKeyCommand(use, short, operation)
	managedFlag(cmd, &managed)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.callKey(cmd, operation, ops.KeyRequest{Key: args[0], Managed: managed})
	}
	return cmd
}

func managedFlag(cmd *cobra.Command, managed *bool) {
	cmd.Flags().BoolVar(managed, "managed", false, "do it even if it is the managed default key")
}

func (a *app) kmsDescribeCommand() *cobra.Command {
	var masterKey bool
	cmd := &cobra.Command{
		Use:               "describe KEY | --service-master-key",
		Short:             "Show a key",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := keyOrMasterKey(args, masterKey); err != nil {
				return err
			}
			if masterKey {
				return a.callMasterKey(cmd, ops.MasterKeyDescribe, ops.None{})
			}
			return a.callKey(cmd, ops.KeyDescribe, ops.KeyRequest{Key: args[0]})
		},
	}
	masterKeyFlag(cmd, &masterKey)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) kmsSetDescriptionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "set-description KEY TEXT",
		Short:             "Change what a key is known by",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.callKey(cmd, ops.KeySetDescription, ops.KeyRequest{Key: args[0], Description: args[1]})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

// callKey does an operation whose reply is a key, and shows that.
func (a *app) callKey(cmd *cobra.Command, operation string, req any) error {
	return a.with(cmd.Context(), nil, func(t *target) error {
		var k ops.Key
		if err := t.Call(cmd.Context(), operation, req, &k); err != nil {
			return err
		}
		return a.showKey(k)
	})
}

func (a *app) showKey(k ops.Key) error {
	return a.show(k, func(w io.Writer) {
		row(w, "ID:", k.ID)
		row(w, "Description:", k.Description)
		row(w, "State:", k.State)
		row(w, "Origin:", k.Origin)
		row(w, "Region:", k.Region)
		row(w, "Managed:", yesNo(k.Managed))
		row(w, "Deletion protection:", yesNo(k.Protected))
		row(w, "Creator:", fmt.Sprintf("uid %d", k.CreatorUID))
		row(w, "Created:", k.Created)
		row(w, "Aliases:", strings.Join(k.Aliases, ", "))
		row(w, "Version:", fmt.Sprintf("%d of %d", k.Current, len(k.Versions)))
		row(w, "Rotation:", rotation(k.RotateEvery, k.NextRotation))
		moment := func(name string, t time.Time) {
			if !t.IsZero() {
				row(w, name, t)
			}
		}
		moment("To be deleted:", k.DeletionDate)
		moment("Deleted:", k.DeletedAt)
		if k.MaterialExpired {
			moment("Material expired:", k.MaterialExpires)
		} else {
			moment("Material expires:", k.MaterialExpires)
		}
		for _, g := range k.Grants {
			row(w, "Grant:", fmt.Sprintf("%s %d: %s", g.Kind, g.ID, g.Allow))
		}
	})
}

func (a *app) kmsListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the keys",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), nil, func(t *target) error {
				var keys []ops.Key
				if err := t.Call(cmd.Context(), ops.KeyList, ops.None{}, &keys); err != nil {
					return err
				}
				return a.show(keys, func(w io.Writer) {
					row(w, "ID", "STATE", "ORIGIN", "ALIASES", "CREATED", "DESCRIPTION")
					for _, k := range keys {
						row(w, k.ID, k.State, k.Origin, strings.Join(k.Aliases, ","), k.Created, k.Description)
					}
				})
			})
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

// keyOrMasterKey refuses a command line that names no key or two.
func keyOrMasterKey(args []string, masterKey bool) error {
	if (len(args) == 1) == masterKey {
		return exit.With(exit.Usage, errors.New("name a key, or --service-master-key"))
	}
	return nil
}

func masterKeyFlag(cmd *cobra.Command, masterKey *bool) {
	cmd.Flags().BoolVar(masterKey, "service-master-key", false, "the service master key, which AES256 files are under")
}
