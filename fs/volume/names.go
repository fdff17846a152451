package volume

import (
	"context"
	"errors"
	"fmt"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
)

// Mode bits, as in stat(2).
const (
	modeSetuid = 0o4000
	modeSetgid = 0o2000
	modeSticky = 0o1000
)

// maxLinks is the largest number of names of one inode.
const maxLinks = 1<<32 - 2

// NewNode says what a new inode is to be.
type NewNode struct {
	Mode     uint32 // type and permissions, before the umask
	Umask    uint32 // applied unless the directory has a default ACL
	UID      uint32
	GID      uint32
	Rdev     uint32         // of a device node
	Target   string         // of a symbolic link
	Policy   *crypto.Policy // of a bucket; nil: the volume's default
	Wrapping kms.Wrapping   // of a bucket: how data keys of its files are wrapped
	Caller   kms.Caller     // who asks for the data key of a file
}

// Lookup finds a name in a directory and returns its inode, pinned.
func (v *Volume) Lookup(dir uint64, name string) (*Inode, error) {
	d, err := v.Inode(dir)
	if err != nil {
		return nil, err
	}
	defer v.Unpin(d)
	h := v.hash(dir, name)
	d.mu.RLock()
	if !d.IsDir() {
		d.mu.RUnlock()
		return nil, ErrNotDir
	}
	e, err := v.entry(d, h, name)
	d.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	n, err := v.Inode(e.Inode)
	if errors.Is(err, ErrStale) {
		// Removed between the two steps, or its record is missing.
		d.mu.RLock()
		again, err2 := v.entry(d, h, name)
		d.mu.RUnlock()
		if errors.Is(err2, ErrNotExist) {
			return nil, ErrNotExist
		}
		if err2 != nil || again.Inode == e.Inode {
			return nil, damaged(record.KindInode, e.Inode, fmt.Errorf("named %q in directory %d, but not there", name, dir))
		}
		return v.Lookup(dir, name)
	}
	if err != nil {
		return nil, err
	}
	n.seenAs(dir, name)
	return n, nil
}

func (v *Volume) hash(dir uint64, name string) record.NameHash {
	return record.NameHash(v.names.Hash(dir, []byte(name)))
}

// seenAs notes a name of the inode, for messages.
func (n *Inode) seenAs(dir uint64, name string) {
	n.mu.RLock()
	same := n.name == name && (n.parent == dir || n.IsDir())
	n.mu.RUnlock()
	if same {
		return
	}
	n.mu.Lock()
	n.name = name
	if !n.IsDir() {
		n.parent = dir
	}
	n.mu.Unlock()
}

// prepare makes the inode of a NewNode, in memory only, with its data key.
func (v *Volume) prepare(ctx context.Context, dir *Inode, w *NewNode) (*Inode, error) {
	dir.mu.RLock()
	bucket, dmode, dgid := dir.Bucket, dir.Mode, dir.GID
	dir.mu.RUnlock()
	acl, err := v.defaultACL(dir)
	if err != nil {
		return nil, err
	}
	now := v.clock()
	n := &Inode{Ino: v.nextInode.Add(1) - 1, fileType: w.Mode & record.TypeMask}
	n.Attr = record.Attr{
		Bucket: bucket, Mode: w.Mode, UID: w.UID, GID: w.GID, Nlink: 1, Rdev: w.Rdev,
		Atime: now, Mtime: now, Ctime: now, Btime: now,
	}
	if dmode&modeSetgid != 0 {
		n.GID = dgid
		if n.IsDir() {
			n.Mode |= modeSetgid
		}
	}
	if !n.IsDevice() {
		n.Rdev = 0 // inode records have none either
	}
	n.xattrs = &xattrSet{}
	if acl == nil {
		if !n.IsSymlink() {
			n.Mode &^= w.Umask & 0o777
		}
	} else if err := n.inheritACL(acl); err != nil {
		return nil, err
	}
	switch {
	case n.IsDir():
		n.Nlink = 2
		if dir.Ino == RootInode {
			n.Bucket = n.Ino
		}
	case dir.Ino == RootInode:
		return nil, ErrRootFile
	case n.IsSymlink():
		n.target = []byte(w.Target)
		n.Size = uint64(len(w.Target))
	case n.IsRegular():
		if err := v.newKey(ctx, n, w.Caller); err != nil {
			return nil, err
		}
		n.fmap.leaves = make(map[uint64]*leafNode)
	}
	return n, nil
}

// Create makes a new inode under a name that the directory does not have yet,
// and returns it pinned.
func (v *Volume) Create(ctx context.Context, dir uint64, name string, w NewNode) (*Inode, error) {
	d, err := v.Inode(dir)
	if err != nil {
		return nil, err
	}
	defer v.Unpin(d)
	if err := v.admit(); err != nil {
		return nil, err
	}
	if err := v.space.reserve(1); err != nil {
		return nil, err
	}
	h := v.hash(dir, name)
	if err := v.canAdd(d, h, name); err != nil {
		return nil, err // before a key is made for nothing
	}
	n, err := v.prepare(ctx, d, &w)
	if err != nil {
		return nil, err
	}
	if n.IsDir() && dir == RootInode {
		if err := v.newBucket(n, &w); err != nil {
			return nil, err
		}
	}
	e := v.begin()
	defer v.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := v.mayAdd(d, h, name); err != nil {
		v.dropBucket(n)
		n.forgetKey()
		return nil, err
	}
	n.parent, n.name = dir, name
	n = v.table.add(n)
	v.inodes.Add(1)
	n.mu.Lock()
	v.change(e, n)
	n.mu.Unlock()
	v.addEntry(e, d, h, record.Entry{Inode: n.Ino, Type: n.Mode & record.TypeMask, Name: name})
	return n, nil
}

