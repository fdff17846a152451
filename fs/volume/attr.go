package volume

import (
	"os"

	"ssefs/fs/record"
)

// Stat returns the inode's attributes as the drive has them now.
func (n *Inode) Stat() record.Attr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	a := n.Attr
	if n.IsRegular() {
		a.Blocks += uint64(n.content.added)
	}
	return a
}

// Change says which attributes SetAttr changes; nil fields stay.
type Change struct {
	Mode  *uint32 // permissions
	UID   *uint32
	GID   *uint32
	Size  *uint64
	Atime *record.Time
	Mtime *record.Time
	Ctime *record.Time
	// KillPriv takes away the set-user-ID and set-group-ID bits and the file
	// capabilities, as a change by somebody without privilege does.
	KillPriv bool
}

// SetAttr changes attributes. For a change of size the inode's key must be
// open.
func (v *Volume) SetAttr(n *Inode, c Change) error {
	if c.KillPriv || c.Mode != nil {
		if err := v.loadXattrs(n); err != nil {
			return err
		}
	}
	var s *spare
	var err error
	if c.Size != nil {
		if s, err = v.stock(1); err != nil {
			return err
		}
		defer s.release()
	} else if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reaped {
		return ErrStale
	}
	now := v.clock()
	if c.Size != nil {
		if !n.IsRegular() {
			return ErrInvalid
		}
		if n.cipher.Load() == nil {
			return ErrKeyGone
		}
		if err := v.resize(e, n, s, *c.Size); err != nil {
			return err
		}
		n.Mtime = now
	}
	if c.Mode != nil {
		n.Mode = n.Mode&record.TypeMask | *c.Mode&0o7777
		n.chmodACL()
	}
	if c.UID != nil {
		n.UID = *c.UID
	}
	if c.GID != nil {
		n.GID = *c.GID
	}
	if c.KillPriv {
		n.killPriv()
	}
	if c.Atime != nil {
		n.Atime = *c.Atime
	}
	if c.Mtime != nil {
		n.Mtime = *c.Mtime
	}
	n.Ctime = now
	if c.Ctime != nil {
		n.Ctime = *c.Ctime
	}
	v.change(e, n)
	return nil
}

// killPriv drops what makes a program run with more rights than its caller.
// Xattrs are loaded. The caller holds n.mu.
func (n *Inode) killPriv() {
	if n.IsDir() {
		return
	}
	n.Mode &^= modeSetuid
	if n.Mode&0o010 != 0 {
		n.Mode &^= modeSetgid
	}
	n.xattrs.remove(capabilityXattr)
}

const capabilityXattr = "security.capability"

// DropPriv does to the inode what a write by somebody without privilege does:
// capabilities go, and where suid is set also the set-ID bits.
func (v *Volume) DropPriv(n *Inode, setID SetID) error {
	if err := v.loadXattrs(n); err != nil {
		return err
	}
	n.mu.RLock()
	_, has := n.xattrs.get(capabilityXattr)
	nothing := !has && (setID == KeepSetID || n.Mode&(modeSetuid|modeSetgid) == 0)
	n.mu.RUnlock()
	if nothing {
		return nil
	}
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if setID == ClearSetID {
		n.killPriv()
	} else {
		n.xattrs.remove(capabilityXattr)
	}
	n.Ctime = v.clock()
	v.change(e, n)
	return nil
}

// SetID says what DropPriv does to set-user-ID and set-group-ID.
type SetID int

// What DropPriv does to the set-ID bits.
const (
	KeepSetID SetID = iota
	ClearSetID
)

// Target returns where a symbolic link points.
func (n *Inode) Target() ([]byte, error) {
	if !n.IsSymlink() { // the type never changes
		return nil, ErrInvalid
	}
	return n.target, nil
}

// Owner returns who a new root directory belongs to: the daemon's user.
func Owner() (uid, gid uint32) { return uint32(os.Getuid()), uint32(os.Getgid()) }
