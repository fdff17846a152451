package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/secret"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/crypto"
	"ssefs/kms"
)

func (a *app) kmsExportBackupCommand() *cobra.Command {
	var recipients []string
	var passphraseFile string
	cmd := &cobra.Command{
		Use:   "export-backup FILE",
		Short: "Write all keys of the volume to an encrypted file",
		Long: `Write the service master key and all customer master keys, with their versions, states, grants and
aliases, to a new file, encrypted by age (age-encryption.org): to recipients, whose identities open it, or
under a passphrase. It restores a keystore that is damaged, with 'ssefs kms import-backup'. It opens files
together with the store and a way to unlock that. Keys that are deleted later are still in it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(recipients) > 0 && passphraseFile != "" {
				return exit.With(exit.Usage, errors.New("give --recipient or --backup-passphrase-file, not both"))
			}
			req := ops.BackupRequest{Recipients: recipients}
			if _, err := os.Lstat(args[0]); err == nil {
				return fmt.Errorf("%s exists already: a backup is a new file", args[0])
			}
			return a.with(cmd.Context(), nil, func(t *target) error {
				if len(recipients) == 0 {
					s, err := a.backupPassphrase(cmd.Context(), secret.Source{PassphraseFile: passphraseFile}.ReadNew)
					if err != nil {
						return err
					}
					defer s.Wipe()
					req.Passphrase = s.Bytes()
				}
				var b ops.Backup
				if err := t.Call(cmd.Context(), ops.KeyBackup, req, &b); err != nil {
					return err
				}
				if err := writeNew(args[0], b.File); err != nil {
					return err
				}
				return a.showBackup(args[0], b.BackupInfo)
			})
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&recipients, "recipient", nil, "encrypt to the `RECIPIENT`, age1...; may be repeated")
	f.StringVar(&passphraseFile, "backup-passphrase-file", "", "encrypt under the passphrase in `FILE`")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) kmsImportBackupCommand() *cobra.Command {
	var identityFile, passphraseFile string
	var replace, yes bool
	cmd := &cobra.Command{
		Use:   "import-backup FILE --store STORE",
		Short: "Restore the keys of the volume from a backup",
		Long: `Make the keys of a backup the volume's keystore, when both copies of that are damaged, lost, or of another
generation than the store's head says. Keys have the state again that they had at the time of the backup; files under
keys and versions made since cannot be opened any more. With --replace it is done even if the keystore is in order, and
keys that were disabled or deleted since come back. The audit log records it. The volume must not be mounted.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if identityFile != "" && passphraseFile != "" {
				return exit.With(exit.Usage, errors.New("give --identity-file or --backup-passphrase-file, not both"))
			}
			if err := a.checkUnmounted(cmd.Context()); err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			ids, err := a.backupIdentities(cmd.Context(), identityFile, passphraseFile)
			if err != nil {
				return err
			}
			if err := a.confirm(cmd.Context(), consentOf(yes), "Replace the keystore? Disabled and deleted keys may come back."); err != nil {
				return err
			}
			o := session.Options{Keystore: session.BackupForDamaged}
			if replace {
				o.Keystore = session.BackupForAny
			}
			var info kms.BackupInfo
			o.Backup = session.Backup{File: f, Identities: ids, Restored: func(i kms.BackupInfo) { info = i }}
			t, err := a.openStoreAs(cmd.Context(), a.store, o)
			if errors.Is(err, session.ErrKeystoreCurrent) {
				err = fmt.Errorf("%w; --replace goes back to the backup all the same", err)
			}
			if err != nil {
				return err
			}
			if err := t.close(); err != nil {
				return err
			}
			return a.showBackup(args[0], info)
		},
	}
	f := cmd.Flags()
	f.StringVar(&identityFile, "identity-file", "", "decrypt with the age identities in `FILE`")
	f.StringVar(&passphraseFile, "backup-passphrase-file", "", "decrypt with the passphrase in `FILE`")
	f.BoolVar(&replace, "replace", false, "do it even if the keystore is in order")
	yesFlag(cmd, &yes)
	return a.jsonFlag(a.volumeFlags(cmd))
}

// backupPassphrase gets the passphrase of a backup.
func (a *app) backupPassphrase(ctx context.Context, read func(context.Context, secret.Terminal, string) (crypto.Secret, error)) (crypto.Secret, error) {
	s, err := read(ctx, a.terminal, "the backup")
	if errors.Is(err, secret.ErrNone) {
		return s, exit.With(exit.Usage, errors.New("say how the backup is encrypted: see --help (there is no terminal to ask for a passphrase on)"))
	}
	if err != nil && ctx.Err() == nil {
		err = exit.With(exit.WrongSecret, err)
	}
	return s, err
}

// backupIdentities gets what decrypts a backup.
func (a *app) backupIdentities(ctx context.Context, identityFile, passphraseFile string) ([]age.Identity, error) {
	if identityFile != "" {
		text, err := readSmall(identityFile)
		if err != nil {
			return nil, err
		}
		defer clear(text)
		ids, err := age.ParseIdentities(bytes.NewReader(text))
		if err != nil {
			return nil, exit.Errorf(exit.WrongSecret, "%s: %w", identityFile, err)
		}
		return ids, nil
	}
	s, err := a.backupPassphrase(ctx, secret.Source{PassphraseFile: passphraseFile}.Read)
	if err != nil {
		return nil, err
	}
	defer s.Wipe()
	id, err := age.NewScryptIdentity(string(s.Bytes()))
	if err != nil {
		return nil, exit.With(exit.WrongSecret, err)
	}
	return []age.Identity{id}, nil
}

func (a *app) showBackup(path string, info kms.BackupInfo) error {
	return a.show(info, func(w io.Writer) {
		row(w, "Backup:", path)
		row(w, "Made:", info.Created)
		row(w, "Generation:", info.Generation)
		row(w, "Keys:", info.Keys)
		row(w, "Versions of the service master key:", info.MasterKeyVersions)
	})
}

// writeNew writes a new private file, durably.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

// syncDir makes a new name in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
