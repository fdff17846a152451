package check

import (
	"cmp"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// inode is what is remembered of an inode until all entries were seen: 32
// bytes, of which a volume may need millions.
type inode struct {
	ino    uint64
	bucket uint64
	nlink  uint32 // as its record says
	links  uint32 // entries that name it
	dir    int32  // index in table.dirs, -1 for what is no directory
	typ    uint8  // file type: mode >> 12
	flags  uint8
}

// Flags of an inode.
const (
	flagUnreadable = 1 << iota // its record could not be read: nothing is known
	flagOrphan                 // it waits to be deleted as a whole
	flagLoose                  // an entry names it whose directory cannot be read
	flagReached                // the root reaches this directory
	flagVisiting               // its ancestors are being followed
	flagLoop                   // it is in a loop that was reported, or below one
)

// dir is what is remembered of a directory besides.
type dir struct {
	parent  uint64 // as its record says
	namedIn uint64 // directory of the first entry that names it, 0: none
	entries uint64 // as its record says
	subdirs uint64 // as its record says
	set     crypto.SetHash
}

// table holds the inodes in the order of their numbers.
type table struct {
	list []inode
	dirs []dir
}

// prepare makes room for as many inodes as the head counts, within reason.
func (t *table) prepare(head *record.Head) {
	const reasonable = 1 << 22
	if head != nil {
		t.list = make([]inode, 0, min(head.Inodes, reasonable))
	}
}

// find returns an inode, nil if there is none of that number.
func (t *table) find(ino uint64) *inode {
	i, ok := slices.BinarySearchFunc(t.list, ino, func(n inode, ino uint64) int { return cmp.Compare(n.ino, ino) })
	if !ok {
		return nil
	}
	return &t.list[i]
}

// findDir returns a directory, nil if there is no directory of that number.
func (t *table) findDir(ino uint64) *dir {
	n := t.find(ino)
	if n == nil || n.dir < 0 {
		return nil
	}
	return &t.dirs[n.dir]
}

// add appends an inode whose number is above all others'.
func (t *table) add(ino uint64, n *record.Inode) *inode {
	st := inode{ino: ino, bucket: n.Bucket, nlink: n.Nlink, dir: -1, typ: uint8(n.Mode >> 12)}
	if n.IsDir() {
		st.dir = int32(len(t.dirs))
		t.dirs = append(t.dirs, dir{parent: n.Parent, entries: n.Entries, subdirs: n.Subdirs, set: n.EntrySet})
	}
	t.list = append(t.list, st)
	return &t.list[len(t.list)-1]
}

// addUnreadable appends an inode of which nothing is known.
func (t *table) addUnreadable(ino uint64) {
	t.list = append(t.list, inode{ino: ino, dir: -1, flags: flagUnreadable})
}

// typeName names a file type.
func typeName(typ uint8) string {
	switch uint32(typ) << 12 {
	case record.TypeDir:
		return "directory"
	case record.TypeFile:
		return "regular file"
	case record.TypeLink:
		return "symbolic link"
	case record.TypeFifo:
		return "fifo"
	case record.TypeChar:
		return "character device"
	case record.TypeBlock:
		return "block device"
	case record.TypeSocket:
		return "socket"
	}
	return "object of unknown type"
}
