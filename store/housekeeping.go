package store

import (
	"context"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// tick is how often the background work looks whether there is any.
	tick = time.Second
	// idleAfter is how long no commit must have come for work that can wait.
	idleAfter = 3 * time.Second
	// compactingFor is how long after a flush compactions are taken to go on.
	compactingFor = 30 * time.Second
	// statsEvery is how often the statistics of dead values are made durable and
	// looked at under a load that is never idle.
	statsEvery = 30 * time.Second
	// worthCompacting is how many bytes must have been deleted for compacting to
	// be worth it, at least, and worthPart which part of the value log.
	worthCompacting = 64 << 20
	worthPart       = 16
	// shortOfSpace is how little space must be left for all of it to be wanted.
	shortOfSpace = 1 << 30
	// deleteSample is one in how many deletions is looked up for its size.
	deleteSample = 16
)

// activity is what commits tell the background work. Guarded by commitMu.
type activity struct {
	lastCommit time.Time
	lastFlush  time.Time
	commits    uint64 // in total
	deletes    uint64 // since the last compaction by the background work
	dead       int64  // estimated bytes deleted since then
	unflushed  bool   // the memtable holds something
}

// flushed notes that a memtable was replaced.
func (a *activity) flushed() { a.lastFlush = time.Now() }

// note counts a commit. Deletions are sampled for what they delete, which Badger
// would only find out in a compaction.
func (db *DB) note(b *Batch, version uint64) {
	a := &db.activity
	a.lastCommit = time.Now()
	a.commits++
	a.unflushed = true
	for _, e := range b.entries {
		if !e.del {
			continue
		}
		a.deletes++
		if a.deletes%deleteSample == 0 {
			a.dead += deleteSample * db.sizeBefore(e.key, version)
		}
	}
}

// sizeBefore returns how much of the value log the value took that a key had
// before a version, or 0.
func (db *DB) sizeBefore(key []byte, version uint64) (size int64) {
	err := guard(func() error {
		txn := db.bdb.NewTransactionAt(version-1, false)
		defer txn.Discard()
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		if inValueLog(item) {
			size = item.EstimatedSize()
		}
		return nil
	}, nil)
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		db.log.Debug("store: looking up a deleted record", "error", err)
	}
	return size
}

// housekeeping watches over the space and reclaims it, until ctx ends.
func (db *DB) housekeeping(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var keeper housekeeper
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if err := db.tidy(ctx, now, &keeper); err != nil && ctx.Err() == nil {
				db.log.Warn("store: housekeeping", "error", err)
			}
		}
	}
}

// housekeeper is what the background work remembers from tick to tick.
type housekeeper struct {
	stats   time.Time // when the statistics were last looked at
	commits uint64    // how many commits there were then
	pause   time.Time // no reclaiming before this
}

// tidy does what there is to do at the given time.
func (db *DB) tidy(ctx context.Context, now time.Time, k *housekeeper) error {
	db.commitMu.Lock()
	a := db.activity
	compacting := now.Sub(a.lastFlush) < compactingFor
	err := db.writable()
	if err == nil && compacting {
		db.updateFloor()
	}
	if err == nil {
		err = db.tendBallast(compacting)
	}
	db.commitMu.Unlock()
	if err != nil {
		if errors.Is(err, ErrFailed) || errors.Is(err, ErrClosed) {
			return nil // a failure was reported to whoever committed
		}
		return err
	}
	if now.Before(k.pause) {
		return nil
	}
	idle := now.Sub(a.lastCommit) >= idleAfter
	stats := a.commits != k.commits && (idle || now.Sub(k.stats) >= statsEvery)
	if !stats {
		return nil
	}
	k.stats = now
	if idle {
		k.commits = a.commits
	}
	return db.reclaimSome(ctx, a, idle, k)
}

// reclaimSome reclaims what is worth it, given what commits told.
func (db *DB) reclaimSome(ctx context.Context, a activity, idle bool, k *housekeeper) error {
	db.reclaimMu.Lock()
	defer db.reclaimMu.Unlock()
	if err := db.discard.sync(); err != nil {
		return err
	}
	_, vlog := db.Size()
	space, err := db.Space()
	if err != nil {
		return err
	}
	ratio := backgroundRatio
	worth := max(int64(worthCompacting), vlog/worthPart)
	if !idle {
		worth = max(worth, vlog/4)
	}
	if space.Free < min(space.Total/16, shortOfSpace) {
		// Space is short: what was deleted is wanted back soon.
		ratio, worth = 0.2, 1
	}
	if a.dead >= worth {
		start := time.Now()
		if err := db.compact(ctx); err != nil {
			return err
		}
		db.commitMu.Lock()
		db.activity.deletes -= a.deletes
		db.activity.dead -= a.dead
		db.commitMu.Unlock()
		// At most a tenth of the time goes into this.
		k.pause = time.Now().Add(10 * time.Since(start))
	}
	if err := db.collect(ctx, ratio); err != nil {
		return err
	}
	return db.afterReclaim()
}
