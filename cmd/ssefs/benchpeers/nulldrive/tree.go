package main

import (
	"sync"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// cacheTime is how long the kernel may believe what it is told.
const cacheTime = 365 * 24 * time.Hour

// chunkSize is the unit that contents are kept in.
const chunkSize = 128 << 10

// node is a file, directory or link.
type node struct {
	ino  uint64
	kind uint32 // the type in the mode

	mu      sync.RWMutex // guards what follows
	attr    gofuse.Attr
	chunks  [][]byte // nil where nothing was written
	target  []byte   // of a link
	parent  uint64   // of a directory
	entries map[string]int
	order   []entry // of a directory, as listed; without a name where one was removed

	lookups uint64 // the drive's lock guards it
}

type entry struct {
	name string
	n    *node
}

// drive is the file system. Locks are taken in the order: its own, then a directory's, then another node's.
type drive struct {
	gofuse.RawFileSystem
	mu    sync.RWMutex // guards nodes and their lookups
	nodes []*node      // by number; nil for those that are gone
}

func newDrive() *drive {
	d := &drive{RawFileSystem: gofuse.NewDefaultRawFileSystem(), nodes: make([]*node, 1, 1<<16)}
	root := d.newNode(unix.S_IFDIR|0o755, 0, gofuse.Owner{Uid: uint32(unix.Getuid()), Gid: uint32(unix.Getgid())})
	root.parent = root.ino
	return d
}

// newNode makes a node that has no name yet.
func (d *drive) newNode(mode, rdev uint32, owner gofuse.Owner) *node {
	now := time.Now()
	n := &node{kind: mode & unix.S_IFMT, attr: gofuse.Attr{Mode: mode, Nlink: 1, Owner: owner, Rdev: rdev, Blksize: 4096}}
	n.touch(now)
	n.attr.Atime, n.attr.Atimensec = n.attr.Mtime, n.attr.Mtimensec
	if mode&unix.S_IFMT == unix.S_IFDIR {
		n.entries = map[string]int{}
		n.attr.Nlink = 2
		n.attr.Size = 4096
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n.ino = uint64(len(d.nodes))
	n.attr.Ino = n.ino
	d.nodes = append(d.nodes, n)
	return n
}

// touch sets the times of a change of contents.
func (n *node) touch(now time.Time) {
	n.attr.Mtime, n.attr.Mtimensec = uint64(now.Unix()), uint32(now.Nanosecond())
	n.attr.Ctime, n.attr.Ctimensec = n.attr.Mtime, n.attr.Mtimensec
}

func (d *drive) node(ino uint64) *node {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if ino >= uint64(len(d.nodes)) {
		return nil
	}
	return d.nodes[ino]
}

// remember counts a reference that the kernel is given.
func (d *drive) remember(n *node) {
	d.mu.Lock()
	n.lookups++
	d.mu.Unlock()
}

// Forget takes references back, and the node with the last one if it has no name.
func (d *drive) Forget(ino, count uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.nodes[ino]
	n.lookups -= min(count, n.lookups)
	d.dropUnnamed(n)
}

// dropUnnamed drops a node that can be reached no more. The drive's lock is held.
func (d *drive) dropUnnamed(n *node) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.lookups == 0 && n.attr.Nlink == 0 {
		d.nodes[n.ino] = nil
	}
}

// unmounted forgets what the kernel knew before it was unmounted: it does not say.
func (d *drive) unmounted() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.nodes {
		if n != nil {
			n.lookups = 0
			d.dropUnnamed(n)
		}
	}
}

// entry fills the reply that tells the kernel of a node, and counts it.
func (d *drive) entry(out *gofuse.EntryOut, n *node) {
	d.remember(n)
	n.mu.RLock()
	out.Attr = n.attr
	n.mu.RUnlock()
	out.NodeId, out.Generation = n.ino, 1
	out.SetEntryTimeout(cacheTime)
	out.SetAttrTimeout(cacheTime)
}

// add puts a name into a directory whose lock is held.
func (n *node) add(name string, child *node) {
	n.entries[name] = len(n.order)
	n.order = append(n.order, entry{name, child})
	n.touch(time.Now())
}

// find returns what a name in a directory stands for; nil for nothing. The lock is held.
func (n *node) find(name string) *node {
	if i, ok := n.entries[name]; ok {
		return n.order[i].n
	}
	return nil
}

// drop takes a name out of a directory whose lock is held. Places in the order are kept, because listings know them,
// until the directory is empty.
func (n *node) drop(name string) {
	n.order[n.entries[name]] = entry{}
	delete(n.entries, name)
	if len(n.entries) == 0 {
		n.order = nil
	}
	n.touch(time.Now())
}

// unlinked counts a name less. No lock is held.
func (d *drive) unlinked(n *node) {
	n.mu.Lock()
	if n.entries != nil {
		n.attr.Nlink = 0
	} else {
		n.attr.Nlink--
	}
	n.mu.Unlock()
	d.mu.Lock()
	d.dropUnnamed(n)
	d.mu.Unlock()
}
