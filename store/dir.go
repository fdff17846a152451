package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Files of a store directory that others read and write through a Dir.
const (
	// HeaderFile makes a directory a store; it is written last at creation.
	HeaderFile = "volume.json"
	// KeystoreA and KeystoreB are the two copies of the keystore.
	KeystoreA = "keystore.a"
	KeystoreB = "keystore.b"
	// HeadFile is a copy of the sealed head record at clean unmount.
	HeadFile = "head"
	// KeyUsageFile holds counts of the uses of keys.
	KeyUsageFile = "kms.usage"
	// AuditKeysLog and AuditUseLog begin the names of the segments of the audit
	// log, which end in a dot and three digits.
	AuditKeysLog = "audit-keys"
	AuditUseLog  = "audit-use"
	// LogFile is where the owner may log to. It may exist before the store does.
	LogFile = "log"
)

// Files and directories of a store directory that only this package touches.
const (
	nameCreating = "creating"
	nameLock     = "lock"
	nameBallast  = "ballast"
	nameDB       = "db"
	tempSuffix   = ".tmp"
)

const (
	dirPerm  fs.FileMode = 0o700
	filePerm fs.FileMode = 0o600
)

// Dir is a store directory owned by this process. It is safe for concurrent use.
type Dir struct {
	path  string
	isNew bool

	mu   sync.Mutex // guards what follows, and the files written through it
	lock *ownerLock // nil once closed
	db   *DB        // nil unless open
}

// Path returns the path the directory was opened by.
func (d *Dir) Path() string { return d.path }

// IsNew tells whether the directory is being created: it has no header yet and
// becomes a store with WriteFile(HeaderFile) followed by FinishCreate. It stays
// true after that, for as long as this Dir is open.
func (d *Dir) IsNew() bool { return d.isNew }

// CreateDir makes the store directory at path and locks it, or opens the one
// that is there (see IsNew). An empty directory will do, and so will what an
// interrupted creation left, which is removed first. A directory with anything
// else in it is ErrNotEmpty, one in use an InUseError.
//
// The parent directory must exist.
func CreateDir(path string) (*Dir, error) {
	return createDir(path, lockDir)
}

// CreateDirWait is CreateDir, but waits for an owner that says it is closing.
func CreateDirWait(ctx context.Context, path string) (*Dir, error) {
	return createDir(path, func(path string) (*ownerLock, error) { return lockDirWait(ctx, path) })
}

// OpenDir opens and locks the store at path. Without one it reports ErrMissing
// (nothing there, or an interrupted creation: ErrUnfinished) or ErrNotStore
// (something else is there). One in use is an InUseError.
func OpenDir(path string) (*Dir, error) {
	return openDir(path, lockDir)
}

// OpenDirWait is OpenDir, but waits for an owner that says it is closing, until
// ctx ends.
func OpenDirWait(ctx context.Context, path string) (*Dir, error) {
	return openDir(path, func(path string) (*ownerLock, error) { return lockDirWait(ctx, path) })
}

func openDir(path string, lock func(string) (*ownerLock, error)) (*Dir, error) {
	// Look before locking: locking makes a file.
	if err := requireStore(path); err != nil {
		return nil, err
	}
	l, err := lock(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: path, lock: l}
	err = requireStore(path)
	if err == nil {
		err = d.settle()
	}
	if err != nil {
		return nil, errors.Join(err, l.release())
	}
	return d, nil
}

// requireStore returns nil if there is a finished store at path.
func requireStore(path string) error {
	c, err := survey(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", path, ErrMissing)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s: %w", path, ErrNotStore)
	case err != nil:
		return err
	}
	switch {
	case c.has[HeaderFile]:
		return nil
	case c.unfinished():
		return fmt.Errorf("%s: %w: %w", path, ErrMissing, ErrUnfinished)
	case c.looksLikeStore():
		return fmt.Errorf("%s: %w: %s is missing", path, ErrDamaged, HeaderFile)
	default:
		return fmt.Errorf("%s: %w", path, ErrNotStore)
	}
}

