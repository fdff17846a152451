package session

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/repair"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// InspectToRepair is Inspect for a store that Repair may change. It refuses where the disk fails to deliver what it
// has, for then the store has to be copied elsewhere first.
func InspectToRepair(ctx context.Context, path string, secret crypto.Secret, o Options) (*Inspection, error) {
	return inspect(ctx, path, o, func(i *Inspection) error { return i.openToRepair(ctx, secret) })
}

// openToRepair opens the store after the files of its database are such that it can be.
func (i *Inspection) openToRepair(ctx context.Context, secret crypto.Secret) error {
	dir := i.session.dir
	if err := dir.CheckDisk(ctx); err != nil {
		return fmt.Errorf("%w: copy the store to a disk that works", err)
	}
	// Nobody but who can open the volume changes it.
	if err := i.session.unlock(secret); err != nil {
		return err
	}
	losses, kept, err := dir.MendDatabase(ctx)
	if err != nil {
		return fmt.Errorf("mend the database: %w", err)
	}
	for _, l := range losses {
		i.Mended = append(i.Mended, l.File+": "+l.What)
	}
	if kept != "" {
		i.Mended = append(i.Mended, "the damaged database was replaced; it is kept in "+filepath.Join(i.session.path, kept)+" until you remove it")
	}
	return i.openDatabase()
}

// Repair repairs the volume, or says what would be done. The report is never nil.
func (i *Inspection) Repair(ctx context.Context, mode repair.Mode, progress store.Progress) (*repair.Report, error) {
	s := i.session
	m := i.Material()
	o := repair.Options{
		DB: s.db, Keys: s.keys, ID: s.ID(), Mode: mode, HeadCopy: m.HeadCopy, Header: s.header.Generation(), Progress: progress,
	}
	o.UID, o.GID = volume.Owner()
	// Both count only if nothing else says them.
	if generation, err := kms.NewestGeneration(kms.Options{
		Files: untouched{s.dir}, Key: s.keys.Keystore, Volume: s.ID(), Logger: s.options.Logger,
		RecordGeneration: func(uint64) error { return errUntouched },
	}); err == nil {
		o.Keystore = generation
	}
	report, err := repair.Run(ctx, o)
	if err != nil || report.Transactions == 0 {
		return report, err
	}
	return report, s.saveHead()
}

// saveHead leaves a copy of the head beside the database, as a clean unmount does: one that is newer than the
// repaired volume would have it refused.
func (s *Session) saveHead() error {
	view := s.db.View()
	defer view.Release()
	var sealed []byte
	if err := view.Get(record.HeadKey(), func(b []byte) error {
		sealed = bytes.Clone(b)
		return nil
	}); err != nil {
		return err
	}
	return s.dir.WriteFile(store.HeadFile, sealed)
}

// Reopen opens the keystore again, after a repair made a head that names it.
func (i *Inspection) Reopen() {
	s := i.session
	if s.kms != nil {
		s.kms.Close()
	}
	s.kms, i.KeystoreError = i.openKeystore()
}
