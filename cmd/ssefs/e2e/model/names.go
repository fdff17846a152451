package model

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// vacant resolves a path that is about to be made: the parent is there, the name is free.
func (f *FS) vacant(path string) (place, syscall.Errno) {
	p, errno := f.resolve(path, noFollow)
	switch {
	case errno != 0:
		return p, errno
	case p.node != 0:
		return p, unix.EEXIST
	}
	return p, 0
}

// add makes a node without a name. The group comes from a set-group-ID parent.
func (f *FS) add(parent ID, mode uint32) *Node {
	n := &Node{ID: f.next, Mode: mode, Mtime: Mtime{NotBefore: f.Now}}
	f.next++
	if dir := f.nodes[parent]; dir.Mode&unix.S_ISGID != 0 {
		n.GID = dir.GID
		if n.IsDir() {
			n.Mode |= unix.S_ISGID
		}
	}
	f.nodes[n.ID] = n
	return n
}

// enter names a node in a directory.
func (f *FS) enter(p place, id ID) {
	dir := f.touch(p.parent)
	dir.Entries[p.name] = id
	n := f.edit(id)
	if n.IsDir() {
		n.Nlink = 2
		f.edit(p.parent).Nlink++
		return
	}
	n.Nlink++
}

// leave takes a name away.
func (f *FS) leave(p place) {
	delete(f.touch(p.parent).Entries, p.name)
	n := f.edit(p.node)
	if n.IsDir() {
		n.Nlink = 0
		f.edit(p.parent).Nlink--
		return
	}
	n.Nlink--
}

// Mkdir is mkdir(2). Only the permission bits and the sticky bit of mode count.
func (f *FS) Mkdir(path string, mode uint32) (ID, syscall.Errno) {
	p, errno := f.vacant(path)
	if errno != 0 {
		return 0, errno
	}
	n := f.add(p.parent, unix.S_IFDIR|mode&0o1777&^Umask)
	n.Entries = map[string]ID{}
	f.enter(p, n.ID)
	return n.ID, 0
}

// Mknod is mknod(2) for fifos, sockets and devices; mode includes the type.
func (f *FS) Mknod(path string, mode uint32, rdev uint64) (ID, syscall.Errno) {
	p, errno := f.vacant(path)
	if errno != 0 {
		return 0, errno
	}
	n := f.add(p.parent, mode&^Umask)
	n.Rdev = rdev
	f.enter(p, n.ID)
	return n.ID, 0
}

// Symlink is symlink(2).
func (f *FS) Symlink(target, path string) (ID, syscall.Errno) {
	p, errno := f.vacant(path)
	if errno != 0 {
		return 0, errno
	}
	n := f.add(p.parent, unix.S_IFLNK|0o777)
	n.Target = target
	f.enter(p, n.ID)
	return n.ID, 0
}

// Open is open(2) of a regular file: the flags that it understands are O_CREAT, O_EXCL, O_TRUNC and the access modes.
// It reports whether the file was made. Opening anything but regular files and directories is outside of the model.
func (f *FS) Open(path string, flags int, mode uint32) (id ID, created bool, errno syscall.Errno) {
	last := follow
	if flags&unix.O_CREAT != 0 && flags&unix.O_EXCL != 0 {
		last = noFollow
	}
	p, errno := f.resolve(path, last)
	switch {
	case errno != 0:
		return 0, false, errno
	case p.node != 0 && last == noFollow:
		return 0, false, unix.EEXIST
	case p.node == 0 && flags&unix.O_CREAT == 0:
		return 0, false, unix.ENOENT
	case p.node == 0:
		n := f.add(p.parent, unix.S_IFREG|mode&0o7777&^Umask)
		f.enter(p, n.ID)
		return n.ID, true, 0
	}
	n := f.nodes[p.node]
	switch {
	case n.IsDir() && (flags&unix.O_CREAT != 0 || flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0):
		return 0, false, unix.EISDIR
	case !n.IsRegular():
		return 0, false, ErrOutside
	}
	if flags&unix.O_TRUNC != 0 {
		f.SetData(n.ID, f.nodes[n.ID].Data.Truncate(0))
		f.touch(n.ID)
	}
	return n.ID, false, 0
}

// Tmpfile is open(2) with O_TMPFILE: a file without a name, made in a directory.
func (f *FS) Tmpfile(dir string, mode uint32) (ID, syscall.Errno) {
	p, errno := f.existing(dir, follow)
	switch {
	case errno != 0:
		return 0, errno
	case !f.nodes[p.node].IsDir():
		return 0, unix.ENOTDIR
	}
	return f.add(p.node, unix.S_IFREG|mode&0o7777&^Umask).ID, 0
}

