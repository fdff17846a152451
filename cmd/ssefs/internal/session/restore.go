package session

import (
	"context"
	"errors"
	"fmt"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/fs/backup"
	"ssefs/fs/volume"
	"ssefs/store"
)

// Restoration is a store that is being made of backups. Until Finish it is an unfinished creation, which the next
// restoration, or creation, starts over.
type Restoration struct {
	session *Session
	files   []archive.File
	last    *archive.Statement
}

// Source is a backup to restore.
type Source struct {
	Name string // for messages
	*archive.Reader
}

// Restore begins to make the store at path of a chain of backups, the full one first: it reads all of them and checks that
// each is complete, authentic and follows the one before. secret opens an unlock slot that the last one has. Progress is told
// how many bytes of which backup were restored, and may be nil.
func Restore(ctx context.Context, path string, chain []Source, secret crypto.Secret, o Options, progress func(backup int, done, total uint64)) (*Restoration, error) {
	r := &Restoration{session: newSession(path, nil, o)}
	// What can be refused is refused before anything is made.
	err := r.begin(chain, secret)
	if err == nil {
		r.session.dir, err = lock(ctx, path, store.CreateDirWait, o.note)
	}
	if err != nil {
		r.session.wipe()
		return nil, err
	}
	if !r.session.dir.IsNew() {
		err := exit.Errorf(exit.NoStore, "%s is a store already: a backup is restored to a new or an empty directory", path)
		return nil, errors.Join(err, r.session.Close())
	}
	if err := r.fill(ctx, chain, progress); err != nil {
		return nil, errors.Join(err, r.Abandon())
	}
	return r, nil
}

// begin looks at the beginnings of the backups, reads the files of the last one and unlocks the volume.
func (r *Restoration) begin(chain []Source, secret crypto.Secret) error {
	if err := checkOrder(chain); err != nil {
		return err
	}
	last := chain[len(chain)-1]
	err := last.Files(func(f archive.File) error {
		r.files = append(r.files, f)
		return nil
	})
	if err == nil {
		err = r.unlock(last.Begin().Volume, secret)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", last.Name, err)
	}
	return nil
}

// fill puts the records of the backups into the database, and the files beside it but for the header.
func (r *Restoration) fill(ctx context.Context, chain []Source, progress func(int, uint64, uint64)) (err error) {
	s := r.session
	if s.db, err = s.dir.OpenDB(s.databaseOptions()); err != nil {
		return err
	}
	c := backup.NewChain(s.db, s.keys.Backup)
	for i, source := range chain {
		if progress != nil {
			c.Progress = func(done, total uint64) { progress(i, done, total) }
		}
		if err := c.Apply(ctx, source.Reader); err != nil {
			return fmt.Errorf("%s: %w", source.Name, err)
		}
	}
	r.last = c.Last()
	for _, f := range r.files {
		if f.Name == store.HeaderFile {
			continue
		}
		if err := s.dir.WriteFile(f.Name, f.Contents); err != nil {
			return err
		}
	}
	return nil
}

// checkOrder finds at once what reading all of the chain would find much later.
func checkOrder(chain []Source) error {
	for i, source := range chain {
		b := source.Begin()
		if i == 0 {
			if b.Base != nil {
				return fmt.Errorf("%s: %w: it is incremental, to a backup of version %d: name the full one first", source.Name, backup.ErrBase, b.Base.Version)
			}
			continue
		}
		before := chain[i-1].Begin()
		switch {
		case b.Volume != before.Volume:
			return fmt.Errorf("%s: %w: it is of volume %v, the one before of volume %v", source.Name, backup.ErrBase, b.Volume, before.Volume)
		case b.Base == nil:
			return fmt.Errorf("%s: %w: it is a full one, and can only be the first", source.Name, backup.ErrBase)
		case b.Base.Version != before.Version:
			return fmt.Errorf("%s: %w: it is incremental to one of version %d, the one before it is of version %d", source.Name, backup.ErrBase, b.Base.Version, before.Version)
		}
	}
	return nil
}

// unlock goes from the header in the backup and the secret to the volume's keys.
func (r *Restoration) unlock(id crypto.VolumeID, secret crypto.Secret) error {
	for _, f := range r.files {
		if f.Name == store.HeaderFile {
			header, err := crypto.ParseHeader(f.Contents)
			if err != nil {
				return fmt.Errorf("%s in the backup: %w", f.Name, err)
			}
			if header.Volume() != id {
				return fmt.Errorf("%w: its %s is of another volume", archive.ErrDamaged, f.Name)
			}
			r.session.header = header
			return r.session.unlockWith(secret)
		}
	}
	return fmt.Errorf("%w: there is no %s in it", archive.ErrDamaged, store.HeaderFile)
}

// Statement is what the last backup says about itself.
func (r *Restoration) Statement() *archive.Statement { return r.last }

// Inspect is what a check of the restored store needs; the Inspection is closed with the Restoration.
func (r *Restoration) Inspect() *Inspection {
	i := &Inspection{session: r.session}
	r.session.kms, i.KeystoreError = i.openKeystore()
	return i
}

// Finish makes the directory a store. A volume that was found in order gets a new lineage first: it goes on from an earlier state.
func (r *Restoration) Finish(found Condition) error {
	s := r.session
	if s.kms != nil {
		s.kms.Close()
		s.kms = nil
	}
	if found == Sound {
		if err := r.beginLineage(); err != nil {
			return errors.Join(err, r.Abandon())
		}
	}
	err := s.close()
	s.engine = engine{}
	if err != nil {
		return errors.Join(err, r.Abandon())
	}
	for _, f := range r.files {
		if f.Name == store.HeaderFile {
			err = s.dir.WriteFile(f.Name, f.Contents)
		}
	}
	if err != nil {
		return errors.Join(err, r.Abandon())
	}
	return errors.Join(s.dir.FinishCreate(), s.Close())
}

// Condition is what a check found out about a restored store.
type Condition uint8

const (
	// Sound is the volume that nothing is wrong with.
	Sound Condition = iota
	// Faulty is the volume that had errors when the backup was made. It is left as it was.
	Faulty
)

func (r *Restoration) beginLineage() error {
	s := r.session
	v, err := volume.Open(s.volumeOptions(&s.engine, s.ID(), s.keys))
	if err != nil {
		return err
	}
	return errors.Join(v.BeginLineage(), v.Close())
}

// Abandon gives the restoration up, and the space that it took.
func (r *Restoration) Abandon() error {
	s := r.session
	if s.kms != nil {
		s.kms.Close()
	}
	var err error
	if s.db != nil {
		err = s.db.Close()
	}
	s.engine = engine{}
	if err == nil {
		err = s.dir.Abandon()
	}
	return errors.Join(err, s.Close())
}
