package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// markerKey holds nothing. It is written by batches that have no Put: a deletion
// is forgotten once compaction is through with it, and its version with it, and
// then the next opening would number a commit twice.
func markerKey() []byte { return []byte{reservedPrefix, 'v'} }

// joinKey is written by transactions that hold several commits. Its value is the
// version of the transaction before, so that a missing one is still noticed.
func joinKey() []byte { return []byte{reservedPrefix, 'j'} }

// Commit applies the batch as one and returns its version, which is always
// Committed plus one. It is durable when Commit returns. An empty batch is a
// commit like any other.
//
// After ErrInvalidKey, ErrTooBig and ErrFull nothing was written and another
// batch may be committed. After any other error the outcome is open and all
// later commits are ErrFailed; reads go on at the last acknowledged version.
func (db *DB) Commit(b *Batch) (version uint64, err error) {
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
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
	written, err := db.commitToJournal(b, size, version)
	if err == nil && !written {
		// What is in the journal comes first.
		if err = db.checkpointAll(); err == nil {
			err = db.transact(b, size, version)
		}
	}
	if err != nil {
		return 0, err
	}
	db.committed.Store(version)
	db.publish()
	return version, nil
}

// writable returns why nothing may be written, or nil.
func (db *DB) writable() error {
	switch failure := db.failure.Load(); {
	case db.closed.Load():
		return ErrClosed
	case db.opt.Access == ReadOnly:
		return ErrReadOnly
	case failure != nil:
		return fmt.Errorf("%w: %w", ErrFailed, *failure)
	}
	return nil
}

// transact applies a batch, which may be that of several commits, as one
// transaction of the given version. After errors other than ErrFull the outcome
// is open, and nothing is committed any more.
func (db *DB) transact(b *Batch, size batchSize, version uint64) error {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	err := db.makeRoom(size, b.privilege)
	if errors.Is(err, ErrFull) {
		return err
	}
	if err == nil {
		err = db.write(b, size, version)
	}
	if err != nil {
		err = fmt.Errorf("commit %d: %w", version, err)
		db.failure.Store(&err)
		return err
	}
	before := db.applied.Swap(version)
	db.note(b, before)
	return nil
}

// makeRoom makes sure that a batch of the given size can be written, and counts
// it as written. It is ErrFull if not, and then nothing was.
func (db *DB) makeRoom(size batchSize, p privilege) error {
	if err := db.reserveLogs(size, p); err != nil {
		return err
	}
	db.wal.wrote(size.wal)
	db.vlog.wrote(size.vlog)
	return nil
}

// reserveLogs makes sure that there is space for a batch of the given size: it
// is ErrFull if not.
func (db *DB) reserveLogs(size batchSize, p privilege) error {
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
		return db.vlog.reserve(size.vlog+db.inGC, plenty)
	}
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

// write hands the batch, whose size was counted, to Badger and makes sure that it
// is durable.
func (db *DB) write(b *Batch, size batchSize, version uint64) error {
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
	if err := db.mark(txn, b, version); err != nil {
		return err
	}
	commit := func() error { return txn.CommitAt(version, nil) }
	if db.commitFault != nil {
		inner := commit
		commit = func() error { return db.commitFault(inner) }
	}
	if err := db.vlog.writingOut(size.vlog, func() error { return db.await(commit) }); err != nil {
		return err
	}
	// This commit may be in a new log already.
	return db.followLogs()
}

// mark adds the record that a transaction has which only deletes or which holds
// several commits.
func (db *DB) mark(txn *badger.Txn, b *Batch, version uint64) error {
	before := db.applied.Load()
	switch {
	case version > before+1:
		return txn.SetEntry(badger.NewEntry(joinKey(), binary.BigEndian.AppendUint64(nil, before)))
	case b.puts == 0:
		return txn.SetEntry(badger.NewEntry(markerKey(), nil))
	}
	return nil
}
