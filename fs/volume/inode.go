package volume

import (
	"sync"
	"sync/atomic"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// RootInode is the inode number of the root directory.
const RootInode = record.RootInode

// Inode is an inode in memory. Pinned inodes stay; others are dropped in the
// order of their last use once there are too many, unless they have changes
// that are not durable yet.
type Inode struct {
	Ino uint64

	// fileType is that of Mode, which never changes: it is asked for without the
	// lock that the rest of Mode needs.
	fileType uint32

	// Told is the number of blocks that the kernel was last told. It belongs to
	// the package that serves the kernel.
	Told atomic.Uint64

	// pins counts users, guarded by the table shard's mutex.
	pins       int
	prev, next *Inode // in the shard's list of inodes without pins

	mu sync.RWMutex // guards what follows
	record.Attr
	xattrVersion uint64
	xattrs       *xattrSet // nil until loaded
	target       []byte
	envelope     []byte
	parent       uint64 // of a directory; otherwise where it was last seen
	name         string // the name it was last seen under, for messages

	dir     directory // of a directory
	fmap    fileMap   // of a regular file
	content content   // of a regular file

	handles     int    // open descriptors
	unlinked    bool   // its orphan record is written or due, and it is pinned for that
	reaped      bool   // nothing refers to it: its records are deleted or due to be
	sweep       uint64 // data records numbered below it may be left that its map does not name
	sweepPinned bool   // it is pinned until it is swept
	dirtySeq    uint64 // epoch whose list it is on; guarded by mu
	mustFlush   bool   // its dirty data goes with the epoch's metadata

	// stored is the version of the inode record, 0 if it was never stored, and
	// storedBlocks the number of blocks in it. The committer alone changes them.
	stored       uint64
	storedBlocks uint64
	orphanStored bool

	// cipher seals and opens its contents; nil until the key is unwrapped and
	// after it was revoked.
	cipher   atomic.Pointer[crypto.FileCipher]
	keySince atomic.Int64 // when the cipher was set, Unix nanoseconds; see keyage.go
	// keyID names the customer master key of its envelope, "" if none.
	keyID string
}

// IsDir reports whether the inode is a directory.
func (n *Inode) IsDir() bool { return n.fileType == record.TypeDir }

// IsRegular reports whether the inode is a regular file.
func (n *Inode) IsRegular() bool { return n.fileType == record.TypeFile }

// IsSymlink reports whether the inode is a symbolic link.
func (n *Inode) IsSymlink() bool { return n.fileType == record.TypeLink }

// directory is the part of an inode that directories have.
type directory struct {
	entries uint64
	subdirs uint64
	set     crypto.SetHash
	changes uint64 // counts changes of the entries, for listings
	pending *entryChanges
	closing *entryChanges
}

// content is the part of an inode that regular files have.
type content struct {
	chunks  map[uint64]*chunk  // dirty blocks by leaf index
	dirty   int                // dirty blocks
	added   int                // those of them that replace no stored block
	weight  int                // what flushing them adds to an epoch, see weigh
	flights map[uint64]*flight // data records that are not stored yet
	size    uint64             // size as of the last flush: what is encoded
	queued  bool               // on the volume's list of files to write back
	gaps    []gap              // before the end of the file, not written so far
	coming  []byteRange        // writes that are about to be made
}

// chunk holds the dirty blocks of one leaf.
type chunk struct {
	leaf  *leafNode
	count int
	refs  [leafBlocks]blockRef
}

// flight holds the blocks of a data record until it is stored.
type flight struct {
	ino     *Inode
	id      uint64
	salt    crypto.Salt
	cipher  *crypto.FileCipher
	shared  bool // blocks of several leaves
	logical []uint64
	refs    []blockRef
	last    int // length in bytes of the last block
}

const leafBlocks = 256

// tableShards divides the inode table so that requests for different inodes
// rarely meet at a lock.
const tableShards = 64

// table finds inodes in memory and counts the kernel's references.
type table struct {
	shards [tableShards]tableShard
	limit  int // inodes without pins that a shard keeps
}

type tableShard struct {
	mu      sync.Mutex
	inodes  map[uint64]*Inode
	idle    Inode // list head: next is the most recently used
	idles   int
	changed uint64 // counts inodes that left memory after they had been changed
	lookups map[uint64]lookupCount
}

// lookupCount is the kernel's reference count of an inode, kept apart from the
// inode itself: the kernel may remember a million inodes, and twenty-four bytes
// for each is what that costs here.
type lookupCount struct {
	n   uint32
	key uint32 // index of the customer master key, see Volume.keys
	dir uint64 // where it was last seen, for messages
}

func (t *table) init(limit int) {
	t.limit = max(16, limit/tableShards)
	for i := range t.shards {
		s := &t.shards[i]
		s.inodes = make(map[uint64]*Inode)
		s.lookups = make(map[uint64]lookupCount)
		s.idle.next, s.idle.prev = &s.idle, &s.idle
	}
}

func (t *table) shard(ino uint64) *tableShard { return &t.shards[ino%tableShards] }

// pin returns the inode if it is in memory, pinned.
func (t *table) pin(ino uint64) *Inode {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.inodes[ino]
	if n != nil {
		s.ref(n)
	}
	return n
}

func (s *tableShard) ref(n *Inode) {
	if n.pins == 0 && n.next != nil {
		n.prev.next, n.next.prev = n.next, n.prev
		n.prev, n.next = nil, nil
		s.idles--
	}
	n.pins++
}

// repin adds a pin to an inode that is pinned already.
func (t *table) repin(n *Inode) {
	s := t.shard(n.Ino)
	s.mu.Lock()
	n.pins++
	s.mu.Unlock()
}

// add puts a new inode into the table, pinned. If another caller was faster,
// its inode is returned instead.
func (t *table) add(n *Inode) *Inode {
	s := t.shard(n.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.inodes[n.Ino]; old != nil {
		s.ref(old)
		return old
	}
	n.pins = 1
	s.inodes[n.Ino] = n
	return n
}

// changes returns a number for addRead. It is asked for before an inode's record
// is read.
func (t *table) changes(ino uint64) uint64 {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// addRead is add for an inode whose record was read after changes gave that
// number. It returns nil if the record may be an old one by now: somebody else
// may have read it too, changed it, and let go of it again.
func (t *table) addRead(n *Inode, changes uint64) *Inode {
	s := t.shard(n.Ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.inodes[n.Ino]; old != nil {
		s.ref(old)
		return old
	}
	if s.changed != changes {
		return nil
	}
	n.pins = 1
	s.inodes[n.Ino] = n
	return n
}

// unpin lets go of an inode. One that is gone for good leaves the table at
// once; of the others the least recently used leave when there are too many.
func (t *table) unpin(n *Inode) {
	s := t.shard(n.Ino)
	s.mu.Lock()
	var out *Inode
	n.pins--
	if n.pins == 0 {
		h := &s.idle
		n.prev, n.next = h, h.next
		h.next.prev, h.next = n, n
		s.idles++
		if s.idles > t.limit {
			out = h.prev
		}
		if n.reaped { // pins of the epoch are gone, so its deletion is durable
			out = n
		}
		if out != nil {
			out.prev.next, out.next.prev = out.next, out.prev
			out.prev, out.next = nil, nil
			s.idles--
			delete(s.inodes, out.Ino)
			if out.dirtySeq != 0 { // nobody has it, so n.mu is not needed
				s.changed++
			}
		}
	}
	s.mu.Unlock()
	if out != nil {
		out.forgetKey()
	}
}

// forgetKey wipes the data key.
func (n *Inode) forgetKey() {
	if c := n.cipher.Swap(nil); c != nil {
		c.Wipe()
	}
}

// remember adds one to the kernel's references.
func (t *table) remember(ino uint64, key uint32, dir uint64) {
	s := t.shard(ino)
	s.mu.Lock()
	c := s.lookups[ino]
	c.n++
	c.key, c.dir = key, dir
	s.lookups[ino] = c
	s.mu.Unlock()
}

// seenIn returns the directory in which the kernel last saw an inode that it
// knows, 0 if that is not known.
func (t *table) seenIn(ino uint64) uint64 {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups[ino].dir
}

// moved notes that the kernel sees an inode in another directory from now on.
func (t *table) moved(ino, dir uint64) {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.lookups[ino]; ok {
		c.dir = dir
		s.lookups[ino] = c
	}
}

// forget takes n kernel references away and reports whether none is left.
func (t *table) forget(ino, n uint64) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.lookups[ino]
	if !ok {
		return true
	}
	if uint64(c.n) > n {
		c.n -= uint32(n)
		s.lookups[ino] = c
		return false
	}
	delete(s.lookups, ino)
	return true
}

// known reports whether the kernel has references.
func (t *table) known(ino uint64) bool {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups[ino].n > 0
}

// knownWithKey returns the inodes that the kernel knows and whose contents are
// under the key.
func (t *table) knownWithKey(key uint32) []uint64 {
	var out []uint64
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for ino, c := range s.lookups {
			if c.key == key {
				out = append(out, ino)
			}
		}
		s.mu.Unlock()
	}
	return out
}

// each calls fn for every inode in memory, pinned during the call.
func (t *table) each(fn func(*Inode)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		list := make([]*Inode, 0, len(s.inodes))
		for _, n := range s.inodes {
			s.ref(n)
			list = append(list, n)
		}
		s.mu.Unlock()
		for _, n := range list {
			fn(n)
			t.unpin(n)
		}
	}
}

// counts returns how many inodes are in memory and how many the kernel knows.
func (t *table) counts() (inodes, lookups int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		inodes += len(s.inodes)
		lookups += len(s.lookups)
		s.mu.Unlock()
	}
	return inodes, lookups
}
