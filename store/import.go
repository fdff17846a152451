package store

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// ErrNotNew is returned for an import into a store that exists already.
var ErrNotNew = errors.New("store: records can be imported into a store that is being made only")

// Importer fills the database of a store that is being made with the records of
// another: under their versions, so that the last commit here is the last one
// there. It is not safe for concurrent use, and nothing may be committed until
// its last Flush. A crash leaves an unfinished creation.
type Importer struct {
	db      *DB
	entries []importEntry
	size    batchSize
	limit   batchSize
}

type importEntry struct {
	key, value []byte
	version    uint64
	del        bool
}

// importLogBytes is what an import gathers for the value log at most, in bytes:
// a sync for each takes a small part of the time.
const importLogBytes = 16 << 20

// Importer returns an importer of records. ErrNotNew.
func (db *DB) Importer() (*Importer, error) {
	if !db.dir.isNew {
		return nil, ErrNotNew
	}
	i := &Importer{db: db}
	i.limit.lsm, i.limit.entries, _ = db.Limits()
	i.limit.vlog = min(importLogBytes, db.MaxLogBytes())
	i.reset()
	return i, nil
}

func (i *Importer) reset() {
	clear(i.entries)
	i.entries = i.entries[:0]
	i.size = (&Batch{}).size(i.db.opt.InlineValue)
}

// Put stores a record as version has it, in place of one of a lower version. key
// and value are not used any more when it returns.
func (i *Importer) Put(key []byte, version uint64, value []byte) error {
	return i.add(importEntry{key: key, value: value, version: version})
}

// Delete removes a record that is of a lower version.
func (i *Importer) Delete(key []byte, version uint64) error {
	return i.add(importEntry{key: key, version: version, del: true})
}

func (i *Importer) add(e importEntry) error {
	if err := checkKey(e.key); err != nil {
		return err
	}
	if e.version == 0 {
		return fmt.Errorf("%w: version 0", ErrInvalidKey)
	}
	one := (&Batch{entries: []batchEntry{{key: e.key, value: e.value}}}).size(i.db.opt.InlineValue)
	empty := (&Batch{}).size(i.db.opt.InlineValue)
	add := func(to batchSize) batchSize {
		return batchSize{
			entries: to.entries + one.entries - empty.entries, lsm: to.lsm + one.lsm - empty.lsm,
			wal: to.wal + one.wal - empty.wal, vlog: to.vlog + one.vlog,
		}
	}
	fits := func(s batchSize) bool {
		return s.entries <= i.limit.entries && s.lsm <= i.limit.lsm && s.vlog <= i.limit.vlog
	}
	if !fits(add(i.size)) {
		if err := i.Flush(); err != nil {
			return err
		}
		if one.lsm > i.limit.lsm || one.vlog > i.db.MaxLogBytes() {
			return fmt.Errorf("%w: a record of %d bytes", ErrTooBig, len(e.value))
		}
	}
	i.size = add(i.size)
	e.key, e.value = bytes.Clone(e.key), bytes.Clone(e.value)
	i.entries = append(i.entries, e)
	return nil
}

// Flush makes durable what was put, and visible to Views taken afterwards.
func (i *Importer) Flush() error {
	if len(i.entries) == 0 {
		return nil
	}
	db := i.db
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	if err := db.writable(); err != nil {
		return err
	}
	if err := db.makeRoom(i.size, ordinary); err != nil {
		return err
	}
	last := db.committed.Load()
	// Badger leaves out the marks of a transaction where versions differ.
	batch := db.bdb.NewManagedWriteBatch()
	for _, e := range i.entries {
		last = max(last, e.version)
		var err error
		if e.del {
			err = batch.DeleteAt(e.key, e.version)
		} else {
			err = batch.SetEntryAt(badger.NewEntry(e.key, e.value), e.version)
		}
		if err != nil {
			batch.Cancel()
			return fmt.Errorf("import: %w", err)
		}
	}
	err := db.await(batch.Flush)
	if err == nil {
		err = db.followLogs()
	}
	if err != nil {
		err = fmt.Errorf("import: %w", err)
		db.failure.Store(&err)
		return err
	}
	if last > db.committed.Load() {
		db.committed.Store(last)
		db.applied.Store(last)
		db.publish()
	}
	db.activity.unflushed = true
	i.reset()
	return nil
}
