package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

const (
	// nameMending is the database that takes the place of a damaged one, while it
	// is being made.
	nameMending = "db.mending"
	// nameDamaged is a database that was replaced.
	nameDamaged = "db.damaged"
)

// MendDatabase makes a database that can be opened of one that is damaged, with
// what can be read of its files, and puts it in its place. It returns what was lost
// and the name that the damaged one has in the store from then on; both are empty
// if nothing is wrong. What was lost may let older or removed records reappear.
//
// The two change places in one step. The damaged one is for the caller's user to
// remove. It must not be called while the database is open.
func (d *Dir) MendDatabase(ctx context.Context) (losses []Loss, kept string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lock == nil:
		return nil, "", ErrClosed
	case d.db != nil:
		return nil, "", fmt.Errorf("%w: the database is open", ErrBusy)
	}
	path, mending := filepath.Join(d.path, nameDB), filepath.Join(d.path, nameMending)
	// What was left by one that was killed: a database that was not put to use, or
	// one that was replaced. There are only links and copies in either, but what the
	// damaged one alone has.
	if _, err := os.Lstat(filepath.Join(mending, nameDB)); err == nil {
		if _, err := d.keepDamaged(filepath.Join(mending, nameDB)); err != nil {
			return nil, "", err
		}
	}
	if err := os.RemoveAll(mending); err != nil {
		return nil, "", fmt.Errorf("store: %w", err)
	}
	last, err := d.soundDatabase(ctx, path)
	if err == nil {
		losses, err = d.mendJournal(last)
		return losses, "", err
	}
	if !errors.Is(err, ErrDamaged) {
		return nil, "", err
	}
	if err := os.Mkdir(mending, dirPerm); err != nil {
		return nil, "", fmt.Errorf("store: %w", err)
	}
	c := rescueCopy{from: path, to: filepath.Join(mending, nameDB), link: os.Link}
	if err := c.make(); err != nil {
		return nil, "", errors.Join(err, os.RemoveAll(mending))
	}
	if entries, _ := readJournal(d.path); len(c.tables) == 0 && c.walSize == 0 && (len(entries) == 0 || entries[0].version > 1) {
		err := fmt.Errorf("%w: nothing can be read of the database: restore a backup", ErrDamaged)
		return nil, "", errors.Join(err, os.RemoveAll(mending))
	}
	if kept, err = d.exchange(c.to, mending); err != nil {
		return c.losses, kept, err
	}
	found, err := inspect(path, false, math.MaxUint64)
	if err != nil {
		return c.losses, kept, err
	}
	losses, err = d.mendJournal(found.last)
	return append(c.losses, losses...), kept, err
}

// soundDatabase looks over a database as opening it does, and more, and returns
// its last commit.
func (d *Dir) soundDatabase(ctx context.Context, path string) (last uint64, err error) {
	entries, _ := readJournal(d.path)
	found, err := inspect(path, false, lastVersion(entries))
	if err != nil {
		if errors.Is(err, ErrIO) {
			return 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return 0, err
	}
	manifest, err := readManifest(filepath.Join(path, fileManifest))
	if err != nil {
		return 0, err
	}
	for id := range manifest.Tables {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		name := table.IDToFilename(id)
		if err := verifyTable(filepath.Join(path, name)); err != nil {
			return 0, fmt.Errorf("%w: table %s: %w", ErrDamaged, name, err)
		}
	}
	return found.last, nil
}

// exchange puts a database in the place of the store's, and that aside.
func (d *Dir) exchange(fresh, mending string) (kept string, err error) {
	path := filepath.Join(d.path, nameDB)
	if err := syncDir(fresh); err != nil {
		return "", err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("store: exchanging the databases: %w", err)
	}
	if kept, err = d.keepDamaged(fresh); err != nil {
		return "", err
	}
	return kept, errors.Join(os.Remove(mending), syncDir(d.path))
}

// keepDamaged gives a database that is not used any more the first name that is
// free.
func (d *Dir) keepDamaged(path string) (kept string, err error) {
	for i := 0; ; i++ {
		kept = nameDamaged
		if i > 0 {
			kept += "." + strconv.Itoa(i)
		}
		err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, filepath.Join(d.path, kept), unix.RENAME_NOREPLACE)
		switch {
		case err == nil:
			return kept, nil
		case !errors.Is(err, fs.ErrExist):
			return "", fmt.Errorf("store: keeping the damaged database: %w", err)
		}
	}
}

// VerifyTables checks the checksums of all tables that are in use. A wrong one is
// ErrDamaged, and names the file.
func (db *DB) VerifyTables() error {
	return guard(func() error {
		if err := db.bdb.VerifyChecksum(); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}, nil)
}
