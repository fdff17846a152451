package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Extensions of Badger's files.
const (
	extTable    = ".sst"
	extValueLog = ".vlog"
	extWAL      = ".mem"
)

// closePatience is how long Close waits for Views to be released, and for
// Badger after a fault that may have left one of its locks held.
const closePatience = 10 * time.Second

// DB is an open database. Its methods are safe for concurrent use. One goroutine
// at a time should commit: a second one would not know its version beforehand.
type DB struct {
	dir    *Dir
	opt    Options // resolved
	bdb    *badger.DB
	log    *slog.Logger
	badger *badgerLogger
	views  viewSet

	committed atomic.Uint64         // the last commit
	applied   atomic.Uint64         // the last one that is in Badger; changed under commitMu
	closed    atomic.Bool           // no more commits; set under journalMu
	failure   atomic.Pointer[error] // why no more commits are taken
	faulted   atomic.Bool           // a read ran into an unreadable page or a panic

	live atomic.Pointer[func() int64] // see SetLive

	ballast                 *ballast
	floor, reserve, promise atomic.Int64 // see updateFloor

	journalMu sync.Mutex // taken after reclaimMu; held for each Commit; guards what follows
	journal   journaling

	commitMu sync.Mutex // taken after journalMu; held by whoever writes to Badger; guards what follows
	done     bool       // Badger is closed
	wal      logSpace
	vlog     logSpace
	inGC     int64 // what a garbage collection under way may write to the value log
	activity activity

	reclaimMu sync.Mutex // one reclaiming at a time; guards what follows
	discard   discardTable

	background sync.WaitGroup
	stop       context.CancelFunc // ends the background work

	patience time.Duration // how long Close waits; closePatience but in tests

	// commitFault, set by tests only, runs in place of handing a transaction to
	// Badger and may call through.
	commitFault func(commit func() error) error
}

// OpenDB opens the database of the store, making it if the store is being
// created. Damaged or missing files are ErrDamaged. It must be closed before the
// Dir is.
func (d *Dir) OpenDB(opt Options) (*DB, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.lock == nil:
		return nil, ErrClosed
	case d.db != nil:
		return nil, fmt.Errorf("%w: the database is already open", ErrBusy)
	}
	fsys, err := statFS(d.path)
	if err != nil {
		return nil, err
	}
	opt, err = opt.resolve(fsys.total)
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: d, opt: opt, log: opt.Logger, badger: newBadgerLogger(opt.Logger),
		patience: closePatience,
	}
	db.badger.rewriting = db.orderRewrite
	if err := db.open(); err != nil {
		return nil, err
	}
	d.db = db
	return db, nil
}

// path returns the directory Badger lives in.
func (db *DB) path() string { return filepath.Join(db.dir.path, nameDB) }

func (db *DB) open() (err error) {
	if db.dir.isNew {
		if err := os.Mkdir(db.path(), dirPerm); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("store: %w", err)
		}
		if err := syncDir(db.dir.path); err != nil {
			return err
		}
	}
	entries, wrong := readJournal(db.dir.path)
	if err := errors.Join(slices.Collect(maps.Values(wrong))...); err != nil {
		return err
	}
	found, err := inspect(db.path(), db.dir.isNew, lastVersion(entries))
	if err != nil {
		return err
	}
	for _, name := range found.mended {
		db.log.Warn("a database file was damaged and is mended; check the volume, and the disk", "file", name)
	}
	// A write-ahead log is replayed into one memtable, which must hold it.
	db.opt.MemTableSize = max(db.opt.MemTableSize, (found.walSize+1)/2)
	db.opt.ValueLogFileSize = max(db.opt.ValueLogFileSize, db.opt.MemTableSize/2)
	db.ballast, err = openBallast(filepath.Join(db.dir.path, nameBallast))
	if err != nil {
		return err
	}
	// Opening flushes the logs to tables.
	db.floor.Store(found.walBytes + found.walBytes/8 + floorMargin)
	if _, err := db.admit(0, freeing); err != nil {
		return err
	}
	// Badger cuts logs off whatever the access.
	if err := db.beginValueLog(); err != nil {
		return err
	}
	err = guard(func() error {
		var err error
		db.bdb, err = badger.OpenManaged(db.badgerOptions())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}, nil)
	if err != nil {
		return err
	}
	if err := db.start(entries); err != nil {
		_, closeErr := db.closeBadger()
		return errors.Join(err, closeErr)
	}
	return nil
}

