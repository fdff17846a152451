package fs

import (
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// cacheTime is how long the kernel may believe what it was told of names and
// attributes. Nothing but its own requests changes them, so it is for ever.
const cacheTime = 365 * 24 * time.Hour

// sectorsPerBlock converts blocks of contents into units of st_blocks.
const sectorsPerBlock = crypto.BlockSize / 512

func fillAttr(out *gofuse.Attr, ino uint64, a *record.Attr) {
	*out = gofuse.Attr{
		Ino: ino, Size: a.Size, Blocks: a.Blocks * sectorsPerBlock,
		Atime: uint64(a.Atime.Sec), Atimensec: a.Atime.Nsec,
		Mtime: uint64(a.Mtime.Sec), Mtimensec: a.Mtime.Nsec,
		Ctime: uint64(a.Ctime.Sec), Ctimensec: a.Ctime.Nsec,
		Mode: a.Mode, Nlink: a.Nlink, Owner: gofuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev: a.Rdev, Blksize: crypto.BlockSize,
	}
	if a.IsDir() {
		out.Size = crypto.BlockSize
	}
}

// tell returns the attributes of an inode for a reply that the kernel takes them
// from.
func tell(n *volume.Inode) record.Attr {
	a := n.Stat()
	n.Told.Store(a.Blocks)
	return a
}

// entry fills the reply that tells the kernel an inode, and counts it.
func (d *drive) entry(out *gofuse.EntryOut, n *volume.Inode) {
	a := tell(n)
	d.v.Remember(n)
	d.fillEntry(out, n.Ino, &a)
}

func (d *drive) fillEntry(out *gofuse.EntryOut, ino uint64, a *record.Attr) {
	out.NodeId = d.node(ino)
	out.Generation = 1
	out.SetEntryTimeout(cacheTime)
	out.SetAttrTimeout(cacheTime)
	fillAttr(&out.Attr, ino, a)
}

// GetAttr answers stat(2).
func (d *drive) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	a := tell(n)
	fillAttrOut(out, n.Ino, &a)
	return gofuse.OK
}

func fillAttrOut(out *gofuse.AttrOut, ino uint64, a *record.Attr) {
	fillAttr(&out.Attr, ino, a)
	out.SetTimeout(cacheTime)
}

// Statx answers statx(2) where stat is not enough: it knows the birth time.
func (d *drive) Statx(_ <-chan struct{}, in *gofuse.StatxIn, out *gofuse.StatxOut) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	a := tell(n)
	var attr gofuse.Attr
	fillAttr(&attr, n.Ino, &a)
	out.SetTimeout(cacheTime)
	out.Statx = gofuse.Statx{
		Mask:    statxBasic | statxBtime,
		Blksize: attr.Blksize, Nlink: attr.Nlink, Uid: a.UID, Gid: a.GID, Mode: uint16(a.Mode),
		Ino: attr.Ino, Size: attr.Size, Blocks: attr.Blocks,
		Atime: statxTime(a.Atime), Mtime: statxTime(a.Mtime), Ctime: statxTime(a.Ctime), Btime: statxTime(a.Btime),
		RdevMajor: a.Rdev >> 8 & 0xfff, RdevMinor: a.Rdev&0xff | a.Rdev>>12&0xfff00,
	}
	return gofuse.OK
}

// Masks of statx(2).
const (
	statxBasic = 0x7ff
	statxBtime = 0x800
)

func statxTime(t record.Time) gofuse.SxTime { return gofuse.SxTime{Sec: uint64(t.Sec), Nsec: t.Nsec} }

// SetAttr answers chmod, chown, truncate, utimensat and their like.
func (d *drive) SetAttr(_ <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	if err := d.setAttr(n, in); err != nil {
		return d.status(err, n)
	}
	// The kernel sends times only when it writes back the ones it keeps itself,
	// and then does not look at the reply.
	a := n.Stat()
	if in.Valid&^(gofuse.FATTR_MTIME|gofuse.FATTR_CTIME|gofuse.FATTR_FH) != 0 {
		a = tell(n)
	}
	fillAttrOut(out, n.Ino, &a)
	return gofuse.OK
}

func (d *drive) setAttr(n *volume.Inode, in *gofuse.SetAttrIn) error {
	var c volume.Change
	if mode, ok := in.GetMode(); ok {
		c.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		c.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		c.GID = &gid
	}
	// Who changes the owner of a file takes its privileges away.
	c.KillPriv = in.Valid&gofuse.FATTR_KILL_SUIDGID != 0 || (c.UID != nil || c.GID != nil) && c.Mode == nil
	if t, ok := in.GetATime(); ok {
		c.Atime = recordTime(t)
	}
	if t, ok := in.GetMTime(); ok {
		c.Mtime = recordTime(t)
	}
	if t, ok := in.GetCTime(); ok {
		c.Ctime = recordTime(t)
	}
	if size, ok := in.GetSize(); ok {
		c.Size = &size
		if err := d.openForChange(n, in); err != nil {
			return err
		}
	}
	return d.v.SetAttr(n, c)
}

// openForChange sees to it that the data key is there for a change of size:
// for whoever has the file open, or for whoever asks.
func (d *drive) openForChange(n *volume.Inode, in *gofuse.SetAttrIn) error {
	c := callerOf(&in.InHeader)
	if fh, ok := in.GetFh(); ok {
		h, err := d.handles.get(fh)
		if err != nil {
			return err
		}
		c = h.caller
	}
	return d.v.Open(bg, n, c.kms())
}

func recordTime(t time.Time) *record.Time {
	return &record.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// StatFs answers statfs(2).
func (d *drive) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	s, err := d.v.Statfs()
	if err != nil {
		return d.status(err, nil)
	}
	*out = gofuse.StatfsOut{
		Blocks: s.Total / crypto.BlockSize, Bfree: s.Free / crypto.BlockSize, Bavail: s.Available / crypto.BlockSize,
		Files: s.Inodes + s.Available/crypto.BlockSize, Ffree: s.Available / crypto.BlockSize,
		Bsize: crypto.BlockSize, Frsize: crypto.BlockSize, NameLen: record.MaxName,
	}
	return gofuse.OK
}
