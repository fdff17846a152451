package volume

import (
	"errors"
	"path"
	"strconv"
	"strings"

	"ssefs/fs/record"
)

// maxDepth bounds how many directories a path for a message goes through.
const maxDepth = 256

// PathOf returns a path of the inode on the drive, for messages: as well as it
// is known. An inode of which no name is known is shown by its number.
func (v *Volume) PathOf(n *Inode) string {
	var parts []string
	v.table.repin(n)
	for range maxDepth {
		if n.Ino == RootInode {
			v.Unpin(n)
			return "/" + strings.Join(parts, "/")
		}
		n.mu.RLock()
		name, parent := n.name, n.parent
		n.mu.RUnlock()
		if parent == 0 {
			break
		}
		p, err := v.Inode(parent)
		if err != nil {
			break
		}
		if name == "" {
			if name = v.nameIn(p, n.Ino); name != "" {
				n.seenAs(parent, name)
			}
		}
		if name == "" {
			v.Unpin(p)
			break
		}
		parts = append([]string{name}, parts...)
		v.Unpin(n)
		n = p
	}
	rest := append([]string{inodeName(n.Ino)}, parts...)
	v.Unpin(n)
	return strings.Join(rest, "/")
}

// PathOfNumber is PathOf for an inode that is perhaps not in memory, or cannot be
// read.
func (v *Volume) PathOfNumber(ino uint64) string {
	if n := v.table.pin(ino); n != nil {
		defer v.Unpin(n)
		return v.PathOf(n)
	}
	dir := v.table.seenIn(ino)
	if dir == 0 {
		return inodeName(ino)
	}
	d, err := v.Inode(dir)
	if err != nil {
		return inodeName(ino)
	}
	defer v.Unpin(d)
	name := v.nameIn(d, ino)
	if name == "" {
		return inodeName(ino)
	}
	return path.Join(v.PathOf(d), name)
}

func inodeName(ino uint64) string { return "<inode " + strconv.FormatUint(ino, 10) + ">" }

// nameIn searches a directory for an inode's name.
func (v *Volume) nameIn(d *Inode, ino uint64) (name string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.IsDir() {
		return ""
	}
	_ = v.mergeEntries(d, record.NameHash{}, func(_ record.NameHash, e record.Entry) bool {
		if e.Inode == ino {
			name = e.Name
		}
		return name == ""
	}) // a damaged directory has no names to give
	return name
}

// Resolve walks a path from the root of the drive, without following symbolic
// links, and returns the inode, pinned.
func (v *Volume) Resolve(path string) (*Inode, error) {
	n, err := v.Inode(RootInode)
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Split(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			v.Unpin(n)
			return nil, ErrInvalid
		}
		next, err := v.Lookup(n.Ino, name)
		v.Unpin(n)
		if err != nil {
			return nil, err
		}
		n = next
	}
	return n, nil
}

// ParentOf returns the directory that a directory lies in; the root lies in
// itself.
func (v *Volume) ParentOf(n *Inode) (uint64, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.IsDir() {
		return 0, ErrNotDir
	}
	if n.parent == 0 {
		return 0, damaged(record.KindInode, n.Ino, errors.New("directory without a parent"))
	}
	return n.parent, nil
}
