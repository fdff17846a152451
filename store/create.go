package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// How a store comes into being, and why being killed between any two steps does
// no harm:
//
//  1. mkdir. An empty directory can be created in.
//  2. The lock file is made and locked, before anything else so that two
//     creators cannot get in each other's way. A directory with only a lock
//     file in it is an unfinished creation.
//  3. The marker "creating" is made and synced. From here on everything with a
//     known name in the directory may be removed as long as there is no header.
//  4. The caller opens the database, commits the first records and writes the
//     keystore.
//  5. The caller writes the header with WriteFile: a synced temporary file, a
//     rename, a directory sync. The rename is the instant the store exists.
//  6. FinishCreate removes the marker. Should it stay behind beside a header,
//     the next one to open the store removes it.

// contents is what is in a store directory, or in something taken for one.
type contents struct {
	has     map[string]bool // known names
	foreign []string        // all others
}

// survey lists a directory. A path that is no directory is ENOTDIR.
func survey(path string) (contents, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return contents{}, fmt.Errorf("store: %w", err)
	}
	c := contents{has: make(map[string]bool)}
	for _, e := range entries {
		if isKnown(e.Name()) && e.IsDir() == (e.Name() == nameDB) {
			c.has[e.Name()] = true
		} else {
			c.foreign = append(c.foreign, e.Name())
		}
	}
	return c, nil
}

// unfinished tells whether the directory, which has no header, holds an
// interrupted creation and nothing else.
func (c contents) unfinished() bool {
	return c.has[nameLock] && len(c.foreign) == 0 && !c.has[HeaderFile] &&
		(c.has[nameCreating] || c.onlyLock())
}

// onlyLock tells whether nothing but a lock and a log is there.
func (c contents) onlyLock() bool {
	for name := range c.has {
		if name != nameLock && name != LogFile {
			return false
		}
	}
	return len(c.foreign) == 0
}

// looksLikeStore tells whether the directory holds a store that lost its header.
func (c contents) looksLikeStore() bool {
	return c.has[nameDB] && c.has[nameLock]
}

// isKnown tells whether a name in a store directory is ours.
func isKnown(name string) bool {
	if base := strings.TrimSuffix(name, tempSuffix); isExported(base) || base == nameMoving {
		return true
	}
	switch name {
	case nameCreating, nameLock, nameBallast, nameDB, LogFile:
		return true
	}
	return slices.Contains(journalNames(), name)
}

// isTemp tells whether a known name is that of a file WriteFile did not finish.
func isTemp(name string) bool { return isKnown(name) && strings.HasSuffix(name, tempSuffix) }

// checkCreatable returns nil if path may become a store or is one.
func checkCreatable(path string) error {
	c, err := survey(path)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s: %w", path, ErrNotStore)
	case err != nil:
		return err
	case c.has[HeaderFile], c.onlyLock(), c.unfinished():
		return nil
	case c.looksLikeStore() && !c.has[nameCreating]:
		return fmt.Errorf("%s: %w: %s is missing", path, ErrDamaged, HeaderFile)
	default:
		return fmt.Errorf("%s: %w", path, ErrNotEmpty)
	}
}

func createDir(path string, lock func(string) (*ownerLock, error)) (*Dir, error) {
	if err := os.Mkdir(path, dirPerm); err == nil {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("store: %w", err)
	}
	// Look before locking, as locking makes a file, and again after.
	if err := checkCreatable(path); err != nil {
		return nil, err
	}
	l, err := lock(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: l}
	if err := d.begin(); err != nil {
		return nil, errors.Join(err, l.release())
	}
	return d, nil
}

// begin marks the locked directory as being created and clears what an earlier
// attempt left, or settles the store that is there already.
func (d *Dir) begin() error {
	if err := checkCreatable(d.path); err != nil {
		return err
	}
	c, err := survey(d.path)
	if err != nil {
		return err
	}
	if c.has[HeaderFile] {
		return d.settle()
	}
	d.isNew = true
	// mkdir obeys the umask and an existing directory may have any mode.
	if err := os.Chmod(d.path, dirPerm); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	// A marker without a lock is not taken for ours, and a power failure may keep
	// the one and not the other.
	if err := syncDir(d.path); err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(d.path, nameCreating), nil); err != nil {
		return err
	}
	if err := syncDir(d.path); err != nil {
		return err
	}
	return d.clear(c)
}

// clear removes what an unfinished creation made, but for its lock and marker.
func (d *Dir) clear(c contents) error {
	if err := clearDB(filepath.Join(d.path, nameDB)); err != nil {
		return err
	}
	for name := range c.has {
		switch name {
		case nameCreating, nameLock, LogFile, nameDB:
		default:
			if err := os.Remove(filepath.Join(d.path, name)); err != nil {
				return fmt.Errorf("store: %w", err)
			}
		}
	}
	return syncDir(d.path)
}

// Abandon gives up a creation that cannot be finished, and the space that it took.
// What stays is an unfinished creation. The database must be closed before.
func (d *Dir) Abandon() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lock == nil:
		return ErrClosed
	case d.db != nil:
		return fmt.Errorf("%w: the database is still open", ErrBusy)
	}
	c, err := survey(d.path)
	if err != nil {
		return err
	}
	if !d.isNew || c.has[HeaderFile] {
		return fmt.Errorf("store: refusing to remove the store %s", d.path)
	}
	return d.clear(c)
}

// FinishCreate ends a creation after the header was written. It does nothing
// for a store that existed before.
func (d *Dir) FinishCreate() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return ErrClosed
	}
	if !d.isNew {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(d.path, HeaderFile)); err != nil {
		return fmt.Errorf("store: creation cannot be finished without a header: %w", err)
	}
	return d.remove(nameCreating)
}

// clearDB removes the database directory of an unfinished creation, if there is
// one, and refuses if anything in it is not Badger's.
func clearDB(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || !isDBFile(e.Name()) {
			return fmt.Errorf("%s: %w: %s does not belong there", path, ErrNotEmpty, e.Name())
		}
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(path, e.Name())); err != nil {
			return fmt.Errorf("store: %w", err)
		}
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// isDBFile tells whether a name is one Badger uses.
func isDBFile(name string) bool {
	switch name {
	case "MANIFEST", "MANIFEST-REWRITE", "KEYREGISTRY", "REWRITE-KEYREGISTRY", "DISCARD", "LOCK":
		return true
	}
	switch filepath.Ext(name) {
	case extTable, extValueLog, extWAL:
		return true
	}
	return false
}