// canAdd is mayAdd without the lock.
func (v *Volume) canAdd(d *Inode, h record.NameHash, name string) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return v.mayAdd(d, h, name)
}

// mayAdd reports why the name cannot be added to the directory. The caller
// holds d.mu.
func (v *Volume) mayAdd(d *Inode, h record.NameHash, name string) error {
	if !d.IsDir() {
		return ErrNotDir
	}
	if d.Nlink == 0 {
		return ErrNotExist
	}
	switch _, err := v.entry(d, h, name); {
	case err == nil:
		return ErrExist
	case !errors.Is(err, ErrNotExist):
		return err
	}
	return nil
}

// CreateUnnamed makes a regular file without a name in the directory's bucket,
// as O_TMPFILE does, and returns it pinned. Link gives it a name.
func (v *Volume) CreateUnnamed(ctx context.Context, dir uint64, w NewNode) (*Inode, error) {
	d, err := v.Inode(dir)
	if err != nil {
		return nil, err
	}
	defer v.Unpin(d)
	if !d.IsDir() {
		return nil, ErrNotDir
	}
	if err := v.admit(); err != nil {
		return nil, err
	}
	if err := v.space.reserve(1); err != nil {
		return nil, err
	}
	n, err := v.prepare(ctx, d, &w)
	if err != nil {
		return nil, err
	}
	e := v.begin()
	defer v.end()
	d.mu.RLock()
	gone := d.Nlink == 0
	d.mu.RUnlock()
	if gone {
		n.forgetKey()
		return nil, ErrNotExist
	}
	n.parent = dir
	n.Nlink = 0
	n = v.table.add(n)
	v.inodes.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	v.orphan(n)
	v.change(e, n)
	return n, nil
}

// orphan notes that n has no name any more. It stays in memory until it is
// reaped. The caller holds n.mu.
func (v *Volume) orphan(n *Inode) {
	if !n.unlinked {
		n.unlinked = true
		v.table.repin(n)
	}
}

// Link gives an inode another name in its own bucket.
func (v *Volume) Link(n *Inode, dir uint64, name string) error {
	if n.IsDir() { // the type never changes, and dir may be n or below it
		return ErrPermission
	}
	d, err := v.Inode(dir)
	if err != nil {
		return err
	}
	defer v.Unpin(d)
	if err := v.admit(); err != nil {
		return err
	}
	h := v.hash(dir, name)
	e := v.begin()
	defer v.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := v.mayAdd(d, h, name); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.Bucket != d.Bucket:
		return ErrCrossBucket
	case n.Nlink >= maxLinks:
		return ErrTooManyLinks
	case n.reaped:
		return ErrNotExist
	}
	n.Nlink++
	if n.unlinked {
		v.adopt(e, n)
	}
	n.Ctime = v.clock()
	// Some programs, git for one, make a file under another name and link it to its
	// own once it is complete: as after a rename, it must not appear without contents.
	n.mustFlush = true
	n.holesStay()
	v.change(e, n)
	v.addEntry(e, d, h, record.Entry{Inode: n.Ino, Type: n.Mode & record.TypeMask, Name: name})
	return nil
}

// adopt undoes orphan. The caller holds n.mu.
func (v *Volume) adopt(e *epoch, n *Inode) {
	n.unlinked = false
	if n.sweep != 0 { // its orphan record becomes one of the records to sweep
		v.orphanRecords(e, n)
	} else if n.orphanStored {
		e.remove(record.OrphanKey(n.Ino), v.now())
	}
	n.orphanStored = false
	v.table.unpin(n) // the caller has a pin of its own
}

// Unlink removes a name that is not a directory's.
func (v *Volume) Unlink(dir uint64, name string) error {
	return v.remove(dir, name, func(n *Inode) error {
		if n.IsDir() {
			return ErrIsDir
		}
		return nil
	})
}

// Rmdir removes an empty directory.
func (v *Volume) Rmdir(dir uint64, name string) error {
	return v.remove(dir, name, func(n *Inode) error {
		if !n.IsDir() {
			return ErrNotDir
		}
		if n.dir.entries > 0 {
			return ErrNotEmpty
		}
		return nil
	})
}

func (v *Volume) remove(dir uint64, name string, check func(*Inode) error) error {
	d, err := v.Inode(dir)
	if err != nil {
		return err
	}
	defer v.Unpin(d)
	if err := v.admit(); err != nil {
		return err
	}
	n, err := v.Lookup(dir, name) // so that it is in memory before the bracket
	if err != nil {
		return err
	}
	defer func() { v.Unpin(n) }()
	h := v.hash(dir, name)
	e := v.begin()
	defer v.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	ent, err := v.entry(d, h, name)
	if err != nil {
		return err
	}
	if ent.Inode != n.Ino {
		now, err := v.Inode(ent.Inode)
		if err != nil {
			return err
		}
		v.Unpin(n)
		n = now
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := check(n); err != nil {
		return err
	}
	v.removeEntry(e, d, h, ent)
	v.dropLink(e, n)
	return nil
}

// dropLink takes one name away from n. The caller holds n.mu and a pin, and is
// in a bracket of e.
func (v *Volume) dropLink(e *epoch, n *Inode) {
	if n.IsDir() {
		n.Nlink = 0
	} else {
		n.Nlink--
	}
	n.Ctime = v.clock()
	if n.Nlink == 0 {
		v.orphan(n)
		if n.IsDir() && n.Bucket == n.Ino {
			v.removeBucket(e, n)
		}
		v.reapIfIdle(e, n)
	}
	v.change(e, n)
}
