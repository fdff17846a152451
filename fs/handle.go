package fs

import (
	"sync"

	"ssefs/fs/volume"
)

// handle is an open file or directory.
type handle struct {
	n       *volume.Inode // pinned, and acquired
	caller  caller
	writes  bool
	listing *listing // of a directory
}

// handleTable numbers the open handles. 0 is no handle.
type handleTable struct {
	mu   sync.RWMutex // guards what follows
	list []*handle
	free []uint64
}

func (t *handleTable) add(h *handle) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.free); n > 0 {
		fh := t.free[n-1]
		t.free = t.free[:n-1]
		t.list[fh-1] = h
		return fh
	}
	t.list = append(t.list, h)
	return uint64(len(t.list))
}

func (t *handleTable) get(fh uint64) (*handle, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if fh == 0 || fh > uint64(len(t.list)) || t.list[fh-1] == nil {
		return nil, errBadHandle
	}
	return t.list[fh-1], nil
}

// file is get for what is asked of files only.
func (t *handleTable) file(fh uint64) (*handle, error) {
	h, err := t.get(fh)
	if err == nil && h.listing != nil {
		return nil, errBadHandle
	}
	return h, err
}

func (t *handleTable) remove(fh uint64) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if fh == 0 || fh > uint64(len(t.list)) || t.list[fh-1] == nil {
		return nil
	}
	h := t.list[fh-1]
	t.list[fh-1] = nil
	t.free = append(t.free, fh)
	return h
}

// writing reports whether an inode is open for writing.
func (t *handleTable) writing(n *volume.Inode) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, h := range t.list {
		if h != nil && h.n == n && h.writes {
			return true
		}
	}
	return false
}
