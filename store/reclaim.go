package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// How space comes back.
//
// A deletion is a record like any other. The value it hides is counted as dead
// when compaction meets both; value log files with many dead values are then
// rewritten by Badger's garbage collection, which moves what is alive to the
// current file. So reclaiming is: get the deletions out of memory and down the
// levels, then collect file by file.

const (
	// thoroughRatio is the part of a value log file that must be dead for Reclaim
	// to collect it: less than a tenth of what is alive stays behind.
	thoroughRatio = 0.08
	// backgroundRatio is that for the background work, which in the long run
	// writes each byte once more.
	backgroundRatio = 0.5
	// chosen marks the file to be collected in Badger's statistics.
	chosen = math.MaxInt64 / 4
)

// flushKey lies under a prefix of its own: see flush.
func flushKey() []byte { return []byte{reservedPrefix, 'f'} }

// Reclaim gives the space of deleted and overwritten records back to the file
// system, as far as that is possible and no open View needs them. It may take
// long; ctx ends it between steps. Reads and commits go on meanwhile, except for
// a moment in which the memtable is flushed.
func (db *DB) Reclaim(ctx context.Context) error {
	if err := db.reclaimable(); err != nil {
		return err
	}
	db.reclaimMu.Lock()
	defer db.reclaimMu.Unlock()
	if err := db.compact(ctx); err != nil {
		return err
	}
	if err := db.collect(ctx, thoroughRatio); err != nil {
		return err
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
	version := db.committed.Load()
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

// collect rewrites the value log files of which at least the given part is dead.
// Guarded by reclaimMu.
func (db *DB) collect(ctx context.Context, ratio float64) error {
	tried := make(map[uint32]bool)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		fid, size, err := db.pickFile(ratio, tried)
		if err != nil || fid == 0 {
			return err
		}
		tried[fid] = true
		if err := db.collectFile(fid, size, ratio); err != nil {
			return err
		}
	}
}

// pickFile returns the value log file with the largest part dead and its size,
// or 0 if none has as much as ratio.
func (db *DB) pickFile(ratio float64, tried map[uint32]bool) (fid uint32, size int64, err error) {
	dead, err := db.discard.read()
	if err != nil {
		return 0, 0, err
	}
	db.commitMu.Lock()
	err = db.followLogs()
	current := db.vlog.fid
	db.commitMu.Unlock()
	if err != nil {
		return 0, 0, err
	}
	best := 0.0
	for f, bytes := range dead {
		if f >= current || tried[f] {
			continue
		}
		info, err := os.Stat(db.vlog.path(f))
		if err != nil || info.Size() == 0 {
			continue // collected, but not yet removed from the statistics
		}
		if part := float64(bytes) / float64(info.Size()); part >= ratio && part > best {
			best, fid, size = part, f, info.Size()
		}
	}
	return fid, size, nil
}

// collectFile collects a value log file if really as much as ratio of it is
// dead, it is not damaged, and there is space for the rest.
func (db *DB) collectFile(fid uint32, size int64, ratio float64) error {
	alive, err := db.measure(fid)
	if err != nil {
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrIO) {
			// It must not be collected: Badger would drop what follows the damage.
			db.log.Error("store: value log file not reclaimed", "file", fid, "error", err)
			return nil
		}
		return err
	}
	dead := max(0, size-alive)
	if float64(dead) < ratio*float64(size) {
		_, err := db.discard.set(fid, dead)
		return err
	}
	if ok, err := db.startGC(alive); err != nil || !ok {
		return err
	}
	rewritten, gcErr := db.rewrite(fid)
	if err := db.endGC(); err != nil {
		return errors.Join(gcErr, err)
	}
	if !rewritten {
		_, err = db.discard.set(fid, dead)
	}
	return errors.Join(gcErr, err)
}

