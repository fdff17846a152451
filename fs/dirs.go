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
	return d.list(in, out.AddDirEntry, func(l *volume.Listing, after uint64) error {
		return l.Read(d.v, after, func(e record.Entry, cookie uint64) bool { return out.AddDirEntry(dirEntry(e, cookie)) })
	})
}

// ReadDirPlus lists names with attributes, which the kernel then knows as if it
// had looked the names up.
func (d *drive) ReadDirPlus(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	room := int(in.Size)
	dot := func(e gofuse.DirEntry) bool {
		room -= plusSize(e.Name)
		return out.AddDirLookupEntry(e) != nil // number 0: nothing to remember
	}
	fits := func(e record.Entry) bool {
		room -= plusSize(e.Name)
		return room >= 0
	}
	return d.list(in, dot, func(l *volume.Listing, after uint64) error {
		added := 0
		var broken error
		err := l.ReadAttrs(d.v, after, fits, func(e *volume.Listed) bool {
			// What was removed meanwhile, is missing or damaged: looking it up tells. What
			// else is in the directory can be listed.
			unknown := errors.Is(e.Err, volume.ErrStale) || errors.Is(e.Err, volume.ErrDamaged)
			if e.Err != nil && !unknown {
				broken = e.Err
				return false
			}
			entry := out.AddDirLookupEntry(dirEntry(e.Entry, e.Cookie))
			if entry == nil {
				return false
			}
			added++
			if !unknown {
				d.fillEntry(entry, e.Inode, &e.Attr)
				d.v.RememberNumber(e.Inode, e.KeyID, d.ino(in.NodeId))
			}
			return true
		})
		if added > 0 && broken != nil {
			return nil // what there is first; the error comes with the next request
		}
		return errors.Join(err, broken)
	})
}

// plusSize is what an entry takes in the reply to READDIRPLUS (fuse_direntplus
// in linux/fuse.h), in bytes.
func plusSize(name string) int {
	const attributes, header, alignment = 128, 24, 8
	return attributes + (header+len(name)+alignment-1)/alignment*alignment
}

func dirEntry(e record.Entry, cookie uint64) gofuse.DirEntry {
	return gofuse.DirEntry{Mode: e.Type, Name: e.Name, Ino: e.Inode, Off: cookie}
}

// list adds the dot entries, and then has rest add what comes after a cookie.
func (d *drive) list(in *gofuse.ReadIn, dot func(gofuse.DirEntry) bool, rest func(l *volume.Listing, after uint64) error) gofuse.Status {
	h, err := d.handles.get(in.Fh)
	if err != nil || h.listing == nil {
		return d.status(errBadHandle, nil)
	}
	h.listing.mu.Lock()
	defer h.listing.mu.Unlock()
	after := in.Offset
	if after == 0 {
		d.v.Accessed(h.n)
	}
	if after < afterDot && !dot(gofuse.DirEntry{Mode: record.TypeDir, Name: ".", Ino: h.n.Ino, Off: afterDot}) {
		return gofuse.OK
	}
	if after < afterDotDot {
		parent := h.n.Ino
		if h.n != d.root {
			if parent, err = d.v.ParentOf(h.n); err != nil {
				return d.status(err, h.n)
			}
		}
		if !dot(gofuse.DirEntry{Mode: record.TypeDir, Name: "..", Ino: parent, Off: afterDotDot}) {
			return gofuse.OK
		}
	}
	if after <= afterDotDot {
		after = 0
	}
	return d.status(rest(h.listing.l, after), h.n)
}

// FsyncDir makes the entries of a directory durable.
func (d *drive) FsyncDir(cancel <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return d.Fsync(cancel, in)
}
