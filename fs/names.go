package fs

import (
	"context"
	"errors"
	"path"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// bg is the context of calls to key management. Requests are not cancelled
// when their caller gets a signal: Go programs get many that mean nothing.
var bg = context.Background()

// checkName refuses what cannot be the name of something. The kernel sends no
// more than names that are too long, but a name that gets into a directory and
// is none is damage from then on.
func checkName(name string) gofuse.Status {
	switch {
	case len(name) > record.MaxName:
		return gofuse.Status(unix.ENAMETOOLONG)
	case !record.IsName(name):
		return gofuse.EINVAL
	}
	return gofuse.OK
}

// Lookup answers the search for a name. That there is none is worth
// remembering too.
func (d *drive) Lookup(_ <-chan struct{}, h *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	if len(name) > record.MaxName {
		return gofuse.Status(unix.ENAMETOOLONG)
	}
	n, err := d.lookup(d.ino(h.NodeId), name)
	if errors.Is(err, volume.ErrNotExist) {
		out.NodeId = 0
		out.SetEntryTimeout(cacheTime)
		return gofuse.OK
	}
	if err != nil {
		return d.statusIn(err, h.NodeId, name)
	}
	defer d.v.Unpin(n)
	d.entry(out, n)
	return gofuse.OK
}

// lookup also knows the dot names, which the kernel asks for when a file
// handle is opened.
func (d *drive) lookup(dir uint64, name string) (*volume.Inode, error) {
	switch name {
	case ".":
		return d.v.Inode(dir)
	case "..":
		n, err := d.v.Inode(dir)
		if err != nil {
			return nil, err
		}
		defer d.v.Unpin(n)
		parent, err := d.v.ParentOf(n)
		if err != nil {
			return nil, err
		}
		if dir == d.root.Ino {
			parent = dir
		}
		return d.v.Inode(parent)
	}
	return d.v.Lookup(dir, name)
}

// statusAt is status for an error about an inode that is known by its number.
func (d *drive) statusAt(err error, node uint64) gofuse.Status {
	n, nerr := d.inode(node)
	if nerr != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	return d.status(err, n)
}

// statusIn is status for an error about a name in a directory.
func (d *drive) statusIn(err error, dir uint64, name string) gofuse.Status {
	return d.answer(err, func() string {
		n, nerr := d.inode(dir)
		if nerr != nil {
			return path.Join(d.pathOf(nerr, nil), name)
		}
		defer d.v.Unpin(n)
		return path.Join(d.v.PathOf(n), name)
	})
}

// Forget takes back references that the kernel was given.
func (d *drive) Forget(node, count uint64) { d.v.Forget(d.ino(node), count) }

// create makes a new inode and tells the kernel about it. The inode is
// returned pinned.
func (d *drive) create(h *gofuse.InHeader, name string, w volume.NewNode, out *gofuse.EntryOut) (*volume.Inode, gofuse.Status) {
	if s := checkName(name); s != gofuse.OK {
		return nil, s
	}
	w.UID, w.GID = h.Uid, h.Gid
	w.Caller = callerOf(h).kms()
	n, err := d.v.Create(bg, d.ino(h.NodeId), name, w)
	if err != nil {
		return nil, d.statusAt(err, h.NodeId)
	}
	d.entry(out, n)
	return n, gofuse.OK
}

// Mknod makes fifos, sockets, device nodes and, for nfsd, files.
func (d *drive) Mknod(_ <-chan struct{}, in *gofuse.MknodIn, name string, out *gofuse.EntryOut) gofuse.Status {
	w := volume.NewNode{Mode: in.Mode & (record.TypeMask | 0o7777), Umask: in.Umask, Rdev: in.Rdev}
	switch w.Mode & record.TypeMask {
	case 0:
		w.Mode |= record.TypeFile
	case record.TypeFile, record.TypeFifo, record.TypeChar, record.TypeBlock, record.TypeSocket:
	default:
		return gofuse.EINVAL // the others have requests of their own
	}
	return d.made(d.create(&in.InHeader, name, w, out))
}

// made gives up the inode that a request made and only tells of.
func (d *drive) made(n *volume.Inode, s gofuse.Status) gofuse.Status {
	if s == gofuse.OK {
		d.v.Unpin(n)
	}
	return s
}

// Mkdir makes a directory, or a bucket in the root.
func (d *drive) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	w := volume.NewNode{Mode: record.TypeDir | in.Mode&0o7777, Umask: in.Umask}
	return d.made(d.create(&in.InHeader, name, w, out))
}

// Symlink makes a symbolic link.
func (d *drive) Symlink(_ <-chan struct{}, h *gofuse.InHeader, target, name string, out *gofuse.EntryOut) gofuse.Status {
	switch {
	case target == "":
		return gofuse.ENOENT
	case len(target) > record.MaxSymlink:
		return gofuse.Status(unix.ENAMETOOLONG)
	}
	w := volume.NewNode{Mode: record.TypeLink | 0o777, Target: target}
	return d.made(d.create(h, name, w, out))
}

// Readlink reads a symbolic link.
func (d *drive) Readlink(_ <-chan struct{}, h *gofuse.InHeader) ([]byte, gofuse.Status) {
	n, err := d.inode(h.NodeId)
	if err != nil {
		return nil, d.status(err, nil)
	}
	defer d.v.Unpin(n)
	target, err := n.Target()
	if err == nil {
		d.v.Accessed(n)
	}
	return target, d.status(err, n)
}

// Link gives a file another name.
func (d *drive) Link(_ <-chan struct{}, in *gofuse.LinkIn, name string, out *gofuse.EntryOut) gofuse.Status {
	if s := checkName(name); s != gofuse.OK {
		return s
	}
	n, err := d.inode(in.Oldnodeid)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	if err := d.v.Link(n, d.ino(in.NodeId), name); err != nil {
		return d.status(err, n)
	}
	d.entry(out, n)
	return gofuse.OK
}

// Unlink removes a file's name.
func (d *drive) Unlink(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return d.statusIn(d.v.Unlink(d.ino(h.NodeId), name), h.NodeId, name)
}

// Rmdir removes an empty directory, or an empty bucket.
func (d *drive) Rmdir(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	return d.statusIn(d.v.Rmdir(d.ino(h.NodeId), name), h.NodeId, name)
}

// Rename moves a name.
func (d *drive) Rename(_ <-chan struct{}, in *gofuse.RenameIn, oldName, newName string) gofuse.Status {
	if s := checkName(newName); s != gofuse.OK {
		return s
	}
	mode := volume.RenameReplace
	switch in.Flags {
	case 0:
	case unix.RENAME_NOREPLACE:
		mode = volume.RenameNoReplace
	case unix.RENAME_EXCHANGE:
		mode = volume.RenameExchange
	default:
		return gofuse.EINVAL
	}
	return d.statusIn(d.v.Rename(d.ino(in.NodeId), oldName, d.ino(in.Newdir), newName, mode), in.NodeId, oldName)
}
