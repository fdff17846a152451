package fs

import (
	"errors"
	"sync"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// listing is the state of an open directory. Requests for one handle may come
// at the same time.
type listing struct {
	mu sync.Mutex // guards l
	l  *volume.Listing
}

// Positions of the dot entries; see record.NameHash.Cookie.
const (
	afterDot    = 1
	afterDotDot = 2
)

// OpenDir opens a directory.
func (d *drive) OpenDir(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	if a := n.Stat(); !a.IsDir() {
		defer d.v.Unpin(n)
		return d.status(volume.ErrNotDir, n)
	}
	n.Acquire()
	h := &handle{n: n, caller: callerOf(&in.InHeader), listing: &listing{l: d.v.NewListing(n)}}
	out.Fh = d.handles.add(h)
	out.OpenFlags = gofuse.FOPEN_CACHE_DIR | gofuse.FOPEN_KEEP_CACHE
	return gofuse.OK
}

// ReleaseDir closes a directory.
func (d *drive) ReleaseDir(in *gofuse.ReleaseIn) { d.release(in.Fh) }

func (d *drive) release(fh uint64) {
	if h := d.handles.remove(fh); h != nil {
		d.v.Release(h.n)
	}
}

// ReadDir lists names.
func (d *drive) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	return d.list(in, func(e gofuse.DirEntry) (bool, error) {
		return out.AddDirEntry(e), nil
	})
}

// ReadDirPlus lists names with attributes, which the kernel then knows as if it
// had looked the names up.
func (d *drive) ReadDirPlus(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	return d.list(in, func(e gofuse.DirEntry) (bool, error) {
		if e.Name == "." || e.Name == ".." {
			return out.AddDirLookupEntry(e) != nil, nil // number 0: nothing to remember
		}
		a, key, err := d.v.Peek(e.Ino)
		if errors.Is(err, volume.ErrStale) || errors.Is(err, volume.ErrDamaged) {
			// Removed meanwhile, missing or damaged: looking it up tells. What else is
			// in the directory can be listed.
			return out.AddDirLookupEntry(e) != nil, nil
		}
		if err != nil {
			return false, err
		}
		entry := out.AddDirLookupEntry(e)
		if entry == nil {
			return false, nil
		}
		d.fillEntry(entry, e.Ino, &a)
		d.v.RememberNumber(e.Ino, key, d.ino(in.NodeId))
		return true, nil
	})
}

func (d *drive) list(in *gofuse.ReadIn, add func(gofuse.DirEntry) (bool, error)) gofuse.Status {
	h, err := d.handles.get(in.Fh)
	if err != nil || h.listing == nil {
		return d.status(errBadHandle, nil)
	}
	h.listing.mu.Lock()
	defer h.listing.mu.Unlock()
	if in.Offset == 0 {
		d.v.Accessed(h.n)
	}
	return d.status(d.listFrom(h, in.Offset, add), h.n)
}

func (d *drive) listFrom(h *handle, after uint64, add func(gofuse.DirEntry) (bool, error)) error {
	if after < afterDot {
		if ok, err := add(gofuse.DirEntry{Mode: record.TypeDir, Name: ".", Ino: h.n.Ino, Off: afterDot}); !ok || err != nil {
			return err
		}
	}
	if after < afterDotDot {
		parent := h.n.Ino
		if h.n != d.root {
			var err error
			if parent, err = d.v.ParentOf(h.n); err != nil {
				return err
			}
		}
		if ok, err := add(gofuse.DirEntry{Mode: record.TypeDir, Name: "..", Ino: parent, Off: afterDotDot}); !ok || err != nil {
			return err
		}
	}
	var inner error
	first := after
	if after <= afterDotDot {
		first = 0
	}
	added := 0
	err := h.listing.l.Read(d.v, first, func(e record.Entry, cookie uint64) bool {
		ok, err := add(gofuse.DirEntry{Mode: e.Type, Name: e.Name, Ino: e.Inode, Off: cookie})
		inner = err
		if ok {
			added++
		}
		return ok && err == nil
	})
	if added > 0 && inner != nil {
		return nil // what there is first; the error comes with the next request
	}
	return errors.Join(err, inner)
}

// FsyncDir makes the entries of a directory durable.
func (d *drive) FsyncDir(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return d.Fsync(cancel, in)
}
