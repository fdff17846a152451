package fs

import (
	"strings"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/volume"
)

// Prefixes of the attribute namespaces that the drive keeps.
const (
	userPrefix     = "user."
	trustedPrefix  = "trusted."
	securityPrefix = "security."
	aclPrefix      = "system.posix_acl_"
)

func knownNamespace(name string) bool {
	for _, p := range []string{userPrefix, trustedPrefix, securityPrefix, aclPrefix} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// GetXAttr reads an extended attribute.
func (d *drive) GetXAttr(_ <-chan struct{}, h *gofuse.InHeader, name string, dest []byte) (uint32, gofuse.Status) {
	n, err := d.inode(h.NodeId)
	if err != nil {
		return 0, d.status(err, nil)
	}
	defer d.v.Unpin(n)
	var value []byte
	switch {
	case strings.HasPrefix(name, ssePrefix):
		value, err = d.sseXattr(n, name)
	case knownNamespace(name):
		value, err = d.v.Xattr(n, name)
	default:
		err = errNotSupported
	}
	if err != nil {
		return 0, d.status(err, n)
	}
	return fit(dest, value)
}

// fit copies a result into the reply, or says how big the reply must be.
func fit(dest, value []byte) (uint32, gofuse.Status) {
	if len(dest) < len(value) {
		return uint32(len(value)), gofuse.Status(unix.ERANGE)
	}
	return uint32(copy(dest, value)), gofuse.OK
}

// ListXAttr lists the names of extended attributes: not those that show the
// encryption, which copying tools would try to set, and trusted ones to root
// alone.
func (d *drive) ListXAttr(_ <-chan struct{}, h *gofuse.InHeader, dest []byte) (uint32, gofuse.Status) {
	n, err := d.inode(h.NodeId)
	if err != nil {
		return 0, d.status(err, nil)
	}
	defer d.v.Unpin(n)
	names, err := d.v.Xattrs(n)
	if err != nil {
		return 0, d.status(err, n)
	}
	var list []byte
	for _, name := range names {
		if strings.HasPrefix(name, trustedPrefix) && h.Uid != 0 {
			continue
		}
		list = append(append(list, name...), 0)
	}
	return fit(dest, list)
}

// setxattrKillSGID is FUSE_SETXATTR_ACL_KILL_SGID: the ACL is set by somebody
// outside the file's group.
const setxattrKillSGID = 1

// SetXAttr sets an extended attribute, or a bucket's policy.
func (d *drive) SetXAttr(_ <-chan struct{}, in *gofuse.SetXAttrIn, name string, data []byte) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	mode := volume.XattrAny
	switch {
	case in.Flags&unix.XATTR_CREATE != 0:
		mode = volume.XattrCreate
	case in.Flags&unix.XATTR_REPLACE != 0:
		mode = volume.XattrReplace
	}
	switch {
	case strings.HasPrefix(name, ssePrefix):
		err = d.setSSEXattr(n, name, data, mode, in.Uid)
	case name == userPrefix, name == trustedPrefix, name == securityPrefix:
		err = volume.ErrInvalid
	case knownNamespace(name):
		err = d.v.SetXattr(n, name, data, mode)
		if err == nil && in.SetXAttrFlags&setxattrKillSGID != 0 {
			err = d.clearSetGID(n)
		}
		d.aclChanged(n, name)
	default:
		err = errNotSupported
	}
	return d.status(err, n)
}

// aclChanged makes the kernel ask for the attributes of an inode again if the
// attribute is an ACL, which may have changed the mode: where it does not check
// permissions it does not expect that. See forgetBlocks on sending it here.
func (d *drive) aclChanged(n *volume.Inode, name string) {
	if strings.HasPrefix(name, aclPrefix) {
		d.kernel.InodeNotify(d.node(n.Ino), -1, 0)
	}
}

func (d *drive) clearSetGID(n *volume.Inode) error {
	mode := n.Stat().Mode &^ unix.S_ISGID
	return d.v.SetAttr(n, volume.Change{Mode: &mode})
}

// RemoveXAttr removes an extended attribute, or sets a bucket's policy back to
// the volume's default.
func (d *drive) RemoveXAttr(_ <-chan struct{}, h *gofuse.InHeader, name string) gofuse.Status {
	n, err := d.inode(h.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	switch {
	case strings.HasPrefix(name, ssePrefix):
		err = d.removeSSEXattr(n, name, h.Uid)
	case knownNamespace(name):
		err = d.v.RemoveXattr(n, name)
		d.aclChanged(n, name)
	default:
		err = errNotSupported
	}
	return d.status(err, n)
}
