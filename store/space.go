package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// How the store avoids running out of space where that would be fatal.
//
// Badger writes its logs and tables through mappings, so that a full disk is
// SIGBUS. The logs are allocated ahead (logSpace). The tables are written by
// Badger on its own account: flushes of full memtables, and compactions, which
// put their output beside their input. What those may need is held back:
//
//   - the floor is what flushes and compactions that are due may need, and
//     nothing is written if less would remain;
//   - the reserve is what bringing deletions down the levels may need. One small
//     table of deletions may overlap all others, and Badger merges them in one
//     go; so that is as much as all tables take up. Ordinary commits leave the
//     reserve and half a ballast, so that in a store that is full things can be
//     deleted (Batch.UseReserve) and reclaimed;
//   - Space promises end a whole ballast above the reserve.
//
// The ballast is a file whose space is given up when less than the floor is
// left, which happens when others fill the file system. It is enough to flush
// what is in memory and to delete.
//
// What is left is others filling the file system in the very moment in which
// Badger writes a table. The process then dies; nothing committed is lost.

// Space is the room on the file system that holds the store, in bytes.
type Space struct {
	// Total is the size of the file system.
	Total int64
	// Free is what may still be stored, after what is held back for flushing,
	// compaction and removals. Committing this much succeeds unless others use
	// the file system up in the meantime. What is kept inline, keys and values
	// below the limit, counts twice, since compacting it takes its size again.
	Free int64
	// Reserved is what is held back.
	Reserved int64
}

// fsSpace is what statfs reports, in bytes.
type fsSpace struct {
	total int64
	free  int64 // without what is kept for root
}

func statFS(path string) (fsSpace, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fsSpace{}, fmt.Errorf("store: statfs %s: %w", path, err)
		}
		unit := st.Frsize
		if unit == 0 {
			unit = st.Bsize
		}
		return fsSpace{total: int64(st.Blocks) * unit, free: int64(st.Bavail) * unit}, nil
	}
}

// Space returns the room that is left. It costs a system call.
func (db *DB) Space() (Space, error) {
	fsys, err := statFS(db.dir.path)
	if err != nil {
		return Space{}, err
	}
	reserved := max(db.reserve.Load(), db.promise.Load()) + db.opt.BallastSize
	return Space{
		Total:    fsys.total,
		Free:     max(0, fsys.free+db.ballast.held()-reserved),
		Reserved: reserved,
	}, nil
}

// Size returns the space taken up on disk by tables and write-ahead logs (lsm)
// and by the value log (vlog), in bytes. What is allocated ahead counts.
func (db *DB) Size() (lsm, vlog int64) {
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return 0, 0
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		switch filepath.Ext(e.Name()) {
		case extTable, extWAL:
			lsm += allocated(info)
		case extValueLog:
			vlog += allocated(info)
		}
	}
	return lsm, vlog
}

// allocated returns the space a file takes up.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// updateFloor works out anew what flushes and compactions may need. It is called
// when a memtable was replaced and now and then while compaction may be going on.
func (db *DB) updateFloor() {
	flushed := db.opt.MemTableSize + db.opt.MemTableSize/8 // with index and filter
	pending := max(1, db.countWALs())
	levels := db.bdb.Levels()
	var all int64
	floor := pending*flushed + floorMargin
	for _, l := range levels {
		all += l.Size
		if l.IsBaseLevel && int64(levels[0].NumTables)+pending >= levelZeroTables-1 {
			// Compaction of level 0 takes all of it and of the base level.
			floor += levels[0].Size + l.Size
		}
	}
	// Elsewhere it takes a table and what that overlaps. One of these may go on
	// besides that of level 0.
	floor += db.largestOverlap(levels)
	db.floor.Store(floor)
	db.reserve.Store((pending+1)*flushed + all + floorMargin)
	db.promise.Store(levelZeroTables*flushed + all + floorMargin)
}

// largestOverlap returns how much is rewritten at most to compact a table of a
// level that may be due for it.
func (db *DB) largestOverlap(levels []badger.LevelInfo) int64 {
	due := false
	for _, l := range levels[1:] {
		due = due || l.Size > l.TargetSize/2
	}
	if !due {
		return 0
	}
	byLevel := make([][]badger.TableInfo, len(levels))
	for _, t := range db.bdb.Tables() {
		byLevel[t.Level] = append(byLevel[t.Level], t)
	}
	size := func(t badger.TableInfo) int64 { return int64(t.UncompressedSize) + int64(t.IndexSz) }
	var largest int64
	for i := 1; i < len(byLevel)-1; i++ {
		below := byLevel[i+1]
		slices.SortFunc(below, func(a, b badger.TableInfo) int { return bytes.Compare(a.Left, b.Left) })
		for _, t := range byLevel[i] {
			sum := size(t)
			from, _ := slices.BinarySearchFunc(below, t, func(b, t badger.TableInfo) int {
				return bytes.Compare(withoutVersion(b.Right), withoutVersion(t.Left))
			})
			for _, b := range below[from:] {
				if bytes.Compare(withoutVersion(b.Left), withoutVersion(t.Right)) > 0 {
					break
				}
				sum += size(b)
			}
			largest = max(largest, sum)
		}
	}
	return largest
}

// withoutVersion returns the user's part of a key as Badger stores it.
func withoutVersion(key []byte) []byte { return key[:max(0, len(key)-versionSize)] }

