package model

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrOutside is the answer of operations that would leave the model's tree (by .. or an absolute link) or change its
// root: the test does not perform them.
const ErrOutside = syscall.Errno(0x7001)

// Limits of Linux that the model knows.
const (
	nameMax  = 255
	linkHops = 40
)

// Umask is the file mode creation mask that the model's creator has.
const Umask = 0o022

// ID identifies a node for the life of a model.
type ID int

// Root is the ID of the top directory.
const Root ID = 1

// Node is a file of any type. Nodes are shared between states and not modified once another state can see them.
type Node struct {
	ID       ID
	Mode     uint32 // type and permissions, as in stat
	UID, GID uint32
	Nlink    uint32
	Target   string // symlinks
	Rdev     uint64 // devices
	Xattrs   map[string]string
	Entries  map[string]ID // directories
	Data     *Data         // regular files
	Mtime    Mtime
}

// Mtime is what is known of a modification time.
type Mtime struct {
	Exact     *time.Time // set explicitly and not overwritten since
	NotBefore time.Time  // the operation that set it began then; zero if not even that is known
}

// Type returns the type bits of the mode.
func (n *Node) Type() uint32 { return n.Mode & unix.S_IFMT }

// IsDir reports whether the node is a directory.
func (n *Node) IsDir() bool { return n.Type() == unix.S_IFDIR }

// IsRegular reports whether the node is a regular file.
func (n *Node) IsRegular() bool { return n.Type() == unix.S_IFREG }

// FS is one state of a tree. The operations change it in place and answer 0 or an errno, in which case nothing has
// changed; [FS.Clone] keeps a state. Nodes that lost their last name stay, for those who have them open.
// An FS is for one goroutine.
type FS struct {
	nodes map[ID]*Node
	next  ID
	// Now is the time that operations note as the earliest for what they modify, by the clock that the kernel uses.
	Now time.Time
}

// New returns an empty tree. The mode, owner and group are those of the top directory.
func New(mode, uid, gid uint32) *FS {
	root := &Node{ID: Root, Mode: unix.S_IFDIR | mode, UID: uid, GID: gid, Nlink: 2, Entries: map[string]ID{}}
	return &FS{nodes: map[ID]*Node{Root: root}, next: Root + 1}
}

// Clone returns a copy that later changes of either do not touch.
func (f *FS) Clone() *FS {
	return &FS{nodes: maps.Clone(f.nodes), next: f.next, Now: f.Now}
}

// Node returns a node, nil if there is none of that ID. The caller must not modify it.
func (f *FS) Node(id ID) *Node { return f.nodes[id] }

// Paths returns the path of every name in the tree with its node, sorted; the root is not among them.
func (f *FS) Paths() []Path {
	var list []Path
	f.walk(Root, "", &list)
	return list
}

// Path is a name in the tree.
type Path struct {
	Path string
	Node *Node
}

func (f *FS) walk(dir ID, prefix string, list *[]Path) {
	entries := f.nodes[dir].Entries
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		n := f.nodes[entries[name]]
		*list = append(*list, Path{prefix + name, n})
		if n.IsDir() {
			f.walk(n.ID, prefix+name+"/", list)
		}
	}
}

// edit gives this state a copy of a node of its own.
func (f *FS) edit(id ID) *Node {
	n := *f.nodes[id]
	n.Xattrs = maps.Clone(n.Xattrs)
	n.Entries = maps.Clone(n.Entries)
	f.nodes[id] = &n
	return &n
}

// touch notes that the mtime of a node changes now.
func (f *FS) touch(id ID) *Node {
	n := f.edit(id)
	n.Mtime = Mtime{NotBefore: f.Now}
	return n
}

// maybeTouch notes that the mtime of a node may change now.
func (f *FS) maybeTouch(id ID) *Node {
	n := f.edit(id)
	n.Mtime = Mtime{}
	return n
}

// SetData replaces what is known of a file's contents, and forgets its mtime.
func (f *FS) SetData(id ID, d *Data) { f.maybeTouch(id).Data = d }

