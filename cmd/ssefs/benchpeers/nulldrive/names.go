package main

import (
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Lookup searches a name. That there is none may be remembered too.
func (d *drive) Lookup(_ <-chan struct{}, h *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	dir := d.node(h.NodeId)
	if dir == nil {
		return gofuse.Status(unix.ESTALE)
	}
	dir.mu.RLock()
	n := dir.find(name)
	dir.mu.RUnlock()
	if n == nil {
		out.SetEntryTimeout(cacheTime)
		return gofuse.OK
	}
	d.entry(out, n)
	return gofuse.OK
}

// make makes a node with a name.
func (d *drive) make(h *gofuse.InHeader, name string, mode, rdev uint32, target string, out *gofuse.EntryOut) (*node, gofuse.Status) {
	dir := d.node(h.NodeId)
	if dir == nil {
		return nil, gofuse.Status(unix.ESTALE)
	}
	n := d.newNode(mode, rdev, h.Owner)
	if target != "" {
		n.target, n.attr.Size = []byte(target), uint64(len(target))
	}
	n.parent = dir.ino
	dir.mu.Lock()
	if dir.find(name) != nil {
		dir.mu.Unlock()
		d.unlinked(n)
		return nil, gofuse.Status(unix.EEXIST)
	}
	dir.add(name, n)
	dir.mu.Unlock()
	d.entry(out, n)
	return n, gofuse.OK
}

// Mknod makes a file or a special file.
func (d *drive) Mknod(_ <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	_, s := d.make(&in.InHeader, name, in.Mode&^in.Umask, in.Rdev, "", out)
	return s
}

// Mkdir makes a directory.
func (d *drive) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	_, s := d.make(&in.InHeader, name, unix.S_IFDIR|in.Mode&^in.Umask&0o7777, 0, "", out)
	return s
}

// Symlink makes a symbolic link.
func (d *drive) Symlink(_ <-chan struct{}, h *gofuse.InHeader, target, name string, out *gofuse.EntryOut) gofuse.Status {
	_, s := d.make(h, name, unix.S_IFLNK|0o777, 0, target, out)
	return s
}

// Readlink reads a symbolic link.
func (d *drive) Readlink(_ <-chan struct{}, h *gofuse.InHeader) ([]byte, gofuse.Status) {
	n := d.node(h.NodeId)
	if n == nil {
		return nil, gofuse.Status(unix.ESTALE)
	}
	return n.target, gofuse.OK // never changed
}

// Link gives a file another name.
func (d *drive) Link(_ <-chan struct{}, in *gofuse.LinkIn, name string, out *gofuse.EntryOut) gofuse.Status {
	dir, n := d.node(in.NodeId), d.node(in.Oldnodeid)
	if dir == nil || n == nil {
		return gofuse.Status(unix.ESTALE)
	}
	dir.mu.Lock()
	if dir.find(name) != nil {
		dir.mu.Unlock()
		return gofuse.Status(unix.EEXIST)
	}
	dir.add(name, n)
	dir.mu.Unlock()
	n.mu.Lock()
	n.attr.Nlink++
	n.mu.Unlock()
	d.entry(out, n)
	return gofuse.OK
}

// Unlink removes a file's name.
func (d *drive) Unlink(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return d.remove(h.NodeId, name)
}

// Rmdir removes an empty directory.
func (d *drive) Rmdir(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return d.remove(h.NodeId, name)
}

func (d *drive) remove(ino uint64, name string) gofuse.Status {
	dir := d.node(ino)
	if dir == nil {
		return gofuse.Status(unix.ESTALE)
	}
	dir.mu.Lock()
	n := dir.find(name)
	if n == nil {
		dir.mu.Unlock()
		return gofuse.ENOENT
	}
	if n.full() {
		dir.mu.Unlock()
		return gofuse.Status(unix.ENOTEMPTY)
	}
	dir.drop(name)
	dir.mu.Unlock()
	d.unlinked(n)
	return gofuse.OK
}

// full tells whether n is a directory with something in it.
func (n *node) full() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.entries) > 0
}