// countWALs returns how many memtables there are: the one being filled, and
// those waiting to be flushed.
func (db *DB) countWALs() int64 {
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return 0
	}
	n := int64(0)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != extWAL {
			continue
		}
		// An empty one was made beforehand.
		if info, err := e.Info(); err == nil && info.Size() > 0 {
			n++
		}
	}
	return n
}

const (
	// levelZeroTables is when Badger compacts level 0 (its default).
	levelZeroTables = 5
	// floorMargin is for the manifest, directories and other small things.
	floorMargin = 1 << 20
)

// admit refuses with ErrFull a commit that would write n bytes if that would
// leave too little for flushing and compaction. It reports whether there is
// plenty, so that more than n bytes may be allocated. Guarded by commitMu.
func (db *DB) admit(n int64, p privilege) (plenty bool, err error) {
	fsys, err := statFS(db.dir.path)
	if err != nil {
		return false, err
	}
	plenty, err = db.judge(fsys.free, n, p)
	if !errors.Is(err, ErrFull) || db.bdb == nil { // no compaction before it is open
		return plenty, err
	}
	// A compaction going on takes up space that the floor counts still to come,
	// and keeps its input until it ends. Without this, removals would be refused
	// for as long as a compaction for earlier removals takes.
	db.updateFloor()
	free, err := db.freeButForCompaction()
	if err != nil {
		return false, err
	}
	return db.judge(free, n, p)
}

// judge is admit with the given space free.
func (db *DB) judge(free, n int64, p privilege) (plenty bool, err error) {
	least := n + db.floor.Load()
	avail := free + db.ballast.held()
	comfort := max(least, n+db.reserve.Load()) + db.opt.BallastSize/2
	// Ordinary commits do not touch the ballast.
	if p == ordinary && (avail < comfort || free < least) {
		return false, fmt.Errorf("%w: %d bytes are free and %d are needed", ErrFull, avail, comfort)
	}
	if avail < least {
		return false, fmt.Errorf("%w: %d bytes are free and %d are needed", ErrFull, avail, least)
	}
	if free < least {
		return false, db.ballast.drop()
	}
	return free >= comfort, nil
}

// freeButForCompaction returns the free space and what tables take up that are
// not in use: those that are being written, and those that are about to be
// removed. It is never above what would be free without them, since a table
// counts with the smaller of its sizes before and after free space was looked at.
func (db *DB) freeButForCompaction() (int64, error) {
	before, err := db.unusedTables()
	if err != nil {
		return 0, err
	}
	fsys, err := statFS(db.dir.path)
	if err != nil {
		return 0, err
	}
	after, err := db.unusedTables()
	if err != nil {
		return 0, err
	}
	for name, size := range before {
		fsys.free += min(size, after[name])
	}
	return fsys.free, nil
}

// unusedTables returns the space taken up by each table file that is in no level.
func (db *DB) unusedTables() (map[string]int64, error) {
	entries, err := os.ReadDir(db.path())
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	unused := make(map[string]int64)
	for _, e := range entries {
		if filepath.Ext(e.Name()) != extTable {
			continue
		}
		if info, err := e.Info(); err == nil { // else removed meanwhile
			unused[e.Name()] = allocated(info)
		}
	}
	// The files first: a table that comes into use meanwhile does not count.
	for _, t := range db.bdb.Tables() {
		delete(unused, filepath.Base(table.IDToFilename(t.ID)))
	}
	return unused, nil
}

// spare reports whether n bytes can be written beside what flushes and
// compactions may need, giving up the ballast for it if need be. Guarded by
// commitMu.
func (db *DB) spare(n int64) (bool, error) {
	_, err := db.admit(n, freeing)
	if errors.Is(err, ErrFull) {
		return false, nil
	}
	return err == nil, err
}

// tendBallast gives the ballast up if commits or compactions might need its
// space, and takes it back when there is plenty. Guarded by commitMu.
func (db *DB) tendBallast(compacting bool) error {
	fsys, err := statFS(db.dir.path)
	if err != nil {
		return err
	}
	floor := db.floor.Load()
	switch held := db.ballast.held(); {
	case compacting && held > 0 && fsys.free < floor:
		return db.ballast.drop()
	case held < db.opt.BallastSize && fsys.free > max(db.reserve.Load(), db.promise.Load())+2*db.opt.BallastSize:
		return db.ballast.fill(db.opt.BallastSize)
	}
	return nil
}

// ballast is a file that only takes up space.
type ballast struct {
	path string
	size atomic.Int64
}

// openBallast finds out how much there is from earlier.
func openBallast(path string) (*ballast, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &ballast{path: path}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	b := &ballast{path: path}
	b.size.Store(allocated(info))
	return b, nil
}

// held returns the space the ballast takes up.
func (b *ballast) held() int64 { return b.size.Load() }

// drop gives the space up.
func (b *ballast) drop() error {
	if err := os.Remove(b.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: giving up the ballast: %w", err)
	}
	b.size.Store(0)
	return nil
}

// fill takes up n bytes. It is no error if they are not to be had.
func (b *ballast) fill(n int64) (err error) {
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		if isFull(err) {
			return nil
		}
		return fmt.Errorf("store: ballast: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	switch err := unix.Fallocate(int(f.Fd()), fileMode, 0, n); {
	case err == nil:
		b.size.Store(n)
		return nil
	case isFull(err), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINTR):
		return b.drop()
	default:
		return errors.Join(fmt.Errorf("store: ballast: %w", err), b.drop())
	}
}