// settle clears what a crash may have left in a finished store.
func (d *Dir) settle() error {
	c, err := survey(d.path)
	if err != nil {
		return err
	}
	for name := range c.has {
		// The header is written last, so with a header the creation is complete
		// and its marker merely outlived it.
		if name == nameCreating || isTemp(name) {
			if err := d.remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// SetOwner replaces what other processes are told about the owner. The PID is
// filled in if it is zero.
func (d *Dir) SetOwner(info OwnerInfo) error {
	if info.PID == 0 {
		info.PID = os.Getpid()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return ErrClosed
	}
	return d.lock.write(info)
}

// ReadFile returns the contents of one of the exported files. A missing one is
// fs.ErrNotExist.
func (d *Dir) ReadFile(name string) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return nil, ErrClosed
	}
	return os.ReadFile(filepath.Join(d.path, name))
}

// Files returns the names of the exported files that are there, sorted.
func (d *Dir) Files() ([]string, error) {
	c, err := survey(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range c.has {
		if isExported(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// WriteFile replaces one of the exported files: after a crash it holds the old
// contents or the new, and the new once WriteFile returned nil. On a full disk it
// gives up the ballast, and is ErrFull if even that does not help.
func (d *Dir) WriteFile(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := d.writeFile(name, data)
	if !isFull(err) {
		return err
	}
	// These files are small, and nothing should fail for want of them.
	if err := d.dropBallast(); err != nil {
		return err
	}
	if err = d.writeFile(name, data); isFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// dropBallast gives up the ballast, whether the database is open or not.
func (d *Dir) dropBallast() error {
	d.mu.Lock()
	db := d.db
	d.mu.Unlock()
	if db == nil {
		return (&ballast{path: filepath.Join(d.path, nameBallast)}).drop()
	}
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	return db.ballast.drop()
}

func (d *Dir) writeFile(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return ErrClosed
	}
	path := filepath.Join(d.path, name)
	if err := writeSynced(path+tempSuffix, data); err != nil {
		return err
	}
	if err := os.Rename(path+tempSuffix, path); err != nil {
		return fmt.Errorf("store: writing %s: %w", name, err)
	}
	return syncDir(d.path)
}

// RemoveFile removes one of the exported files, durably. A missing one is no
// error; the header cannot be removed.
func (d *Dir) RemoveFile(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if name == HeaderFile {
		return fmt.Errorf("store: refusing to remove %s", name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lock == nil {
		return ErrClosed
	}
	return d.remove(name)
}

// remove durably removes a file of the directory that may be missing.
func (d *Dir) remove(name string) error {
	if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	return syncDir(d.path)
}

// Close lets go of the lock. The database must be closed before (ErrBusy).
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lock == nil:
		return ErrClosed
	case d.db != nil:
		return fmt.Errorf("%w: the database is still open", ErrBusy)
	}
	l := d.lock
	d.lock = nil
	return l.release()
}

// isFull tells whether an error is that of a full disk or an exhausted quota.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// checkName returns an error unless name is one of the exported files.
func checkName(name string) error {
	if !isExported(name) {
		return fmt.Errorf("store: %q is not a file of a store", name)
	}
	return nil
}

// isExported tells whether name is one of the files that others write.
func isExported(name string) bool {
	switch name {
	case HeaderFile, KeystoreA, KeystoreB, HeadFile, KeyUsageFile:
		return true
	}
	for _, log := range []string{AuditKeysLog, AuditUseLog} {
		if number, ok := strings.CutPrefix(name, log+"."); ok {
			return len(number) == 3 && strings.Trim(number, "0123456789") == ""
		}
	}
	return false
}

// writeSynced writes a file and syncs it, without syncing its directory.
func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// syncDir makes the entries of a directory durable.
func syncDir(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("store: syncing %s: %w", path, err)
	}
	return nil
}
