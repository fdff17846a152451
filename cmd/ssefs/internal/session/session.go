// Package session opens and makes stores: from a locked directory and a secret to a running volume with its
// keys, and back in the opposite order.
//
// Making a store ends with its header: until that is written, a kill leaves an unfinished creation that the next
// one starts over. Opening refuses in the order of the remedies: no store, in use, another version, damaged,
// wrong secret. A Session owns the store's lock from beginning to end.
//
// Programs that open a session keep their umask at 077 (daemon.Harden): Badger leaves the modes of its files to it.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// Options say how a volume is opened.
type Options struct {
	ReadOnly bool
	Memory   int64 // for data not yet written, in bytes; 0 for the default
	Atime    volume.AtimePolicy
	// AtimeDirs is the rule for directories.
	AtimeDirs volume.AtimePolicy
	KMS       kms.Mode
	Keystore  KeystoreRule
	Backup    Backup // for the rules that take one
	Header    HeaderRule
	Logger    *slog.Logger
	// Settings change the volume's settings; for a new volume they are the first.
	Settings Settings
	// Note is called with what takes a while; nil for nobody.
	Note func(string)
}

// Settings are kept in the volume. Empty ones are left as they are, or at their defaults in a new volume. A region
// counts for the key service from the opening on that sets it.
type Settings struct {
	DefaultPolicy string
	Region        string
	// RotateMasterKey is how often the service master key rotates, as package interval writes it. The keystore keeps it.
	RotateMasterKey string
}

// Session is an open volume. It is safe for concurrent use.
type Session struct {
	options Options
	since   time.Time
	path    string
	dir     *store.Dir
	id      crypto.VolumeID // the header is replaced when it changes
	root    *crypto.Key
	keys    *crypto.VolumeKeys
	engine

	headerMu sync.Mutex // guards what follows, and the file that the header is kept in
	header   *crypto.Header
	recorded uint64 // generation of the header that the volume's head names
}

// Open opens the store at path, which must exist. It waits for an owner that is closing it.
func Open(ctx context.Context, path string, secret crypto.Secret, o Options) (*Session, error) {
	dir, err := lock(ctx, path, store.OpenDirWait, o.note)
	if err != nil {
		return nil, err
	}
	s := newSession(path, dir, o)
	return s.finish(s.open(secret))
}

// OpenOrCreate opens the store at path, or makes one that secret unlocks.
func OpenOrCreate(ctx context.Context, path string, secret crypto.Secret, o Options) (*Session, error) {
	dir, err := lock(ctx, path, store.CreateDirWait, o.note)
	if err != nil {
		return nil, err
	}
	s := newSession(path, dir, o)
	if dir.IsNew() {
		if err := s.create(secret); err != nil {
			return s.finish(fmt.Errorf("make a store in %s: %w", path, err))
		}
	}
	return s.finish(s.open(secret))
}

func newSession(path string, dir *store.Dir, o Options) *Session {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Session{options: o, since: time.Now(), path: path, dir: dir}
}

func (o Options) note(text string) {
	if o.Note != nil {
		o.Note(text)
	}
}

// finish closes a session that failed to open.
func (s *Session) finish(err error) (*Session, error) {
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open goes from the locked directory to the running volume.
func (s *Session) open(secret crypto.Secret) error {
	if err := s.unlock(secret); err != nil {
		return err
	}
	if err := s.openEngine(s.options.Settings); err != nil {
		return fmt.Errorf("open the store %s: %w", s.path, err)
	}
	return nil
}

// unlock goes from the header and the secret to the volume's keys.
func (s *Session) unlock(secret crypto.Secret) error {
	text, err := s.dir.ReadFile(store.HeaderFile)
	if err != nil {
		return fmt.Errorf("read the volume header: %w", err)
	}
	if s.header, err = crypto.ParseHeader(text); err != nil {
		return explainHeader(fmt.Errorf("%s/%s: %w", s.path, store.HeaderFile, err))
	}
	return s.unlockWith(secret)
}

// unlockWith goes from the parsed header and the secret to the volume's keys.
func (s *Session) unlockWith(secret crypto.Secret) (err error) {
	s.id = s.header.Volume()
	if s.root, _, err = s.header.Unlock(secret); err != nil {
		return fmt.Errorf("unlock %s: %w", s.path, err)
	}
	if s.keys, err = crypto.DeriveVolumeKeys(s.root, s.id); err != nil {
		return err
	}
	// What stretching a passphrase took is not needed again.
	debug.FreeOSMemory()
	return nil
}

// Close closes the volume and lets go of the store. The first error counts: when it is the volume's, changes of the last
// moments may be lost.
func (s *Session) Close() error {
	err := s.close()
	s.wipe()
	if dirErr := s.dir.Close(); err == nil {
		err = dirErr
	}
	return err
}

// wipe destroys the volume's keys.
func (s *Session) wipe() {
	s.keys.Wipe()
	s.root.Wipe()
}

// SetOwner tells other processes who serves the store.
func (s *Session) SetOwner(info store.OwnerInfo) error { return s.dir.SetOwner(info) }

// Path is the store's directory.
func (s *Session) Path() string { return s.path }

// ID names the volume.
func (s *Session) ID() crypto.VolumeID { return s.id }

// Since is when the store was opened.
func (s *Session) Since() time.Time { return s.since }

// ReadOnly tells whether changes are refused.
func (s *Session) ReadOnly() bool { return s.options.ReadOnly }

// Volume is the open volume.
func (s *Session) Volume() *volume.Volume { return s.volume }

// KMS is the volume's key management service.
func (s *Session) KMS() *kms.Service { return s.kms }

// DB is the volume's database.
func (s *Session) DB() *store.DB { return s.db }

// Logger is where the session logs.
func (s *Session) Logger() *slog.Logger { return s.options.Logger }
