package store

import (
	"sync"
	"sync/atomic"
)

// snapshot is a version somebody may be reading at. All Views of one version
// share it. It holds one reference for being the current one.
type snapshot struct {
	version  uint64
	overlays []*overlay // what may not be in Badger yet, the newest first
	refs     atomic.Int64
}

// viewSet knows which versions are being read. Taking and releasing the current
// one touches only an atomic counter; the lock is for versions coming and going.
type viewSet struct {
	current atomic.Pointer[snapshot]

	mu      sync.Mutex
	live    []*snapshot // oldest first; the last is the current one
	discard func(version uint64)
}

// start makes version the current one of an empty set. discard is called with
// the oldest version in use each time that changes, under the set's lock.
func (s *viewSet) start(version uint64, overlays []*overlay, discard func(uint64)) {
	s.discard = discard
	s.advance(version, overlays)
	discard(version)
}

// advance makes version the current one, read through the overlays. One goroutine
// at a time calls it. A version may come again with fewer overlays, when what was
// in them is in Badger.
func (s *viewSet) advance(version uint64, overlays []*overlay) {
	next := &snapshot{version: version, overlays: overlays}
	next.refs.Store(1)
	s.mu.Lock()
	s.live = append(s.live, next)
	s.mu.Unlock()
	if old := s.current.Swap(next); old != nil {
		s.release(old)
	}
}

// acquire takes a reference to the current snapshot, or returns nil after stop.
func (s *viewSet) acquire() *snapshot {
	for {
		snap := s.current.Load()
		if snap == nil {
			return nil
		}
		// The count of a snapshot that is no longer current may have dropped to
		// zero, and then it must stay there: its versions may be discarded.
		for n := snap.refs.Load(); n > 0; n = snap.refs.Load() {
			if snap.refs.CompareAndSwap(n, n+1) {
				return snap
			}
		}
	}
}

// release drops a reference taken by acquire.
func (s *viewSet) release(snap *snapshot) {
	if snap.refs.Add(-1) > 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.live) && s.live[n].refs.Load() == 0 {
		n++
	}
	if n == 0 {
		return
	}
	clear(s.live[:n])
	s.live = s.live[n:]
	if len(s.live) > 0 {
		s.discard(s.live[0].version)
	}
}

// stop drops the current snapshot: nothing can be acquired any more.
func (s *viewSet) stop() {
	if old := s.current.Swap(nil); old != nil {
		s.release(old)
	}
}

// idle tells whether nobody holds a snapshot.
func (s *viewSet) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live) == 0
}

// View is a consistent snapshot of the database at one version. It is safe for
// concurrent use. It must be released, soon if possible: what a View can read
// takes up space until then.
type View struct {
	db       *DB
	snap     *snapshot
	released atomic.Bool
}

// View returns a snapshot at the last committed version. It takes no lock and
// never waits for a commit. The View of a closed database answers ErrClosed.
func (db *DB) View() *View {
	return &View{db: db, snap: db.views.acquire()}
}

// Version returns the version the View reads at, or 0 if the database was
// closed when it was taken.
func (v *View) Version() uint64 {
	if v.snap == nil {
		return 0
	}
	return v.snap.version
}

// Release ends the View. Only the first call counts. No read may be going on.
func (v *View) Release() {
	if v.snap != nil && !v.released.Swap(true) {
		v.db.views.release(v.snap)
	}
}

// check returns an error if the View cannot be read.
func (v *View) check() error {
	if v.snap == nil || v.released.Load() {
		return ErrClosed
	}
	return nil
}