// rewrite makes Badger collect a value log file.
func (db *DB) rewrite(fid uint32) (done bool, err error) {
	if ok, err := db.discard.set(fid, chosen); err != nil || !ok {
		return false, err
	}
	err = db.await(func() error {
		return guard(func() error { return db.bdb.RunValueLogGC(0.001) }, nil)
	})
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
		return false, nil
	default:
		// What it moved may or may not have been written.
		err = fmt.Errorf("collecting value log file %d: %w", fid, err)
		db.failure.Store(&err)
		return false, err
	}
}

// orderRewrite waits for the commit that is being made. Badger's garbage
// collection reads the last version from the memtable without keeping its writer
// out (DB.MaxVersion in v4.9.6), and keeps deletions that are newer than that: a
// commit half made must not be taken for one that is still to come.
func (db *DB) orderRewrite() {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	db.log.Debug("store: rewriting a value log file", "version", db.committed.Load())
}

// startGC makes room for the values a garbage collection moves. It reports
// whether there is any.
func (db *DB) startGC(alive int64) (ok bool, err error) {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	if err := db.writable(); err != nil {
		return false, err
	}
	if err := db.followLogs(); err != nil {
		return false, err
	}
	db.inGC = alive
	defer func() {
		if !ok {
			db.inGC = 0
		}
	}()
	if ok, err := db.spare(alive + db.gcWAL()); err != nil || !ok {
		return false, err
	}
	for _, err := range []error{db.wal.reserve(db.gcWAL(), false), db.vlog.reserve(alive, false)} {
		if errors.Is(err, ErrFull) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// endGC counts what a garbage collection wrote.
func (db *DB) endGC() error {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	wal, vlog := db.wal.fid, db.vlog.fid
	err := db.followLogs()
	// If a log was replaced, what went into the new one is counted already.
	if db.wal.fid == wal {
		db.wal.wrote(db.gcWAL())
	}
	if db.vlog.fid == vlog {
		db.vlog.wrote(db.inGC)
	}
	db.inGC = 0
	return err
}

// measure returns how many bytes of a value log file are alive in the eyes of
// garbage collection, or a little more.
//
// Badger takes the first damage for the end of the file, and having moved what
// comes before it removes the file. That is right for what a crash left of a
// commit. But if anything alive follows it is ErrDamaged.
func (db *DB) measure(fid uint32) (alive int64, err error) {
	err = withMapped(db.vlog.path(fid), func(data []byte) error {
		end, err := scanEntries(data, func(e logEntry) error {
			live, err := db.isAlive(e)
			if live {
				alive += e.size
			}
			return err
		})
		if err != nil {
			return err
		}
		at, err := db.findAlive(data, min(end, int64(len(data))))
		if err == nil && at >= 0 {
			err = fmt.Errorf("%w: %s is unreadable at offset %d, before records that are needed, the first at %d",
				ErrDamaged, filepath.Base(db.vlog.path(fid)), end, at)
		}
		return err
	})
	return alive, err
}

// findAlive looks for entries that are alive behind the first damage, including
// what is damaged itself if its key can be made out. It returns the offset of the
// first, or -1.
func (db *DB) findAlive(data []byte, from int64) (int64, error) {
	for pos := from; pos < int64(len(data)); pos++ {
		rest := data[pos:]
		// Rules out most positions: in the value log an entry begins with two zeros
		// and never expires, and there are bounds to a key.
		if len(rest) < 3 || rest[0] != 0 || rest[1] != 0 || rest[2] <= versionSize {
			continue
		}
		if h, ok := parseHeader(rest); !ok || h.expiry != 0 || h.key > MaxKeySize+versionSize {
			continue
		}
		e, checked := parseEntry(rest)
		if !checked && pos > from || e.size == 0 {
			continue
		}
		if alive, err := db.isAlive(e); err != nil || alive {
			return pos, err
		}
		if checked {
			pos += e.size - 1
		}
	}
	return -1, nil
}

// isAlive tells whether the tables have the very version of the key that an
// entry of the value log holds.
func (db *DB) isAlive(e logEntry) (bool, error) {
	txn := db.bdb.NewTransactionAt(e.version, false)
	defer txn.Discard()
	item, err := txn.Get(e.key)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return item.Version() == e.version && inValueLog(item), nil
}
