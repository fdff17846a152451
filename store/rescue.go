package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Rescued is what can still be read of a store whose database may be damaged. It
// reads a copy of the database in a directory of the caller's: what is never
// written is linked, what Badger would write to or trip over is copied, without
// what is damaged in it. The store itself is not written to, not even as much as
// opening it would.
//
// Records come as they are found. What is missing may let older or removed ones
// reappear, so the caller has to tell by their contents what belongs together.
type Rescued struct {
	db   *DB
	lock *os.File // nil if the store has no lock file
	// Losses are what could not be used of the database's files.
	Losses []Loss
}

// Loss is something that could not be used of a file of the database.
type Loss struct {
	File string `json:"file"`
	What string `json:"what"`
}

// Rescue opens what can still be read of the database of the store at path. work
// is an empty directory of the caller's, which the copy is made in and which is
// to be removed after Close. A store that another process has open is an
// InUseError.
func Rescue(path, work string, logger *slog.Logger) (*Rescued, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	lock, err := lockForReading(path)
	if err != nil {
		return nil, err
	}
	r := &Rescued{lock: lock}
	if err := r.open(path, work, logger); err != nil {
		return nil, errors.Join(err, r.unlock())
	}
	return r, nil
}

// lockForReading keeps others from opening the store, without writing to its
// lock file. A store without one is nobody's.
func lockForReading(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, nameLock), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the lock of store %s: %w", path, err)
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		info, infoErr := readOwnerInfo(f)
		if infoErr != nil {
			info = OwnerInfo{}
		}
		return nil, errors.Join(&InUseError{Path: path, OwnerInfo: info}, f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("locking store %s: %w", path, err), f.Close())
	}
	return f, nil
}

func (r *Rescued) unlock() error {
	if r.lock == nil {
		return nil
	}
	f := r.lock
	r.lock = nil
	return f.Close()
}

func (r *Rescued) open(path, work string, logger *slog.Logger) error {
	c := rescueCopy{from: filepath.Join(path, nameDB), to: filepath.Join(work, nameDB), link: symlink}
	if err := c.make(); err != nil {
		return err
	}
	r.Losses = c.losses
	fsys, err := statFS(work)
	if err != nil {
		return err
	}
	opt, err := Options{Access: ReadOnly, Logger: logger}.resolve(fsys.total)
	if err != nil {
		return err
	}
	opt.MemTableSize = max(opt.MemTableSize, c.walSize)
	opt.ValueLogFileSize = max(opt.ValueLogFileSize, opt.MemTableSize/2)
	db := &DB{
		dir: &Dir{path: work}, opt: opt, log: logger, badger: newBadgerLogger(logger), patience: closePatience,
	}
	err = guard(func() error {
		var err error
		if db.bdb, err = badger.OpenManaged(db.badgerOptions().WithReadOnly(true)); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	db.committed.Store(db.bdb.MaxVersion())
	if err := r.takeUpJournal(db, path); err != nil {
		return err
	}
	db.views.start(db.committed.Load(), db.journal.overlays(), func(uint64) {})
	r.db = db
	return nil
}

// takeUpJournal has the database show what is in the store's journal, even if
// commits are missing between them.
func (r *Rescued) takeUpJournal(db *DB, path string) error {
	entries, wrong := readJournal(path)
	for name, err := range wrong {
		r.Losses = append(r.Losses, Loss{File: name, What: err.Error()})
	}
	version := db.committed.Load()
	entries = slices.DeleteFunc(entries, func(e journalEntry) bool { return e.version <= version })
	if _, err := after(entries, version); err != nil {
		r.Losses = append(r.Losses, Loss{File: journalNames()[0], What: err.Error()})
	}
	overlays, err := db.overlaysOf(entries)
	if err != nil {
		return err
	}
	db.keepReplayed(overlays)
	return nil
}

// View returns a snapshot of all that was found.
func (r *Rescued) View() *View { return r.db.View() }

// Close lets go of the store. All Views must be released.
func (r *Rescued) Close() error {
	r.db.views.stop()
	if !r.db.views.idle() {
		return fmt.Errorf("%w: views are still open", ErrBusy)
	}
	_, err := r.db.closeBadger()
	return errors.Join(err, r.unlock())
}
