// Package raw reads and changes the records of a store as an attacker does who can write to its files and has no key:
// through Badger alone, past everything that ssefs checks. It knows no more of ssefs than FORMAT.md tells everybody, that
// the first byte of a key is the kind of its record.
package raw

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// memTable is more than any write-ahead log that is opened here holds.
const memTable = 32 << 20

// Record is a record as it is stored.
type Record struct {
	Value   string
	Version uint64 // Badger's timestamp, which anybody can set
}

// Records are the records of a store by key.
type Records map[string]Record

// Changes are new values of records; of nil, the record is removed.
type Changes map[string]*string

// Put sets a record.
func (c Changes) Put(key, value string) { c[key] = &value }

// Remove removes a record.
func (c Changes) Remove(key string) { c[key] = nil }

// Keys returns the keys that begin with a prefix, in order.
func (r Records) Keys(prefix string) []string {
	var keys []string
	for k := range r {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// Read returns all records of a store that nobody has open. It leaves the database with what was in its logs in tables.
func Read(store string) (records Records, err error) {
	db, err := open(store)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	txn := db.NewTransactionAt(math.MaxUint64, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	records = Records{}
	for it.Rewind(); it.Valid(); it.Next() {
		item := it.Item()
		value, err := item.ValueCopy(nil)
		if err != nil {
			return nil, fmt.Errorf("record %x: %w", item.Key(), err)
		}
		records[string(item.KeyCopy(nil))] = Record{Value: string(value), Version: item.Version()}
	}
	return records, nil
}

// Change changes records of a store behind its back: under the newest timestamp there is, so that it does not show in
// that.
func Change(store string, changes Changes) (err error) {
	db, err := open(store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := db.NewManagedWriteBatch()
	defer w.Cancel()
	if err := apply(w, changes, db.MaxVersion()); err != nil {
		return err
	}
	return w.Flush()
}

// open opens the database of a store, and takes up its journals. What a killed process has made and not begun to use,
// Badger does not open.
func open(store string) (*badger.DB, error) {
	dir := filepath.Join(store, "db")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		if ext := filepath.Ext(e.Name()); info.Size() == 0 && (ext == ".mem" || ext == ".vlog") {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	db, err := badger.OpenManaged(badger.DefaultOptions(dir).
		WithLogger(nil).
		WithMetricsEnabled(false).
		WithDetectConflicts(false).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithMemTableSize(memTable).
		WithValueThreshold(8 << 10).
		WithValueLogFileSize(64 << 20).
		WithNumCompactors(2))
	if err != nil {
		return nil, err
	}
	if err := fold(store, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}
