package volume

import (
	"encoding/binary"
	"fmt"

	"ssefs/fs/record"
)

// Names of the attributes that hold POSIX ACLs.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

func isACL(name string) bool { return name == accessACL || name == defaultACL }

// Tags of ACL entries, and the layout's version, from the kernel's
// include/uapi/linux/posix_acl_xattr.h and posix_acl.h.
const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// acl is a POSIX access control list.
type acl []aclEntry

func parseACL(b []byte) (acl, error) {
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil, fmt.Errorf("%w: not a POSIX ACL", ErrInvalid)
	}
	b = b[4:]
	a := make(acl, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		a = append(a, aclEntry{
			tag: binary.LittleEndian.Uint16(b), perm: binary.LittleEndian.Uint16(b[2:]),
			id: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return a, a.check()
}

// check accepts a list that has each of the three base entries once, at most
// one mask, which named entries need, and nothing unknown.
func (a acl) check() error {
	count := map[uint16]int{}
	for _, e := range a {
		switch e.tag {
		case aclUserObj, aclUser, aclGroupObj, aclGroup, aclMask, aclOther:
			count[e.tag]++
		default:
			return fmt.Errorf("%w: ACL entry with tag %#x", ErrInvalid, e.tag)
		}
		if e.perm&^7 != 0 {
			return fmt.Errorf("%w: ACL entry with permissions %#o", ErrInvalid, e.perm)
		}
	}
	named := count[aclUser] + count[aclGroup]
	if count[aclUserObj] != 1 || count[aclGroupObj] != 1 || count[aclOther] != 1 ||
		count[aclMask] > 1 || named > 0 && count[aclMask] == 0 {
		return fmt.Errorf("%w: incomplete ACL", ErrInvalid)
	}
	return nil
}

func (a acl) marshal() []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range a {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func (a acl) find(tag uint16) *aclEntry {
	for i := range a {
		if a[i].tag == tag {
			return &a[i]
		}
	}
	return nil
}

// group returns the entry that the group bits of the mode stand for: the mask
// if there is one.
func (a acl) group() *aclEntry {
	if m := a.find(aclMask); m != nil {
		return m
	}
	return a.find(aclGroupObj)
}

// minimal reports whether the mode says all that the list does.
func (a acl) minimal() bool { return len(a) == 3 }

// mode returns the permission bits that stand for the list.
func (a acl) mode() uint32 {
	return uint32(a.find(aclUserObj).perm)<<6 | uint32(a.group().perm)<<3 | uint32(a.find(aclOther).perm)
}

// chmod brings the list into step with permission bits.
func (a acl) chmod(mode uint32) {
	a.find(aclUserObj).perm = uint16(mode >> 6 & 7)
	a.group().perm = uint16(mode >> 3 & 7)
	a.find(aclOther).perm = uint16(mode & 7)
}

// setACL sets or, with an empty value, removes an ACL. The caller holds n.mu,
// and xattrs are loaded.
func (n *Inode) setACL(name string, value []byte) error {
	if n.IsSymlink() || name == defaultACL && !n.IsDir() {
		return ErrPermission
	}
	if len(value) <= 4 {
		n.xattrs.remove(name)
		return nil
	}
	a, err := parseACL(value)
	if err != nil {
		return err
	}
	if name == defaultACL {
		return n.xattrs.set(name, a.marshal())
	}
	n.Mode = n.Mode&^0o777 | a.mode()
	if a.minimal() {
		n.xattrs.remove(name)
		return nil
	}
	return n.xattrs.set(name, a.marshal())
}

// chmodACL brings an access ACL into step with the mode. The caller holds
// n.mu, and xattrs are loaded.
func (n *Inode) chmodACL() {
	b, ok := n.xattrs.get(accessACL)
	if !ok {
		return
	}
	if a, err := parseACL(b); err == nil {
		a.chmod(n.Mode)
		_ = n.xattrs.set(accessACL, a.marshal()) // of the same size
	}
}

// defaultACL returns what new objects in the directory inherit, nil for
// nothing.
func (v *Volume) defaultACL(d *Inode) (acl, error) {
	d.mu.RLock()
	none := d.xattrs == nil && d.xattrVersion == 0 || d.xattrs != nil && len(d.xattrs.list) == 0
	d.mu.RUnlock()
	if none {
		return nil, nil
	}
	if err := v.loadXattrs(d); err != nil {
		return nil, err
	}
	d.mu.RLock()
	b, ok := d.xattrs.get(defaultACL)
	d.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	a, err := parseACL(b)
	if err != nil {
		return nil, damaged(record.KindXattr, d.Ino, err)
	}
	return a, nil
}

// inheritACL applies a directory's default ACL to a new inode: the mode asked
// for limits what the list gives, and the umask does not count.
func (n *Inode) inheritACL(def acl) error {
	if n.IsSymlink() {
		return nil
	}
	if n.IsDir() {
		if err := n.xattrs.set(defaultACL, def.marshal()); err != nil {
			return err
		}
	}
	a := append(acl(nil), def...)
	mode := n.Mode & 0o777
	a.find(aclUserObj).perm &= uint16(mode >> 6 & 7)
	a.group().perm &= uint16(mode >> 3 & 7)
	a.find(aclOther).perm &= uint16(mode & 7)
	n.Mode = n.Mode&^0o777 | a.mode()
	if a.minimal() {
		return nil
	}
	return n.xattrs.set(accessACL, a.marshal())
}
