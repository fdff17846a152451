package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// checkpointAge is how long a commit stays in the journal alone, at most, if
	// Badger keeps up.
	checkpointAge = time.Second
	// checkpointTick is how often the age is looked at, and how soon a checkpoint
	// is tried again that found the disk full.
	checkpointTick = 250 * time.Millisecond
)

// journaling is the journal and what is in it. Guarded by DB.journalMu.
type journaling struct {
	size  int64 // of a file; 0: commits do not go through the journal
	files [2]*journalFile
	turn  int // the file that active uses, or the next overlay will

	active *overlay // takes commits; nil: none since the last checkpoint
	frozen *overlay // is on its way to Badger
	// replayed are overlays of what a read-only database found in the journal.
	replayed []*overlay

	done   *sync.Cond    // a checkpoint ended, or failed with err
	err    error         // why frozen is not in Badger yet
	wanted chan struct{} // wakes the checkpointer
}

// overlays are all there are, the newest first.
func (j *journaling) overlays() []*overlay {
	var all []*overlay
	for _, o := range append([]*overlay{j.active, j.frozen}, j.replayed...) {
		if o != nil {
			all = append(all, o)
		}
	}
	return all
}

// publish lets new Views see the last commit. Guarded by journalMu.
func (db *DB) publish() { db.views.advance(db.committed.Load(), db.journal.overlays()) }

// StartJournal has small commits go through the journal from now on. Whatever
// opens the store after this process was killed must know of the journal: that is
// for the caller to see to. Without room for it nothing changes.
func (db *DB) StartJournal() {
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
	if db.opt.Access != ReadWrite || db.opt.JournalSize == 0 {
		return
	}
	db.journal.size = db.opt.JournalSize
}

// commitToJournal makes a batch durable in the journal and reports whether it
// did. It does not if the batch is large, the disk nearly full or the journal
// fails. Guarded by journalMu.
func (db *DB) commitToJournal(b *Batch, size batchSize, version uint64) (bool, error) {
	j := &db.journal
	payload := int64(0)
	for _, e := range b.entries {
		payload += e.payloadSize()
	}
	if j.size == 0 || payload > min(journalEntryLimit, j.size/4) {
		return false, nil
	}
	limits := db.overlayLimits()
	if size.lsm > limits.lsm/4 || size.entries > limits.entries/4 || listSize(b.entries) > overlayArena/4 {
		return false, nil
	}
	if o := j.active; o != nil && (payload > o.file.room() || !o.fits(size, b.entries)) {
		if err := db.freeze(); err != nil {
			return false, err
		}
	}
	if j.active == nil {
		ok, err := db.newActive(limits)
		if err != nil || !ok {
			return false, err
		}
	}
	if err := j.active.file.append(version, b.entries); err != nil {
		// What is in the journal already is durable, and stays there until it is in
		// Badger; this commit and all others take the other way.
		db.log.Warn("store: the journal failed and is not used any more", "error", err)
		j.size = 0
		return false, nil
	}
	j.active.add(version, size, b.entries)
	return true, nil
}

// overlayLimits is what an overlay may hold: what a transaction may.
func (db *DB) overlayLimits() batchSize {
	maxBytes, maxEntries, _ := db.Limits()
	return batchSize{entries: maxEntries - 1, lsm: maxBytes - batchOverhead, vlog: db.MaxLogBytes()}
}