// start begins the accounting and the background work once Badger is open, and
// takes up what is in the journal.
func (db *DB) start(entries []journalEntry) error {
	version := db.bdb.MaxVersion()
	db.committed.Store(version)
	db.applied.Store(version)
	db.journal.done = sync.NewCond(&db.journalMu)
	db.journal.wanted = make(chan struct{}, 1)
	if err := db.startLogs(); err != nil {
		return err
	}
	var err error
	db.discard, err = openDiscardTable(filepath.Join(db.path(), fileDiscard))
	if err != nil {
		return err
	}
	db.updateFloor()
	db.activity.flushed() // what was in the logs
	// Tables of which nobody knows what they put an end to: Badger leaves a few in
	// level 0 alone, and only flushing compacts them.
	db.activity.unflushed = true
	if err := db.finishMoving(); errors.Is(err, ErrFull) {
		db.log.Warn("store: not enough space to finish an interrupted garbage collection", "error", err)
	} else if err != nil {
		return err
	}
	if err := db.replay(entries); err != nil {
		return err
	}
	db.views.start(db.committed.Load(), db.journal.overlays(), db.bdb.SetDiscardTs)
	ctx, cancel := context.WithCancel(context.Background())
	db.stop = cancel
	if db.opt.Access == ReadWrite {
		if err := db.tendBallast(false); err != nil {
			return err
		}
		db.background.Go(func() { db.housekeeping(ctx) })
		db.background.Go(func() { db.checkpointer(ctx) })
	}
	return nil
}

// startLogs finds the logs Badger has just begun.
func (db *DB) startLogs() error {
	db.wal = logSpace{
		dir: db.path(), format: "%05d" + extWAL, size: db.opt.MemTableSize,
		ahead: min(4<<20, db.opt.MemTableSize/8), premake: db.opt.MemTableSize / 4,
	}
	db.vlog = logSpace{
		dir: db.path(), format: "%06d" + extValueLog, size: db.opt.ValueLogFileSize,
		ahead: min(8<<20, db.opt.ValueLogFileSize/16),
	}
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	var wal, vlog uint32
	for _, e := range entries {
		if n, ok := logNumber(e.Name(), extWAL); ok {
			wal = max(wal, n)
		}
		if n, ok := logNumber(e.Name(), extValueLog); ok {
			vlog = max(vlog, n)
		}
	}
	if err := db.wal.start(wal, 0); err != nil {
		return err
	}
	return errors.Join(db.vlog.start(vlog, 0), syncDir(db.path()))
}

// badgerOptions sets Badger up. Figures are of BenchmarkGet and BenchmarkFill.
func (db *DB) badgerOptions() badger.Options {
	opt := badger.DefaultOptions(db.path()).
		WithLogger(db.badger).
		WithSyncWrites(true).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithCompression(options.None). // it is ciphertext
		WithMetricsEnabled(false).
		WithMemTableSize(db.opt.MemTableSize).
		WithNumMemtables(2).
		WithBaseTableSize(db.opt.tableSize()).
		WithBaseLevelSize(min(10<<20, 2*db.opt.MemTableSize)).
		// Neither blocks nor indices are compressed or encrypted, and so they are
		// used where they are mapped. A cache of blocks would only save finding
		// the offsets in them: a Get of a 150-byte record takes 5.8 us of processor
		// time without one and 6.0 us with 8 MiB, medians of three.
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		// With 4 KiB blocks a table builder takes three times the memory of values
		// of that size, since each spills its block. Searching in a larger mapped
		// block costs nothing.
		WithBlockSize(16 << 10).
		WithValueThreshold(db.opt.InlineValue).
		WithValueLogFileSize(db.opt.ValueLogFileSize).
		WithNumCompactors(2)
	// Tables of the same size on all levels: up to a dozen are built at a time, in
	// memory.
	opt.TableSizeMultiplier = 1
	return opt
}

// Committed returns the version of the last commit.
func (db *DB) Committed() uint64 { return db.committed.Load() }

// NextVersion returns the version the next commit will have, for the committer
// to put into its records.
func (db *DB) NextVersion() uint64 { return db.committed.Load() + 1 }

// MaxVersion returns the highest version in the database. It exceeds Committed
// only after a commit failed with its outcome open, and waits for a commit that
// is being made.
func (db *DB) MaxVersion() uint64 {
	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	if db.done {
		return db.committed.Load()
	}
	return max(db.bdb.MaxVersion(), db.committed.Load())
}