// ForgetTimes forgets what is known of all mtimes.
func (f *FS) ForgetTimes() {
	for id := range f.nodes {
		f.maybeTouch(id)
	}
}

// DropNameless forgets the nodes that have no name, as when nothing is open any more.
func (f *FS) DropNameless() {
	named := map[ID]bool{Root: true}
	for _, p := range f.Paths() {
		named[p.Node.ID] = true
	}
	maps.DeleteFunc(f.nodes, func(id ID, _ *Node) bool { return !named[id] })
}

// place is where a path leads: a name in a directory, and the node there (0 if none).
type place struct {
	parent ID
	name   string
	node   ID
}

// links says what to do with a symlink in the last component of a path.
type links int

const (
	follow links = iota
	noFollow
)

// resolve walks a path from the root as the kernel does. The last component may be missing: then node is 0. If it is
// only the last component that cannot be, the parent is told with the error.
func (f *FS) resolve(path string, last links) (place, syscall.Errno) {
	hops := 0
	return f.resolveFrom([]ID{Root}, path, last, &hops)
}

// resolveFrom walks from the directory on top of stack, which lists its ancestors.
func (f *FS) resolveFrom(stack []ID, path string, last links, hops *int) (place, syscall.Errno) {
	if strings.HasPrefix(path, "/") {
		return place{}, ErrOutside
	}
	parts := strings.Split(path, "/")
	for i, name := range parts {
		final := i == len(parts)-1
		dir := stack[len(stack)-1]
		if name == ".." {
			if len(stack) == 1 {
				return place{}, ErrOutside
			}
			stack = stack[:len(stack)-1]
			if final {
				return place{}, ErrOutside // not an operand that the test needs
			}
			continue
		}
		if len(name) > nameMax {
			if final {
				return place{parent: dir, name: name}, unix.ENAMETOOLONG
			}
			return place{}, unix.ENAMETOOLONG
		}
		id, ok := f.nodes[dir].Entries[name]
		if !ok {
			if final {
				return place{parent: dir, name: name}, 0
			}
			return place{}, unix.ENOENT
		}
		n := f.nodes[id]
		if n.Type() == unix.S_IFLNK && (!final || last == follow) {
			if *hops++; *hops > linkHops {
				return place{}, unix.ELOOP
			}
			p, errno := f.resolveFrom(slices.Clone(stack), n.Target, follow, hops)
			if errno != 0 || final {
				return p, errno
			}
			if p.node == 0 {
				return place{}, unix.ENOENT
			}
			if n = f.nodes[p.node]; !n.IsDir() {
				return place{}, unix.ENOTDIR
			}
			// The ancestors of where a link led are found by their names: none has two parents.
			stack = f.ancestry(n.ID)
			continue
		}
		if final {
			return place{parent: dir, name: name, node: id}, 0
		}
		if !n.IsDir() {
			return place{}, unix.ENOTDIR
		}
		stack = append(stack, id)
	}
	return place{}, ErrOutside
}

// ancestry lists the directories from the root down to dir.
func (f *FS) ancestry(dir ID) []ID {
	if dir == Root {
		return []ID{Root}
	}
	for id, n := range f.nodes {
		for _, child := range n.Entries {
			if child == dir {
				return append(f.ancestry(id), dir)
			}
		}
	}
	return nil
}

// existing resolves a path to a node that is there and not the root.
func (f *FS) existing(path string, last links) (place, syscall.Errno) {
	p, errno := f.resolve(path, last)
	switch {
	case errno != 0:
		return p, errno
	case p.node == 0:
		return p, unix.ENOENT
	}
	return p, 0
}

// Lookup returns the node at a path, following a last symlink or not.
func (f *FS) Lookup(path string, followLast bool) (*Node, syscall.Errno) {
	last := noFollow
	if followLast {
		last = follow
	}
	p, errno := f.existing(path, last)
	if errno != 0 {
		return nil, errno
	}
	return f.nodes[p.node], 0
}