// Unlink is unlink(2).
func (f *FS) Unlink(path string) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	switch {
	case errno != 0:
		return errno
	case f.nodes[p.node].IsDir():
		return unix.EISDIR
	}
	f.leave(p)
	return 0
}

// Rmdir is rmdir(2).
func (f *FS) Rmdir(path string) syscall.Errno {
	p, errno := f.existing(path, noFollow)
	switch {
	case errno != 0:
		return errno
	case !f.nodes[p.node].IsDir():
		return unix.ENOTDIR
	case len(f.nodes[p.node].Entries) > 0:
		return unix.ENOTEMPTY
	}
	f.leave(p)
	return 0
}

// Link is link(2), which does not follow a symlink.
func (f *FS) Link(from, to string) syscall.Errno {
	src, errno := f.existing(from, noFollow)
	if errno != 0 {
		return errno
	}
	dst, errno := f.vacant(to)
	switch {
	case errno != 0:
		return errno
	case f.nodes[src.node].IsDir():
		return unix.EPERM
	}
	f.enter(dst, src.node)
	return 0
}

// LinkOpen is linkat(2) of an open file: one that was made by [FS.Tmpfile] and never had a name can get one (the
// caller says so), one that lost its last name cannot.
func (f *FS) LinkOpen(id ID, to string, tmpfile bool) syscall.Errno {
	dst, errno := f.vacant(to)
	switch {
	case errno != 0:
		return errno
	case f.nodes[id].Nlink == 0 && !tmpfile:
		return unix.ENOENT
	}
	f.enter(dst, id)
	return 0
}

// Rename is renameat2(2) with the flags RENAME_NOREPLACE or RENAME_EXCHANGE.
func (f *FS) Rename(from, to string, flags uint) syscall.Errno {
	src, errno := f.resolve(from, noFollow)
	dst, errnoTo := f.resolve(to, noFollow)
	exchange := flags&unix.RENAME_EXCHANGE != 0
	switch {
	// The parents of both are looked up before either name.
	case errno != 0 && src.parent == 0:
		return errno
	case errnoTo != 0 && dst.parent == 0:
		return errnoTo
	case errno != 0:
		return errno
	case src.node == 0:
		return unix.ENOENT
	case errnoTo != 0:
		return errnoTo
	case flags&unix.RENAME_NOREPLACE != 0 && dst.node != 0:
		return unix.EEXIST
	case exchange && dst.node == 0:
		return unix.ENOENT
	case f.contains(src.node, dst.parent):
		return unix.EINVAL
	case dst.node != 0 && f.contains(dst.node, src.parent):
		if exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	case src.node == dst.node:
		return 0
	case exchange:
		f.exchange(src, dst)
		return 0
	}
	if dst.node != 0 {
		if errno := f.replaceable(f.nodes[src.node], f.nodes[dst.node]); errno != 0 {
			return errno
		}
		f.leave(dst)
	}
	f.leave(src)
	if n := f.nodes[src.node]; n.IsDir() {
		// leave and enter set a directory's link count as for one removed and made.
		f.enter(dst, src.node)
		f.edit(src.node).Nlink = 2 + f.subdirectories(src.node)
	} else {
		f.enter(dst, src.node)
	}
	return 0
}

// replaceable says whether a rename may put src in the place of dst.
func (f *FS) replaceable(src, dst *Node) syscall.Errno {
	switch {
	case src.IsDir() && !dst.IsDir():
		return unix.ENOTDIR
	case !src.IsDir() && dst.IsDir():
		return unix.EISDIR
	case dst.IsDir() && len(dst.Entries) > 0:
		return unix.ENOTEMPTY
	}
	return 0
}

// exchange swaps two names.
func (f *FS) exchange(src, dst place) {
	f.touch(src.parent).Entries[src.name] = dst.node
	f.touch(dst.parent).Entries[dst.name] = src.node
	for _, parent := range []ID{src.parent, dst.parent} {
		f.edit(parent).Nlink = 2 + f.subdirectories(parent)
	}
}

// subdirectories counts the directories in a directory.
func (f *FS) subdirectories(dir ID) uint32 {
	var n uint32
	for _, id := range f.nodes[dir].Entries {
		if f.nodes[id].IsDir() {
			n++
		}
	}
	return n
}

// contains reports whether dir is outer or lies below it.
func (f *FS) contains(outer, dir ID) bool {
	for _, id := range f.ancestry(dir) {
		if id == outer {
			return true
		}
	}
	return false
}
