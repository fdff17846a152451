package volume

import (
	"errors"
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
		name, parent, isDir := n.name, n.parent, n.IsDir()
		n.mu.RUnlock()
		if parent == 0 {
			break
		}
		p, err := v.Inode(parent)
		if err != nil {
			break
		}
		if name == "" && isDir {
			name = v.nameIn(p, n.Ino)
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