// Rename moves a name, over another one if there is one.
func (d *drive) Rename(_ <-chan struct{}, in *gofuse.RenameIn, oldName, newName string) gofuse.Status {
	if in.Flags&^unix.RENAME_NOREPLACE != 0 {
		return gofuse.EINVAL
	}
	from, to := d.node(in.NodeId), d.node(in.Newdir)
	if from == nil || to == nil {
		return gofuse.Status(unix.ESTALE)
	}
	unlock := lockBoth(from, to)
	n, old := from.find(oldName), to.find(newName)
	switch {
	case n == nil:
		unlock()
		return gofuse.ENOENT
	case old == n:
		unlock()
		return gofuse.OK
	case old != nil && in.Flags&unix.RENAME_NOREPLACE != 0:
		unlock()
		return gofuse.Status(unix.EEXIST)
	case old != nil && old != from && old.full():
		unlock()
		return gofuse.Status(unix.ENOTEMPTY)
	}
	if old != nil {
		to.drop(newName)
	}
	from.drop(oldName)
	to.add(newName, n)
	unlock()
	if n.entries != nil && from != to {
		n.mu.Lock()
		n.parent = to.ino
		n.mu.Unlock()
	}
	if old != nil {
		d.unlinked(old)
	}
	return gofuse.OK
}

// lockBoth locks two directories, the one with the lower number first.
func lockBoth(a, b *node) (unlock func()) {
	if a == b {
		a.mu.Lock()
		return a.mu.Unlock
	}
	if a.ino > b.ino {
		a, b = b, a
	}
	a.mu.Lock()
	b.mu.Lock()
	return func() { b.mu.Unlock(); a.mu.Unlock() }
}

// OpenDir opens a directory, whose listing the kernel may keep.
func (d *drive) OpenDir(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = gofuse.FOPEN_CACHE_DIR | gofuse.FOPEN_KEEP_CACHE
	return gofuse.OK
}

// ReleaseDir closes a directory.
func (d *drive) ReleaseDir(*gofuse.ReleaseIn) {}

// FsyncDir has nothing to do.
func (d *drive) FsyncDir(<-chan struct{}, *gofuse.FsyncIn) gofuse.Status { return gofuse.OK }

// ReadDir lists names.
func (d *drive) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	return d.list(in, func(e gofuse.DirEntry, _ *node) bool { return out.AddDirEntry(e) })
}

// ReadDirPlus lists names with attributes.
func (d *drive) ReadDirPlus(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	return d.list(in, func(e gofuse.DirEntry, n *node) bool {
		o := out.AddDirLookupEntry(e)
		if o != nil && n != nil {
			d.entry(o, n)
		}
		return o != nil
	})
}

// list adds the entries from an offset on: 1 is after the first dot entry, 2 after the second, i+3 after entry i.
func (d *drive) list(in *gofuse.ReadIn, add func(e gofuse.DirEntry, n *node) bool) gofuse.Status {
	dir := d.node(in.NodeId)
	if dir == nil {
		return gofuse.Status(unix.ESTALE)
	}
	dir.mu.RLock()
	order, parent := dir.order, dir.parent
	dir.mu.RUnlock()
	if in.Offset < 1 && !add(gofuse.DirEntry{Mode: unix.S_IFDIR, Name: ".", Ino: dir.ino, Off: 1}, nil) {
		return gofuse.OK
	}
	if in.Offset < 2 && !add(gofuse.DirEntry{Mode: unix.S_IFDIR, Name: "..", Ino: parent, Off: 2}, nil) {
		return gofuse.OK
	}
	for i := max(in.Offset, 2) - 2; i < uint64(len(order)); i++ {
		dir.mu.RLock()
		e := order[i]
		dir.mu.RUnlock()
		if e.n == nil {
			continue
		}
		if !add(gofuse.DirEntry{Mode: e.n.kind, Name: e.name, Ino: e.n.ino, Off: i + 3}, e.n) {
			break
		}
	}
	return gofuse.OK
}
