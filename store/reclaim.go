package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// How space comes back.
//
// A deletion is a record like any other. The value it hides is counted as dead
// when compaction meets both; value log files with many dead values are then
// rewritten by Badger's garbage collection, which moves what is alive to the
// current file. So reclaiming is: get the deletions out of memory and down the
// levels, then collect file by file.

// flushKey lies under a prefix of its own: see flush.
func flushKey() []byte { return []byte{reservedPrefix, 'f'} }

// Reclaim gives the space of deleted and overwritten records back to the file
// system, as far as that is possible and no open View needs them. It may take
// long; ctx ends it between steps. Reads and commits go on meanwhile, except for
// a moment in which the memtable is flushed.
func (db *DB) Reclaim(ctx context.Context, progress Progress) error {
	if err := db.reclaimable(); err != nil {
		return err
	}
	db.reclaimMu.Lock()
	defer db.reclaimMu.Unlock()
	progress.tell(0, 0, "compacting tables")
	if err := db.compact(ctx); err != nil {
		return err
	}
	// A power failure may have taken figures along.
	if err := db.survey(ctx, thorough(), progress); err != nil {
		return err
	}
	c := collection{goal: thorough(), progress: progress, rest: noRest}
	if err := db.collect(ctx, &c); err != nil {
		return err
	}
	if c.collected > 0 {
		// The tables still have the places where the values were.
		progress.tell(0, 0, "compacting tables")
		if err := db.compact(ctx); err != nil {
			return err
		}
	}
	return db.afterReclaim()
}

// reclaimable returns an error if the database may not be written to.
func (db *DB) reclaimable() error {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	return db.writable()
}

// afterReclaim makes use of the space that came back. Guarded by reclaimMu.
func (db *DB) afterReclaim() error {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	db.updateFloor()
	return db.tendBallast(true)
}

// compact brings deletions together with what they delete. Without the space to
// do so it does nothing. Guarded by reclaimMu.
func (db *DB) compact(ctx context.Context) error {
	db.journalMu.Lock()
	err := db.checkpointAll() // what is deleted in the journal is not in Badger
	db.journalMu.Unlock()
	if errors.Is(err, ErrFull) {
		db.log.Warn("store: not enough space to empty the journal")
		return nil
	}
	if err != nil {
		return err
	}
	// The tables first, so that flushing, which holds up reads, has little to do.
	for _, step := range []func() error{db.flatten, db.flush, db.flatten} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// flatten compacts the levels into one.
func (db *DB) flatten() error {
	db.commitMu.Lock()
	ok, err := db.roomToCompact()
	db.commitMu.Unlock()
	if err != nil {
		return err
	}
	if !ok {
		db.log.Warn("store: not enough space to compact tables")
		return nil
	}
	// It fails if it has to wait for a compaction under way. That is no harm.
	if err := guard(func() error { return db.bdb.Flatten(1) }, nil); err != nil {
		db.log.Debug("store: compaction", "error", err)
	}
	return nil
}

// roomToCompact reports whether there is space to compact level 0 and what is
// below, giving up the ballast for it if need be. Guarded by commitMu.
func (db *DB) roomToCompact() (bool, error) {
	if err := db.writable(); err != nil {
		return false, err
	}
	db.updateFloor()
	return db.spare(max(0, db.reserve.Load()-db.floor.Load()))
}

// flush writes the memtable to a table and compacts level 0.
//
// Badger has no call for that. But dropping all keys with a prefix does it on
// the way, if there is such a key; so one is written first, with the version of
// the last commit so as not to use one up. Commits wait, and so do reads while
// the tables are written.
func (db *DB) flush() error {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	version := db.applied.Load()
	if version == 0 || !db.activity.unflushed {
		return nil
	}
	if ok, err := db.roomToCompact(); err != nil || !ok {
		return err
	}
	if err := db.makeRoom(batchSize{wal: batchOverhead}, freeing); err != nil {
		if errors.Is(err, ErrFull) {
			return nil
		}
		return err
	}
	err := guard(func() error {
		txn := db.bdb.NewTransactionAt(version, true)
		defer txn.Discard()
		if err := txn.SetEntry(badger.NewEntry(flushKey(), nil)); err != nil {
			return err
		}
		if err := txn.CommitAt(version, nil); err != nil {
			return err
		}
		return db.bdb.DropPrefix(flushKey())
	}, nil)
	if err != nil {
		// Badger does not say how far it got.
		err = fmt.Errorf("flushing the memtable: %w", err)
		db.failure.Store(&err)
		return err
	}
	db.activity.unflushed = false
	return db.followLogs()
}
