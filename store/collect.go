package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// chosen marks the file to be collected in Badger's statistics.
const chosen = math.MaxInt64 / 4

// goal says which value log files are collected.
type goal struct {
	// ratio is the part of a file that must be dead.
	ratio float64
	// enough is the part of all files that may stay dead: collecting ends there.
	enough float64
}

// thorough is the goal of Reclaim.
func thorough() goal { return goal{ratio: 0.02, enough: 0.01} }

// unhurried is the goal of the background work when nothing else goes on. With
// what sparse records hold, less than a tenth of what is alive stays dead.
func unhurried() goal { return goal{ratio: 0.05, enough: 0.03} }

// halves is the goal of the background work beside others: in the long run it
// writes each byte once more.
func halves() goal { return goal{ratio: 0.5} }

// whenShort is the goal when space is short.
func whenShort() goal { return goal{ratio: 0.2} }

// collection is a run through the value log files.
type collection struct {
	goal
	progress Progress
	// rest is called after each file with the time that it took; an error ends
	// the collection.
	rest func(ctx context.Context, took time.Duration) error

	tried     map[uint32]bool
	collected int
}

func noRest(context.Context, time.Duration) error { return nil }

// collect rewrites value log files until the goal is reached. Guarded by
// reclaimMu.
func (db *DB) collect(ctx context.Context, c *collection) error {
	c.tried = make(map[uint32]bool)
	first := int64(-1)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		files, err := db.sealedFiles()
		if err != nil {
			return err
		}
		f, dead := c.pick(files)
		if f == nil {
			return nil
		}
		first = max(first, dead)
		c.progress.tell(first-dead, first, "collecting the value log")
		c.tried[f.fid] = true
		start := time.Now()
		done, err := db.collectFile(*f, c.ratio)
		if err != nil {
			return err
		}
		if done {
			c.collected++
		}
		if err := c.rest(ctx, time.Since(start)); err != nil {
			return err
		}
	}
}

// valueFile is a value log file that nothing is written to any more.
type valueFile struct {
	fid        uint32
	size, dead int64
}

// sealedFiles returns the value log files but the current one.
func (db *DB) sealedFiles() ([]valueFile, error) {
	dead, err := db.discard.read()
	if err != nil {
		return nil, err
	}
	db.commitMu.Lock()
	err = db.followLogs()
	current := db.vlog.fid
	db.commitMu.Unlock()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var files []valueFile
	for _, e := range entries {
		fid, ok := logNumber(e.Name(), extValueLog)
		if !ok || fid >= current {
			continue
		}
		info, err := e.Info()
		if err != nil || info.Size() == 0 {
			continue // collected meanwhile
		}
		files = append(files, valueFile{fid: fid, size: info.Size(), dead: min(dead[fid], info.Size())})
	}
	return files, nil
}

// pick returns the file with the largest part dead, or nil if the goal is
// reached, and how much is dead in all.
func (c *collection) pick(files []valueFile) (pick *valueFile, dead int64) {
	var size int64
	best := 0.0
	for i := range files {
		f := &files[i]
		size, dead = size+f.size, dead+f.dead
		if part := float64(f.dead) / float64(f.size); part >= c.ratio && part > best && !c.tried[f.fid] {
			best, pick = part, f
		}
	}
	if float64(dead) <= c.enough*float64(size) {
		return nil, dead
	}
	return pick, dead
}

// survey counts for itself what is dead in the files of which little is known
// to be. Guarded by reclaimMu.
func (db *DB) survey(ctx context.Context, g goal, progress Progress) error {
	files, err := db.sealedFiles()
	if err != nil {
		return err
	}
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		progress.tell(int64(i), int64(len(files)), "checking the value log")
		if float64(f.dead) >= g.ratio*float64(f.size) {
			continue
		}
		alive, err := db.measureSafely(f.fid, func(logEntry) {})
		if err != nil {
			return err
		}
		if dead := f.size - alive; alive >= 0 && dead > f.dead {
			if _, err := db.discard.set(f.fid, dead); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureSafely is measure, but reports damage in the log and returns -1: such a
// file must not be collected, as Badger would drop what follows the damage.
func (db *DB) measureSafely(fid uint32, each func(logEntry)) (alive int64, err error) {
	alive, err = db.measure(fid, each)
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrIO) {
		db.log.Error("store: value log file not reclaimed", "file", fid, "error", err)
		return -1, nil
	}
	return alive, err
}

// collectFile collects a value log file if really as much as ratio of it is
// dead, it is not damaged, and there is space for the rest. It reports whether
// it did.
func (db *DB) collectFile(f valueFile, ratio float64) (done bool, err error) {
	if err := db.finishMoving(); err != nil {
		return false, unlessFull(err)
	}
	// From here on no deletion goes that is newer than the list below; see moved.go.
	view := db.View()
	defer view.Release()
	list, alive, err := db.movables(f.fid)
	if err != nil || alive < 0 {
		return false, err
	}
	dead := max(0, f.size-alive)
	if float64(dead) < ratio*float64(f.size) {
		_, err := db.discard.set(f.fid, dead)
		return false, err
	}
	if err := db.dir.writeFile(nameMoving, appendMoving(nil, list)); err != nil {
		return false, unlessFull(err)
	}
	if ok, err := db.startGC(alive); err != nil || !ok {
		return false, errors.Join(err, db.removeMoving())
	}
	done, gcErr := db.rewrite(f.fid)
	if err := errors.Join(gcErr, db.endGC()); err != nil {
		return false, err
	}
	if !done {
		_, err = db.discard.set(f.fid, dead)
	}
	return done, errors.Join(err, unlessFull(db.finishMoving()))
}

// unlessFull returns an error but that there is no space: what is collected then
// is collected another time.
func unlessFull(err error) error {
	if errors.Is(err, ErrFull) || isFull(err) {
		return nil
	}
	return err
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
	db.activity.unflushed = true // where the values are now
	return err
}

// measure returns how many bytes of a value log file are alive in the eyes of
// garbage collection, or a little more.
//
// Badger takes the first damage for the end of the file, and having moved what
// comes before it removes the file. That is right for what a crash left of a
// commit. But if anything alive follows it is ErrDamaged.
//
// each is called with what is alive.
func (db *DB) measure(fid uint32, each func(logEntry)) (alive int64, err error) {
	err = withMapped(db.vlog.path(fid), func(data []byte) error {
		end, err := scanEntries(data, func(e logEntry) error {
			live, err := db.isAlive(e)
			if live {
				alive += e.size
				each(e)
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
