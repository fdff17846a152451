package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// How what was deleted stays deleted when garbage collection moves it.
//
// Badger's collection moves a value whose version is in the tables, whether or
// not a newer version there deletes it (value.go, discardEntry, in v4.9.6). The
// copy is the newest that was written and lies above the deletion; compaction,
// which drops a deletion once nothing is below, then leaves the copy, and the
// value is back. Keeping deletions while a collection runs, which Badger does
// (gcDiscardTs), only delays that.
//
// So the deletions of what may have been moved are written once more afterwards,
// under their own versions: above the copies, and for readers nothing changes.
// Until that is done a View keeps compaction from dropping any that is newer than
// the list of what is moved, and the list, which has the older ones, lies in a file
// for the next opening if the process ends in between.

// nameMoving is the file in the store directory that holds the list.
const nameMoving = "moving"

const (
	movingMagic = "ssefsmv1"
	// undeleteBatch is how many deletions are written at a time.
	undeleteBatch = 1000
)

// movable is a value that a garbage collection may move.
type movable struct {
	key []byte
	// deleted is the version that deletes it, 0 if none does.
	deleted uint64
}

// movables returns what is in a value log file that a garbage collection may
// move, and how many bytes that takes or a little more.
func (db *DB) movables(fid uint32) (list []movable, alive int64, err error) {
	var keys [][]byte
	alive, err = db.measureSafely(fid, func(e logEntry) { keys = append(keys, bytes.Clone(e.key)) })
	if err != nil || alive < 0 {
		return nil, alive, err
	}
	list = make([]movable, len(keys))
	for i, k := range keys {
		_, deleted, err := db.newest(k)
		if err != nil {
			return nil, 0, err
		}
		list[i] = movable{key: k, deleted: deleted}
	}
	return list, alive, nil
}

// newest returns the newest version of a key in Badger, and if that is a deletion
// the same again; 0 stands for none.
func (db *DB) newest(key []byte) (version, deleted uint64, err error) {
	err = guard(func() error {
		txn := db.bdb.NewTransactionAt(math.MaxUint64, false)
		defer txn.Discard()
		item, err := txn.Get(key)
		switch {
		case err == nil:
			version = item.Version()
			return nil
		case !errors.Is(err, badger.ErrKeyNotFound):
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		it := txn.NewKeyIterator(key, badger.IteratorOptions{AllVersions: true})
		defer it.Close()
		if it.Rewind(); it.Valid() && it.Item().IsDeletedOrExpired() {
			version = it.Item().Version()
			deleted = version
		}
		return nil
	}, nil)
	return version, deleted, err
}

// outlived returns the deletions to be written anew for what is in the list. What
// is deleted from now on needs none: its deletion lies above what was moved.
func (db *DB) outlived(list []movable) ([]movable, error) {
	var again []movable
	for _, m := range list {
		version, deleted, err := db.newest(m.key)
		if err != nil {
			return nil, err
		}
		switch {
		case deleted > 0:
			again = append(again, movable{m.key, deleted})
		case m.deleted > 0 && version <= m.deleted:
			again = append(again, m) // it is back already
		}
	}
	return again, nil
}

// deleteAgain writes deletions anew.
func (db *DB) deleteAgain(list []movable) error {
	for batch := range slices.Chunk(list, undeleteBatch) {
		db.commitMu.Lock()
		err := db.writeDeletions(batch)
		db.commitMu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// writeDeletions makes deletions durable. After an error other than ErrFull
// nothing is committed any more. Guarded by commitMu.
func (db *DB) writeDeletions(list []movable) error {
	size := batchSize{wal: batchOverhead}
	for _, m := range list {
		size.wal += int64(len(m.key)) + versionSize + logOverhead
	}
	err := db.makeRoom(size, freeing)
	if errors.Is(err, ErrFull) {
		return err
	}
	if err == nil {
		err = db.await(func() error {
			batch := db.bdb.NewManagedWriteBatch()
			for _, m := range list {
				if err := batch.DeleteAt(m.key, m.deleted); err != nil {
					batch.Cancel()
					return err
				}
			}
			return batch.Flush()
		})
	}
	if err == nil {
		err = db.followLogs()
	}
	if err != nil {
		err = fmt.Errorf("deleting what was moved: %w", err)
		db.failure.Store(&err)
		return err
	}
	db.activity.unflushed = true
	return nil
}

// finishMoving does what the list says is left to be done, and removes it. For
// what a process left that ended before it must be called before the database is
// in use, as until then compaction drops nothing; later it is guarded by reclaimMu.
func (db *DB) finishMoving() error {
	b, err := os.ReadFile(filepath.Join(db.dir.path, nameMoving))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	list, err := parseMoving(b, db.MaxVersion())
	if err != nil {
		// All that may come of it is that deleted records take space.
		db.log.Warn("store: the list of a garbage collection is damaged and not used", "file", nameMoving, "error", err)
		return db.removeMoving()
	}
	again, err := db.outlived(list)
	if err == nil {
		err = db.deleteAgain(again)
	}
	if err != nil {
		return err
	}
	return db.removeMoving()
}

// removeMoving removes the list. It need not be durable: using an old list changes
// nothing.
func (db *DB) removeMoving() error {
	if err := os.Remove(filepath.Join(db.dir.path, nameMoving)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// appendMoving encodes a list as FORMAT.md, section 10.6, has it.
func appendMoving(b []byte, list []movable) []byte {
	b = append(b, movingMagic...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, m := range list {
		b = binary.BigEndian.AppendUint16(b, uint16(len(m.key)))
		b = append(b, m.key...)
		b = binary.BigEndian.AppendUint64(b, m.deleted)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// errMoving: a list is not as FORMAT.md has it.
var errMoving = errors.New("not a list of moved values")

// parseMoving decodes a list of a database whose newest version is last.
func parseMoving(b []byte, last uint64) ([]movable, error) {
	body := len(b) - sha256.Size
	if body < len(movingMagic)+4 || string(b[:len(movingMagic)]) != movingMagic {
		return nil, errMoving
	}
	if sum := sha256.Sum256(b[:body]); !bytes.Equal(sum[:], b[body:]) {
		return nil, fmt.Errorf("%w: wrong checksum", errMoving)
	}
	n := binary.BigEndian.Uint32(b[len(movingMagic):])
	b = b[len(movingMagic)+4 : body]
	var list []movable
	for range n {
		if len(b) < 2 {
			return nil, fmt.Errorf("%w: too short", errMoving)
		}
		size := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < size+versionSize {
			return nil, fmt.Errorf("%w: too short", errMoving)
		}
		m := movable{key: b[:size], deleted: binary.BigEndian.Uint64(b[size:])}
		if b = b[size+versionSize:]; checkKey(m.key) != nil || m.deleted > last {
			return nil, fmt.Errorf("%w: key %x, version %d", errMoving, m.key, m.deleted)
		}
		list = append(list, m)
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%w: too long", errMoving)
	}
	return list, nil
}
