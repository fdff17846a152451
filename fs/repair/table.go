package repair

import (
	"cmp"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// inode is what is remembered of an inode.
type inode struct {
	ino     uint64
	bucket  uint64
	namedIn uint64 // the directory whose entry for it stays; of several, one
	nlink   uint32 // as its record says
	links   uint32 // entries that name it
	dir     int32  // index in table.dirs, -1 for what is no directory
	typ     uint8  // mode >> 12
	flags   uint8
}

// Flags of an inode.
const (
	flagUnreadable = 1 << iota // its record is lost, and it is not made anew
	flagMade                   // a directory that is made anew
	flagDead                   // it has no name, and waits to be deleted
	flagReached                // the root reaches it
	flagVisiting               // its ancestors are being followed
)

// dir is what is remembered of a directory besides: what its record says, and
// what it is to say.
type dir struct {
	parent                   uint64
	entries, subdirs         uint64
	set                      crypto.SetHash
	foundEntries, foundSubds uint64
	foundSet                 crypto.SetHash
}

// table holds the inodes in the order of their numbers.
type table struct {
	list []inode
	dirs []dir
}

// find returns an inode, nil if there is none of that number.
func (t *table) find(ino uint64) *inode {
	i, ok := slices.BinarySearchFunc(t.list, ino, func(n inode, ino uint64) int { return cmp.Compare(n.ino, ino) })
	if !ok {
		return nil
	}
	return &t.list[i]
}

// alive returns an inode that stays, nil if there is none of that number.
func (t *table) alive(ino uint64) *inode {
	n := t.find(ino)
	if n == nil || n.flags&(flagUnreadable|flagDead) != 0 {
		return nil
	}
	return n
}

// dir returns what is remembered of a directory.
func (t *table) dir(n *inode) *dir { return &t.dirs[n.dir] }

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

// insert adds an inode in its place.
func (t *table) insert(n inode) {
	i, _ := slices.BinarySearchFunc(t.list, n.ino, func(n inode, ino uint64) int { return cmp.Compare(n.ino, ino) })
	t.list = slices.Insert(t.list, i, n)
}

// bucket is a bucket record, and what was found of its inodes. After the first
// transaction the record in the store is as this says.
type bucket struct {
	record *record.Bucket // nil if it is missing or cannot be read
	keyed  bool           // there is something under its key
	wrong  bool           // it is to be written, or deleted if it has no inodes

	version uint64 // of what is stored and can be read, 0: nothing
	inodes  uint64
	blocks  uint64
	set     crypto.SetHash
	removed bool
	direct  bool
	policy  string

	alive  uint64 // inodes that stay
	newest uint64 // the regular file with the highest number,
	sample crypto.Policy
}

func (r *repairer) bucket(id uint64) *bucket {
	b := r.buckets[id]
	if b == nil {
		b = &bucket{}
		r.buckets[id] = b
	}
	return b
}

// inodeFix is what is to be done to an inode's record and to those that hang off
// it.
type inodeFix struct {
	touch       bool // written again as it is
	clearXattrs bool
	moveXattrs  bool // the xattr record is written again
	setNlink    bool
	nlink       uint32
	setParent   bool
	parent      uint64
	file        *fileFix
	deletes     [][]byte
}

func (r *repairer) fix(ino uint64) *inodeFix {
	f := r.fixes[ino]
	if f == nil {
		f = &inodeFix{}
		r.fixes[ino] = f
	}
	r.work = true
	return f
}

// dirFix is what is to be done to the entries of a directory. Its counts are
// worked out anew with it.
type dirFix struct {
	drop    []record.NameHash
	rewrite []rewrittenEntry
}

type rewrittenEntry struct {
	hash  record.NameHash
	entry record.Entry
}

func (r *repairer) dirFix(ino uint64) *dirFix {
	f := r.dirFixes[ino]
	if f == nil {
		f = &dirFix{}
		r.dirFixes[ino] = f
	}
	r.work = true
	return f
}

// orphan is an orphan record.
type orphan struct {
	below uint64
	good  bool // it can be read
}
