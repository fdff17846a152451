package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// markerKey holds nothing. It is written by batches that have no Put: a deletion
// is forgotten once compaction is through with it, and its version with it, and
// then the next opening would number a commit twice.
func markerKey() []byte { return []byte{reservedPrefix, 'v'} }

// Commit applies the batch as one transaction and returns its version, which is
// always Committed plus one. It is durable when Commit returns. An empty batch
// is a commit like any other.
//
// After ErrInvalidKey, ErrTooBig and ErrFull nothing was written and another
// batch may be committed. After any other error the outcome is open and all
// later commits are ErrFailed; reads go on at the last acknowledged version.
func (db *DB) Commit(b *Batch) (version uint64, err error) {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	if err := db.writable(); err != nil {
		return 0, err
	}
	if b.err != nil {
		return 0, b.err
	}
	size := b.size(db.opt.InlineValue)
	maxBytes, maxEntries, _ := db.Limits()
	if size.lsm > maxBytes || size.entries > maxEntries || size.vlog > db.MaxLogBytes() {
		return 0, fmt.Errorf("%w: %d entries, %d bytes in tables and %d in the value log exceed %d, %d and %d",
			ErrTooBig, size.entries, size.lsm, size.vlog, maxEntries, maxBytes, db.MaxLogBytes())
	}
	version = db.committed.Load() + 1
	if err := db.makeRoom(size, b.privilege); err != nil {
		if !errors.Is(err, ErrFull) {
			err = fmt.Errorf("commit %d: %w", version, err)
			db.failure.Store(&err)
		}
		return 0, err
	}
	if err := db.write(b, version); err != nil {
		err = fmt.Errorf("commit %d: %w", version, err)
		db.failure.Store(&err)
		return 0, err
	}
	db.committed.Store(version)
	db.views.advance(version)
	db.note(b, version)
	return version, nil
}

// writable returns why nothing may be written, or nil. Guarded by commitMu.
func (db *DB) writable() error {
	switch failure := db.failure.Load(); {
	case db.closed:
		return ErrClosed
	case db.opt.Access == ReadOnly:
		return ErrReadOnly
	case failure != nil:
		return fmt.Errorf("%w: %w", ErrFailed, *failure)
	}
	return nil
}

// makeRoom makes sure that a batch of the given size can be written: it is
// ErrFull if not, and then nothing was.
func (db *DB) makeRoom(size batchSize, p privilege) error {
	// Garbage collection writes to the same logs, and may have replaced them.
	if err := db.followLogs(); err != nil {
		return err
	}
	plenty, err := db.admit(size.wal+size.vlog, p)
	if err != nil {
		return err
	}
	if err := db.wal.reserve(size.wal+db.gcWAL(), plenty); err != nil {
		return err
	}
	if size.vlog > 0 {
		if err := db.vlog.reserve(size.vlog+db.inGC, plenty); err != nil {
			return err
		}
	}
	db.wal.wrote(size.wal)
	db.vlog.wrote(size.vlog)
	return nil
}

// followLogs notices new log files and makes their directory entries durable,
// which Badger does not.
func (db *DB) followLogs() error {
	walRotated, err := db.wal.refresh(db.gcWAL())
	if err != nil {
		return err
	}
	vlogRotated, err := db.vlog.refresh(db.inGC)
	if err != nil {
		return err
	}
	if walRotated {
		db.updateFloor()
		db.activity.flushed()
	}
	if walRotated || vlogRotated {
		return syncDir(db.path())
	}
	return nil
}

// gcWAL is what a garbage collection under way may write to the write-ahead
// log: a pointer for each value it moves.
func (db *DB) gcWAL() int64 {
	return db.inGC / db.opt.InlineValue * (MaxKeySize + versionSize + pointerSize + logOverhead)
}

// write hands the batch to Badger and makes sure that it is durable.
func (db *DB) write(b *Batch, version uint64) error {
	txn := db.bdb.NewTransactionAt(version-1, true)
	defer txn.Discard()
	for _, e := range b.entries {
		var err error
		if e.del {
			err = txn.Delete(e.key)
		} else {
			err = txn.SetEntry(badger.NewEntry(e.key, e.value))
		}
		if err != nil {
			return err
		}
	}
	if b.puts == 0 {
		if err := txn.SetEntry(badger.NewEntry(markerKey(), nil)); err != nil {
			return err
		}
	}
	commit := func() error { return txn.CommitAt(version, nil) }
	if db.commitFault != nil {
		inner := commit
		commit = func() error { return db.commitFault(inner) }
	}
	if err := db.await(commit); err != nil {
		return err
	}
	// This commit may be in a new log already.
	return db.followLogs()
}
