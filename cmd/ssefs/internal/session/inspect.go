package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// Inspection is a store opened to be looked at: unlocked, its database readable, and nothing in it changed. Unlike a
// Session it opens with a volume that is damaged.
type Inspection struct {
	session *Session
	// KeystoreError is why the keystore cannot be used, nil if it can.
	KeystoreError error
	// FileErrors are what is wrong with the keystore's files though it can be used.
	FileErrors []error
	// HeaderError is set if the volume header is of another generation than the head names.
	HeaderError error
	// Mended are what InspectToRepair did to the files of the database.
	Mended []string
}

// Inspect opens the store at path for a check. It waits for an owner that is closing it.
func Inspect(ctx context.Context, path string, secret crypto.Secret, o Options) (*Inspection, error) {
	o.ReadOnly = true
	return inspect(ctx, path, o, func(i *Inspection) error {
		if err := i.session.unlock(secret); err != nil {
			return err
		}
		return i.openDatabase()
	})
}

// inspect locks the store at path and has open do the rest.
func inspect(ctx context.Context, path string, o Options, open func(*Inspection) error) (*Inspection, error) {
	dir, err := lock(ctx, path, store.OpenDirWait, o.note)
	if err != nil {
		return nil, err
	}
	i := &Inspection{session: newSession(path, dir, o)}
	if err := open(i); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func (i *Inspection) openDatabase() error {
	s := i.session
	var err error
	if s.db, err = s.dir.OpenDB(s.databaseOptions()); err != nil {
		return explainDamage(s.path, fmt.Errorf("open the store %s: %w", s.path, err))
	}
	s.kms, i.KeystoreError = i.openKeystore()
	return nil
}

// openKeystore opens the keystore as far as the volume's head allows, and checks the header against the head.
func (i *Inspection) openKeystore() (*kms.Service, error) {
	s := i.session
	head, err := volume.ReadHead(s.volumeOptions(&s.engine, s.ID(), s.keys))
	if err != nil {
		return nil, fmt.Errorf("the head, which names the generation of the keystore, cannot be read: %w", err)
	}
	i.HeaderError = checkGeneration(s.header.Generation(), head.Header)
	o := kms.Options{
		Files: untouched{s.dir}, Key: s.keys.Keystore, Volume: s.ID(), Mode: s.options.KMS, Logger: slog.New(slog.DiscardHandler),
		Logs: untouched{s.dir}, Generation: head.Keystore, RecordGeneration: func(uint64) error { return errUntouched },
	}
	i.FileErrors = kms.Verify(o)
	o.Logs = nil
	if !s.options.ReadOnly {
		o.Files = s.dir // opening mends a bad copy from a good one
	}
	return kms.Open(o)
}

// Close lets go of the store.
func (i *Inspection) Close() error { return i.session.Close() }

// Material is what a check needs of the store.
func (i *Inspection) Material() Material { return i.session.Material() }

// Material is the inside of an open store: for checks, which read past the volume.
type Material struct {
	ID   crypto.VolumeID
	Keys *crypto.VolumeKeys
	DB   *store.DB
	KMS  *kms.Service // nil if there is none to be used
	// HeadCopy is the copy of the head that the last clean unmount left, nil if there is none.
	HeadCopy []byte
}

// Material returns the inside of the session's store.
func (s *Session) Material() Material {
	m := Material{ID: s.ID(), Keys: s.keys, DB: s.db, KMS: s.kms}
	if copied, err := s.dir.ReadFile(store.HeadFile); err == nil {
		m.HeadCopy = copied
	}
	return m
}