// newActive begins an overlay, with space for all that it can hold, and reports
// whether there is any. Guarded by journalMu.
func (db *DB) newActive(limits batchSize) (bool, error) {
	j := &db.journal
	db.commitMu.Lock()
	// An entry of Badger's log takes 27 bytes more than one of the journal.
	err := db.reserveLogs(batchSize{wal: j.size + 27*limits.entries, vlog: j.size}, ordinary)
	db.commitMu.Unlock()
	if err == nil {
		err = db.makeJournal()
	}
	if errors.Is(err, ErrFull) || isFull(err) {
		// Its space is wanted; it is made again when there is plenty.
		if j.frozen == nil {
			return false, db.removeJournal()
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	j.files[j.turn].restart()
	j.active = newOverlay(limits, j.files[j.turn])
	return true, nil
}

// makeJournal makes the two files, if they are not there.
func (db *DB) makeJournal() error {
	j := &db.journal
	if j.files[0] != nil {
		return nil
	}
	for i, name := range journalNames() {
		f, err := makeJournalFile(filepath.Join(db.dir.path, name), j.size)
		if err != nil {
			return errors.Join(err, db.removeJournal())
		}
		j.files[i] = f
	}
	return syncDir(db.dir.path)
}

// removeJournal removes the files. All that is in them must be in Badger.
func (db *DB) removeJournal() error {
	var errs []error
	removed := false
	for i, name := range journalNames() {
		if f := db.journal.files[i]; f != nil {
			errs = append(errs, f.f.Close())
			db.journal.files[i] = nil
		}
		err := os.Remove(filepath.Join(db.dir.path, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("store: %w", err))
		}
		removed = removed || err == nil
	}
	if removed {
		errs = append(errs, syncDir(db.dir.path))
	}
	return errors.Join(errs...)
}

// freeze hands the active overlay to the checkpointer and has commits use the
// other file, once that is free. Guarded by journalMu.
func (db *DB) freeze() error {
	if err := db.awaitCheckpoint(); err != nil {
		return err
	}
	j := &db.journal
	j.frozen, j.active = j.active, nil
	j.turn = 1 - j.turn
	select {
	case j.wanted <- struct{}{}:
	default:
	}
	return nil
}

// awaitCheckpoint waits until no overlay is frozen. Guarded by journalMu, which
// others may have meanwhile.
func (db *DB) awaitCheckpoint() error {
	for db.journal.frozen != nil {
		if err := db.journal.err; err != nil {
			return err
		}
		db.journal.done.Wait()
		if db.closed.Load() {
			return ErrClosed
		}
	}
	return nil
}

// checkpointAll brings all that is in the journal into Badger. Guarded by
// journalMu.
func (db *DB) checkpointAll() error {
	if err := db.awaitCheckpoint(); err != nil {
		return err
	}
	j := &db.journal
	if j.active == nil {
		return nil
	}
	if err := db.checkpoint(j.active); err != nil {
		return err
	}
	j.active = nil
	db.publish()
	return nil
}

// checkpoint makes the commits of an overlay one transaction of Badger's.
func (db *DB) checkpoint(o *overlay) error {
	b := &Batch{entries: o.merged(), privilege: freeing}
	for _, e := range b.entries {
		if !e.del {
			b.puts++
		}
	}
	return db.transact(b, b.size(db.opt.InlineValue), o.last)
}

// checkpointer brings frozen overlays into Badger, and active ones that are old
// enough, until ctx ends, which is when the database is being closed.
func (db *DB) checkpointer(ctx context.Context) {
	tick := time.NewTicker(checkpointTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			// Nobody else ends a checkpoint that is waited for.
			db.journalMu.Lock()
			db.journal.done.Broadcast()
			db.journalMu.Unlock()
			return
		case <-tick.C:
		case <-db.journal.wanted:
		}
		if o := db.dueOverlay(); o != nil {
			db.endCheckpoint(db.checkpoint(o))
		}
	}
}

// dueOverlay returns the overlay to be brought into Badger now, frozen, if any.
func (db *DB) dueOverlay() *overlay {
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
	j := &db.journal
	if j.frozen == nil && j.active != nil && time.Since(j.active.since) >= checkpointAge {
		j.frozen, j.active = j.active, nil
		j.turn = 1 - j.turn
	}
	if db.failure.Load() != nil {
		return nil
	}
	return j.frozen
}

// endCheckpoint lets go of the frozen overlay, if it is in Badger.
func (db *DB) endCheckpoint(err error) {
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
	j := &db.journal
	if err != nil && (j.err == nil || !errors.Is(err, ErrFull)) {
		db.log.Warn("store: the journal could not be emptied", "error", err)
	}
	j.err = err
	if err == nil {
		j.frozen = nil
		db.publish()
	}
	j.done.Broadcast()
}

// emptyJournal brings all that is in the journal into Badger, when the
// checkpointer has ended, and reports whether it could: not after a failure.
// Guarded by journalMu.
func (db *DB) emptyJournal() (bool, error) {
	j := &db.journal
	defer j.done.Broadcast() // commits that wait were too late
	if db.failure.Load() != nil || db.opt.Access == ReadOnly {
		return false, nil
	}
	for _, o := range []**overlay{&j.frozen, &j.active} {
		if *o == nil {
			continue
		}
		if err := db.checkpoint(*o); err != nil {
			return false, err
		}
		*o = nil
		db.publish()
	}
	return true, nil
}

// replay takes up what is in the journal and not in Badger: into Badger, or where
// nothing may be written into memory.
func (db *DB) replay(entries []journalEntry) error {
	rest, err := after(entries, db.applied.Load())
	if err != nil {
		return err
	}
	overlays, err := db.overlaysOf(rest)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		db.log.Info("store: taking up commits from the journal", "first", rest[0].version, "last", rest[len(rest)-1].version)
	}
	if db.opt.Access == ReadOnly {
		db.keepReplayed(overlays)
		return nil
	}
	for _, o := range overlays {
		if err := db.checkpoint(o); err != nil {
			return err
		}
		db.committed.Store(o.last)
	}
	return db.removeJournal()
}

// keepReplayed has Views read through these overlays, the oldest first.
func (db *DB) keepReplayed(overlays []*overlay) {
	for _, o := range overlays {
		db.journal.replayed = append([]*overlay{o}, db.journal.replayed...)
		db.committed.Store(o.last)
	}
}

// overlaysOf returns overlays with these commits, the oldest first.
func (db *DB) overlaysOf(entries []journalEntry) ([]*overlay, error) {
	var all []*overlay
	var o *overlay
	for _, e := range entries {
		size := (&Batch{entries: e.changes}).size(db.opt.InlineValue)
		if o == nil || !o.fits(size, e.changes) {
			o = newOverlay(db.overlayLimits(), nil)
			all = append(all, o)
			if !o.fits(size, e.changes) {
				return nil, fmt.Errorf("%w: commit %d in the journal is too big", ErrDamaged, e.version)
			}
		}
		o.add(e.version, size, e.changes)
	}
	return all, nil
}
