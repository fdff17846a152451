package model

import (
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Chmod is chmod(2) by root.
func (f *FS) Chmod(path string, mode uint32) syscall.Errno {
	p, errno := f.existing(path, follow)
	if errno != 0 {
		return errno
	}
	n := f.edit(p.node)
	n.Mode = n.Type() | mode&0o7777
	return 0
}

// Chown is lchown(2) by root. It drops the set-user-ID bit of what is not a directory, and the set-group-ID bit if the
// group may execute it.
func (f *FS) Chown(path string, uid, gid uint32) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	if errno != 0 {
		return errno
	}
	n := f.edit(p.node)
	n.UID, n.GID = uid, gid
	if n.IsDir() {
		return 0
	}
	n.Mode &^= unix.S_ISUID
	if n.Mode&unix.S_IXGRP != 0 {
		n.Mode &^= unix.S_ISGID
	}
	return 0
}

// SetMtime is utimensat(2) that does not follow a symlink.
func (f *FS) SetMtime(path string, t time.Time) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	if errno != 0 {
		return errno
	}
	f.edit(p.node).Mtime = Mtime{Exact: &t}
	return 0
}

// userXattrs says whether a node may have user.* xattrs.
func userXattrs(n *Node) bool { return n.IsDir() || n.IsRegular() }

// Setxattr is lsetxattr(2) by root with XATTR_CREATE, XATTR_REPLACE or no flag.
func (f *FS) Setxattr(path, name, value string, flags int) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	if errno != 0 {
		return errno
	}
	n := f.nodes[p.node]
	_, there := n.Xattrs[name]
	switch {
	case strings.HasPrefix(name, "user.") && !userXattrs(n):
		return unix.EPERM
	case there && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case !there && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	}
	n = f.edit(p.node)
	if n.Xattrs == nil {
		n.Xattrs = map[string]string{}
	}
	n.Xattrs[name] = value
	return 0
}

// Removexattr is lremovexattr(2) by root.
func (f *FS) Removexattr(path, name string) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	if errno != 0 {
		return errno
	}
	n := f.nodes[p.node]
	if strings.HasPrefix(name, "user.") && !userXattrs(n) {
		return unix.EPERM
	}
	if _, there := n.Xattrs[name]; !there {
		return unix.ENODATA
	}
	delete(f.edit(p.node).Xattrs, name)
	return 0
}
