package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/kms"
	"ssefs/store"
)

// KeystoreRule says what becomes of a keystore of another generation than the volume's head names.
type KeystoreRule uint8

const (
	// CurrentKeystore refuses it with kms.ErrRollback.
	CurrentKeystore KeystoreRule = iota
	// AnyKeystore takes the newest copy there is and makes it the current one, which the audit log records. Disabled and
	// deleted keys may come back with it.
	AnyKeystore
	// BackupForDamaged takes the one in Options.Backup if the present one cannot be used.
	BackupForDamaged
	// BackupForAny takes the one in Options.Backup whatever the present one is like.
	BackupForAny
)

// Backup is a backup of the keys to be used as the keystore.
type Backup struct {
	File       io.Reader
	Identities []age.Identity
	// Restored is called with what was in it.
	Restored func(kms.BackupInfo)
}

// ErrKeystoreCurrent is returned when another keystore was to be accepted and the present one is in order.
var ErrKeystoreCurrent = errors.New("the keystore is the current one and in order")

// openKeystore opens the key service as the options of the session say.
func (s *Session) openKeystore(o kms.Options) (*kms.Service, error) {
	service, err := kms.Open(o)
	if s.options.Keystore == CurrentKeystore {
		if errors.Is(err, kms.ErrRollback) {
			err = fmt.Errorf("%w: see 'ssefs kms accept-keystore --help'", err)
		}
		if errors.Is(err, kms.ErrKeystoreDamaged) {
			err = fmt.Errorf("%w: restore it with 'ssefs kms import-backup'", err)
		}
		return service, err
	}
	if err == nil {
		service.Close()
		if s.options.Keystore != BackupForAny {
			return nil, ErrKeystoreCurrent
		}
	}
	by := kms.By{UID: uint32(os.Getuid())}
	switch {
	case s.options.Keystore != AnyKeystore && (err == nil || errors.Is(err, kms.ErrRollback) || errors.Is(err, kms.ErrKeystoreDamaged)):
		b := s.options.Backup
		service, info, err := kms.RestoreBackup(o, by, b.File, b.Identities...)
		if err == nil {
			b.Restored(info)
		}
		return service, err
	case errors.Is(err, kms.ErrRollback):
		return kms.OpenAnyway(o, by)
	}
	return nil, err
}

// setMasterKeyRotation sets how often the service master key rotates if the settings say so.
func setMasterKeyRotation(service *kms.Service, settings Settings) error {
	if settings.RotateMasterKey == "" {
		return nil
	}
	every, err := interval.Parse(settings.RotateMasterKey)
	if err == nil {
		err = service.SetMasterKeyRotation(context.Background(), kms.By{UID: uint32(os.Getuid())}, every)
	}
	if err != nil && !errors.Is(err, kms.ErrOneCopy) {
		return fmt.Errorf("rotation of the service master key: %w", err)
	}
	return nil
}

// errUntouched is returned for an attempt to change the files of a store that is only read.
var errUntouched = errors.New("the store is open for reading only")

// untouched lets files be read only.
type untouched struct{ dir *store.Dir }

// ReadFile implements kms.Files.
func (u untouched) ReadFile(name string) ([]byte, error) { return u.dir.ReadFile(name) }

// WriteFile implements kms.Files.
func (untouched) WriteFile(string, []byte) error { return errUntouched }

// unrecorded drops what is written: uses of keys in a read-only mount leave no trace in the store.
type unrecorded struct{ untouched }

// WriteFile implements kms.Files.
func (unrecorded) WriteFile(string, []byte) error { return nil }
