package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// tick is how often the background work looks whether there is any.
	tick = time.Second
	// idleAfter is how long no commit must have come for work that can wait, and
	// settledAfter for work that is thorough.
	idleAfter    = 3 * time.Second
	settledAfter = 30 * time.Second
	// compactingFor is how long after a flush compactions are taken to go on.
	compactingFor = 30 * time.Second
	// statsEvery is how often the statistics of dead values are made durable and
	// looked at under a load that is never idle.
	statsEvery = 30 * time.Second
	// worthCompacting is how many bytes must have been deleted for compacting to
	// be worth it, at least, and worthPart which part of the store. Once nothing
	// goes on it is settledPart, or half a memtable.
	worthCompacting = 64 << 20
	worthPart       = 16
	settledPart     = 20
	// shortOfSpace is how little space must be left for all of it to be wanted.
	shortOfSpace = 1 << 30
	// sample is one in how many records is looked up for what it puts an end to.
	sample = 16
	// restFactor is how many times as long as it worked the thorough background
	// work rests.
	restFactor = 3
)

// activity is what commits tell the background work. Guarded by commitMu.
type activity struct {
	lastCommit time.Time
	lastFlush  time.Time
	commits    uint64    // in total
	dead       deadBytes // estimated, since the last compaction by the background work
	unflushed  bool      // the memtable holds something
}

// deadBytes is how much was deleted or overwritten.
type deadBytes struct {
	values int64 // in the value log
	inline int64 // in the tables
}

func (d *deadBytes) sub(o deadBytes) { d.values, d.inline = d.values-o.values, d.inline-o.inline }

// flushed notes that a memtable was replaced.
func (a *activity) flushed() { a.lastFlush = time.Now() }

// note counts a transaction that followed the one of version before. Records are
// sampled for what they put an end to, which Badger would only find out in a
// compaction.
func (db *DB) note(b *Batch, before uint64) {
	a := &db.activity
	a.lastCommit = time.Now()
	a.commits++
	a.unflushed = true
	for _, e := range b.entries {
		if rand.IntN(sample) == 0 {
			d := db.sizeAt(e.key, before)
			a.dead.values += sample * d.values
			a.dead.inline += sample * d.inline
		}
	}
}

// sizeAt returns the size of the value that a key has at a version.
func (db *DB) sizeAt(key []byte, version uint64) (d deadBytes) {
	err := guard(func() error {
		txn := db.bdb.NewTransactionAt(version, false)
		defer txn.Discard()
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		if inValueLog(item) {
			d.values = item.EstimatedSize()
		} else {
			d.inline = item.EstimatedSize()
		}
		return nil
	}, nil)
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		db.log.Debug("store: looking up a deleted record", "error", err)
	}
	return d
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
	settled uint64    // one more than how many commits there were at the last thorough work
	excess  int64     // what the last thorough work left of what nothing accounts for
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
	quiet := now.Sub(a.lastCommit)
	switch {
	case quiet >= settledAfter && k.settled != a.commits+1:
		return db.reclaimSettled(ctx, a, k)
	case a.commits == k.commits:
		return nil
	case quiet >= idleAfter:
		k.commits = a.commits
	case now.Sub(k.stats) < statsEvery:
		return nil
	}
	k.stats = now
	return db.reclaimSome(ctx, a, quiet >= idleAfter, k)
}

// reclaimSome reclaims what is worth it, given what commits told.
func (db *DB) reclaimSome(ctx context.Context, a activity, idle bool, k *housekeeper) error {
	db.reclaimMu.Lock()
	defer db.reclaimMu.Unlock()
	if err := db.discard.sync(); err != nil {
		return err
	}
	tables, vlog := db.Size()
	space, err := db.Space()
	if err != nil {
		return err
	}
	c := collection{goal: halves(), rest: noRest}
	worth := deadBytes{max(worthCompacting, vlog/worthPart), max(worthCompacting, tables/4)}
	if !idle {
		worth.values = max(worth.values, vlog/4)
	}
	if space.Free < min(space.Total/16, shortOfSpace) {
		// Space is short: what was deleted is wanted back soon.
		c.goal, worth = whenShort(), deadBytes{1, 1}
	}
	if a.dead.values >= worth.values || a.dead.inline >= worth.inline {
		if err := db.compactDead(ctx, a, k); err != nil {
			return err
		}
	}
	if err := db.collect(ctx, &c); err != nil {
		return err
	}
	return db.afterReclaim()
}

// compactDead compacts what activity told of. Guarded by reclaimMu.
func (db *DB) compactDead(ctx context.Context, a activity, k *housekeeper) error {
	start := time.Now()
	if err := db.compact(ctx); err != nil {
		return err
	}
	db.commitMu.Lock()
	db.activity.dead.sub(a.dead)
	db.commitMu.Unlock()
	// At most a tenth of the time goes into this.
	k.pause = time.Now().Add(10 * time.Since(start))
	return nil
}

// errDisturbed ends the thorough work when something is committed.
var errDisturbed = errors.New("store: no longer idle")

// reclaimSettled brings the store close to the size of what is alive, in no
// hurry, now that nothing goes on. A commit ends it, and it begins anew once
// all is quiet again.
func (db *DB) reclaimSettled(ctx context.Context, a activity, k *housekeeper) error {
	db.reclaimMu.Lock()
	defer db.reclaimMu.Unlock()
	if err := db.discard.sync(); err != nil {
		return err
	}
	tables, vlog := db.Size()
	worth := deadBytes{max(db.opt.MemTableSize/2, vlog/settledPart), max(db.opt.MemTableSize/2, tables/settledPart)}
	excess, err := db.Unaccounted()
	if err != nil {
		return err
	}
	if a.dead.values >= worth.values || a.dead.inline >= worth.inline || excess-k.excess >= worth.values {
		if err := db.compactDead(ctx, a, k); err != nil {
			return err
		}
	}
	c := collection{goal: unhurried(), rest: db.restUndisturbed(a.commits)}
	if err := db.collect(ctx, &c); err != nil {
		if errors.Is(err, errDisturbed) {
			return nil
		}
		return err
	}
	if k.excess, err = db.Unaccounted(); err != nil {
		return err
	}
	k.settled, k.commits = a.commits+1, a.commits
	return db.afterReclaim()
}

// restUndisturbed returns a function that rests, and that returns errDisturbed
// if there are more than so many commits.
func (db *DB) restUndisturbed(commits uint64) func(context.Context, time.Duration) error {
	return func(ctx context.Context, worked time.Duration) error {
		timer := time.NewTimer(restFactor * worked)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		db.commitMu.Lock()
		defer db.commitMu.Unlock()
		if db.activity.commits != commits {
			return errDisturbed
		}
		return nil
	}
}

// SetLive gives the store a function that returns how many bytes of values are
// alive, at most, for it to notice what died before it was opened. It must
// neither block nor call the store.
func (db *DB) SetLive(live func() int64) { db.live.Store(&live) }

// Unaccounted returns how many bytes of the value log are neither alive nor known
// to be dead, as far as that can be told without looking; see SetLive.
func (db *DB) Unaccounted() (int64, error) {
	live := db.live.Load()
	if live == nil {
		return 0, nil
	}
	dead, err := db.discard.read()
	if err != nil {
		return 0, err
	}
	_, bytes := db.Size()
	bytes -= (*live)()
	for _, n := range dead {
		bytes -= min(n, bytes) // of the file being collected it is anything
	}
	return max(0, bytes), nil
}