// Limits returns what a batch may hold: LSMBytes must be below maxBatchBytes and
// Len below maxBatchEntries. Values of inlineValue bytes and more go to the
// value log and count as pointers only; see MaxLogBytes for those.
func (db *DB) Limits() (maxBatchBytes, maxBatchEntries int64, inlineValue int) {
	// The marker record that a batch without Put gets is covered by batchOverhead,
	// and the end-of-transaction entry is left room for here.
	return db.bdb.MaxBatchSize() - batchOverhead, db.bdb.MaxBatchCount() - 2, int(db.opt.InlineValue)
}

// MaxLogBytes returns how much a batch may add to the value log, in bytes as
// LogBytes counts them. A value log file is mapped at twice its nominal size and
// is only replaced between batches, and one that had to grow would move under
// its readers.
func (db *DB) MaxLogBytes() int64 { return db.opt.ValueLogFileSize / 2 }

// noteFault passes an error of a read on, remembering those that may have left a
// lock of Badger's held.
func (v *View) noteFault(err error) error {
	if err != nil && (errors.Is(err, ErrIO) || errors.Is(err, ErrDamaged)) {
		v.db.faulted.Store(true)
	}
	return err
}

// Close closes the database: what is in memory is flushed, so that the next
// opening is quick. Commits and Views from here on are ErrClosed. All Views must
// be released; Close waits a while for them and then gives up with ErrBusy,
// leaving everything as durable as it was, and may be called again.
//
// Without the space to flush the database cannot be closed: that is ErrFull, and
// may be tried again. Nor can it always be after a read met damage, which may
// leave Badger locked. What was committed is safe; but the Dir keeps its lock
// until the process ends, as nobody else may open the store before.
func (db *DB) Close() error {
	db.journalMu.Lock()
	db.commitMu.Lock()
	done := db.done
	db.commitMu.Unlock()
	if done {
		db.journalMu.Unlock()
		return ErrClosed
	}
	db.closed.Store(true)
	db.journalMu.Unlock()

	db.stop()
	db.background.Wait()
	db.reclaimMu.Lock() // for a Reclaim of somebody else's to end
	defer db.reclaimMu.Unlock()
	db.journalMu.Lock()
	defer db.journalMu.Unlock()
	emptied, err := db.emptyJournal()
	if err != nil {
		return err
	}
	db.views.stop()
	for deadline := time.Now().Add(db.patience); !db.views.idle(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: views are still open", ErrBusy)
		}
		time.Sleep(time.Millisecond)
	}

	db.commitMu.Lock()
	defer db.commitMu.Unlock()
	if db.done {
		return ErrClosed
	}
	// What is in memory is flushed now, and nothing is compacted any more.
	inMemory := (db.countWALs()-1)*db.opt.MemTableSize + db.wal.bound
	db.floor.Store(inMemory + inMemory/8 + floorMargin)
	if _, err := db.admit(0, freeing); err != nil {
		return err
	}
	db.done = true
	ended, err := db.closeBadger()
	if !ended {
		return err
	}
	if err == nil && emptied {
		err = db.removeJournal()
	}
	err = errors.Join(err, db.wal.stop(), db.vlog.stop(), db.discard.close())
	db.dir.mu.Lock()
	db.dir.db = nil
	db.dir.mu.Unlock()
	return err
}

// closeBadger closes Badger and reports whether that came to an end.
func (db *DB) closeBadger() (ended bool, err error) {
	if db.writerEnded() {
		return false, fmt.Errorf("%w: the database cannot be closed", errValueLogSync)
	}
	done := make(chan error, 1)
	go func() {
		done <- guard(db.bdb.Close, nil)
	}()
	// What was committed is in the logs, and flushed at the next opening if it
	// cannot be now.
	flushFailed := db.badger.flushFailed
	var patience <-chan time.Time
	if db.faulted.Load() {
		patience = time.After(db.patience)
	}
	for {
		select {
		case err := <-done:
			if err != nil {
				err = fmt.Errorf("closing the database: %w", err)
			}
			return true, err
		case <-flushFailed:
			flushFailed = nil
			if patience == nil {
				patience = time.After(db.patience)
			}
		case <-patience:
			return false, fmt.Errorf("%w: the database could not be closed after an earlier error", ErrIO)
		}
	}
}
