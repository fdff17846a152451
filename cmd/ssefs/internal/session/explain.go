package session

import (
	"errors"
	"fmt"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/store"
)

// Explain says in the user's words, with the remedy, what the errors of a store directory mean. Others stay as they are.
func Explain(path string, err error) error {
	switch {
	case errors.Is(err, store.ErrUnfinished):
		return exit.Errorf(exit.NoStore, "the making of the store %s was interrupted: start it over, with --create or with restore", path)
	case errors.Is(err, store.ErrMissing):
		return exit.Errorf(exit.NoStore, "there is no store at %s: make one with --create", path)
	case errors.Is(err, store.ErrNotStore):
		return exit.Errorf(exit.NoStore, "%s is not a store", path)
	case errors.Is(err, store.ErrNotEmpty):
		return exit.Errorf(exit.NoStore, "%s is not empty: a store is made in a new or an empty directory", path)
	case errors.Is(err, store.ErrDamaged): // of what there is before the database, it is the header that is missing
		return explainHeader(err)
	}
	return err
}

// explainDamage adds the ways out to the error of a store that is too damaged to be opened. Others stay as they are.
func explainDamage(path string, err error) error {
	switch {
	case errors.Is(err, store.ErrDamaged), errors.Is(err, store.ErrIO), errors.Is(err, volume.ErrDamaged):
	case errors.Is(err, volume.ErrRollback):
	default:
		return err
	}
	return fmt.Errorf("%w; 'ssefs fsck %s' says more and can repair, 'ssefs fsck --salvage DIR %s' copies out what can still be read; or 'ssefs restore' a backup",
		err, path, path)
}

// explainHeader adds the ways out to the error of a volume header that cannot be used. Others stay as they are.
func explainHeader(err error) error {
	if !errors.Is(err, crypto.ErrHeaderDamaged) && !errors.Is(err, store.ErrDamaged) {
		return err
	}
	return fmt.Errorf("%w; without it nothing can be decrypted: put a copy of it back, or 'ssefs restore' a backup", err)
}
