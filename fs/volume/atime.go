package volume

import (
	"sync"
	"time"
)

// Access times alone are not worth a commit: a cold read of ten thousand files
// would write ten thousand inodes. They change in memory at once and are stored
// with the next other change of the inode, with the next sync of the volume, or
// after a minute.

// atimeLag is how old an access time may get under relatime.
const atimeLag = 24 * time.Hour

// When access times are stored that nothing else made change.
const (
	atimeDelay = time.Minute
	maxAtimes  = 2048
)

// atimes are inodes whose access time changed in memory alone, each pinned.
type atimes struct {
	mu    sync.Mutex // guards what follows
	set   map[*Inode]struct{}
	since time.Time
}

// Accessed moves the access time, as the volume's atime policy has it.
func (v *Volume) Accessed(n *Inode) {
	policy := v.o.Atime
	if n.IsDir() && v.o.AtimeDirs == AtimeNever {
		policy = AtimeNever
	}
	if policy == AtimeNever || v.writable() != nil {
		return
	}
	now := v.clock()
	n.mu.RLock()
	due := policy == AtimeStrict || !n.Mtime.Before(n.Atime) || !n.Ctime.Before(n.Atime) ||
		n.Atime.Sec < now.Sec-int64(atimeLag/time.Second)
	due = due && n.Atime != now && !n.reaped
	n.mu.RUnlock()
	if !due {
		return
	}
	n.mu.Lock()
	n.Atime = now
	n.mu.Unlock()
	v.atimes.mu.Lock()
	full := len(v.atimes.set) >= maxAtimes
	if _, ok := v.atimes.set[n]; !ok {
		if len(v.atimes.set) == 0 {
			v.atimes.since = time.Now()
		}
		v.table.repin(n)
		v.atimes.set[n] = struct{}{}
	}
	v.atimes.mu.Unlock()
	if full {
		v.wakeCommitter()
	}
}

// storeAtimes makes the access times part of the current epoch. The caller
// holds nothing after commitMu.
func (v *Volume) storeAtimes() {
	v.atimes.mu.Lock()
	set := v.atimes.set
	v.atimes.set = make(map[*Inode]struct{})
	v.atimes.mu.Unlock()
	if len(set) == 0 {
		return
	}
	e := v.begin()
	for n := range set {
		n.mu.Lock()
		if !n.reaped {
			v.change(e, n)
		}
		n.mu.Unlock()
	}
	v.end()
	for n := range set {
		v.table.unpin(n)
	}
}

// atimesDue reports whether access times wait to be stored for long enough.
func (v *Volume) atimesDue() bool {
	v.atimes.mu.Lock()
	defer v.atimes.mu.Unlock()
	n := len(v.atimes.set)
	return n >= maxAtimes || n > 0 && time.Since(v.atimes.since) >= atimeDelay
}
