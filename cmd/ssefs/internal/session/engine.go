package session

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// engine is the running part of a session: the database, the volume in it and the key service beside it.
type engine struct {
	db     *store.DB
	volume *volume.Volume
	kms    *kms.Service
}

// createEngine makes the database of a new volume and an empty volume and keystore in it. It leaves nothing open.
func (s *Session) createEngine(header *crypto.Header, keys *crypto.VolumeKeys, settings Settings) error {
	policy, err := settings.policy()
	if err != nil {
		return err
	}
	var e engine
	if e.db, err = s.dir.OpenDB(s.databaseOptions()); err != nil {
		return err
	}
	return errors.Join(s.fill(&e, header, keys, volume.Settings{DefaultPolicy: policy, Region: settings.region()}), e.close())
}

// fill writes a volume and a keystore into an empty database.
func (s *Session) fill(e *engine, header *crypto.Header, keys *crypto.VolumeKeys, first volume.Settings) error {
	id := header.Volume()
	uid, gid := volume.Owner()
	if err := volume.Create(s.volumeOptions(e, id, keys), first, uid, gid); err != nil {
		return err
	}
	var err error
	if e.volume, err = volume.Open(s.volumeOptions(e, id, keys)); err != nil {
		return err
	}
	if err := e.volume.RecordHeader(header.Generation()); err != nil {
		return err
	}
	if e.kms, err = kms.Create(s.kmsOptions(e, id, keys, first.Region)); err != nil {
		return err
	}
	if err := e.kms.CheckPolicy(first.DefaultPolicy); err != nil {
		return err
	}
	return setMasterKeyRotation(e.kms, s.options.Settings)
}

// openEngine opens the database, the volume and the keystore, in this order: the head of the volume says which
// generation of the keystore is the current one. Settings that change are checked by the key service first.
func (s *Session) openEngine(settings Settings) error {
	id := s.header.Volume()
	var err error
	if s.db, err = s.dir.OpenDB(s.databaseOptions()); err != nil {
		return explainDamage(s.path, err)
	}
	if s.volume, err = volume.Open(s.volumeOptions(&s.engine, id, s.keys)); err != nil {
		return explainDamage(s.path, err)
	}
	if err := s.pinHeader(); err != nil {
		return err
	}
	s.startJournal()
	next := s.volume.Settings()
	if settings.Region != "" {
		next.Region = settings.Region
	}
	if settings.DefaultPolicy != "" {
		if next.DefaultPolicy, err = crypto.ParsePolicy(settings.DefaultPolicy); err != nil {
			return err
		}
	}
	if s.kms, err = s.openKeystore(s.kmsOptions(&s.engine, id, s.keys, next.Region)); err != nil {
		return err
	}
	s.volume.SetKeyService(s.kms)
	if err := setMasterKeyRotation(s.kms, settings); err != nil {
		return err
	}
	if next == s.volume.Settings() {
		return nil
	}
	if err := s.kms.CheckPolicy(next.DefaultPolicy); err != nil {
		return fmt.Errorf("default policy %v: %w", next.DefaultPolicy, err)
	}
	return s.volume.SetSettings(next)
}

// close closes what is open, in the opposite order. The first error counts.
func (e *engine) close() error {
	if e.kms != nil {
		e.kms.Close()
	}
	var err error
	if e.volume != nil {
		err = e.volume.Close()
	}
	if e.db != nil {
		if dbErr := e.db.Close(); err == nil {
			err = dbErr
		}
	}
	return err
}

func (s *Session) databaseOptions() store.Options {
	o := store.DefaultOptions()
	o.Logger = s.options.Logger
	if s.options.ReadOnly {
		o.Access = store.ReadOnly
	}
	return o
}

func (s *Session) volumeOptions(e *engine, id crypto.VolumeID, keys *crypto.VolumeKeys) volume.Options {
	return volume.Options{
		DB: e.db, Dir: s.dir, Keys: keys, ID: id, Logger: s.options.Logger,
		DirtyMemory: s.options.Memory, ReadOnly: s.options.ReadOnly,
		Atime: s.options.Atime, AtimeDirs: s.options.AtimeDirs,
	}
}

func (s *Session) kmsOptions(e *engine, id crypto.VolumeID, keys *crypto.VolumeKeys, region string) kms.Options {
	o := kms.Options{
		Files: s.dir, Key: keys.Keystore, Volume: id, Region: region, Mode: s.options.KMS,
		Logger: s.options.Logger, Logs: s.dir, Generation: e.volume.Keystore(), RecordGeneration: e.volume.RecordKeystore,
	}
	if s.options.ReadOnly {
		o.Files, o.Logs = untouched{s.dir}, unrecorded{untouched{s.dir}}
	}
	return o
}

// Owner is who owns what a mount makes.
type Owner struct{ UID, GID uint32 }

// RequireBucket refuses unless there is a bucket of this name.
func (s *Session) RequireBucket(name string) error {
	n, err := s.volume.Lookup(volume.RootInode, name)
	if errors.Is(err, volume.ErrNotExist) {
		return fmt.Errorf("there is no bucket %q: make it with --create", name)
	}
	if err != nil {
		return fmt.Errorf("bucket %q: %w", name, err)
	}
	s.volume.Unpin(n)
	return nil
}

// EnsureBucket makes a bucket of this name with the default policy unless there is one.
func (s *Session) EnsureBucket(ctx context.Context, name string, owner Owner) error {
	n, err := s.volume.Lookup(volume.RootInode, name)
	if errors.Is(err, volume.ErrNotExist) {
		n, err = s.volume.Create(ctx, volume.RootInode, name, volume.NewNode{
			Mode: unix.S_IFDIR | 0o755, UID: owner.UID, GID: owner.GID,
		})
	}
	if err != nil {
		return fmt.Errorf("bucket %q: %w", name, err)
	}
	s.volume.Unpin(n)
	return nil
}
