package disk

import (
	"sync"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// cacheTime is how long the kernel may remember: nobody else changes anything.
const cacheTime = 24 * time.Hour

// What statfs tells: a disk so small that a store takes small memtables and value log files, and goes through many of
// them in little time.
const (
	totalBlocks = 30_000
	freeBlocks  = 26_000
)

// tree answers the kernel from an image of the present and logs what changes it.
type tree struct {
	gofuse.RawFileSystem

	mu     sync.Mutex // guards what follows
	now    *image
	last   uint64 // number of the newest file
	log    []change
	gone   int // changes that were forgotten before the log begins
	fault  Fault
	failed int
	marks  marks
}

func newTree() *tree {
	return &tree{RawFileSystem: gofuse.NewDefaultRawFileSystem(), now: newImage(), last: rootNode}
}

// do makes a change and logs it. Guarded by mu.
func (t *tree) do(c change) {
	t.now.apply(c)
	t.log = append(t.log, c)
}

// mark counts a request as a marked point; see marks. Guarded by mu.
func (t *tree) mark(thread uint32, what func() string) (undone bool) {
	return t.marks.mark(thread, what)
}

// attr describes a file. Guarded by mu.
func (t *tree) attr(node uint64, out *gofuse.Attr) {
	f := t.now.file(node)
	*out = gofuse.Attr{Ino: node, Size: uint64(f.size), Blocks: uint64(len(f.pages)) * (pageSize / 512), Mode: unix.S_IFREG | 0o600, Nlink: 1, Blksize: pageSize}
	if f.entries != nil {
		out.Mode, out.Nlink = unix.S_IFDIR|0o700, 2
	}
}

// entry describes what a name leads to. Guarded by mu.
func (t *tree) entry(node uint64, out *gofuse.EntryOut) {
	out.NodeId = node
	out.SetEntryTimeout(cacheTime)
	out.SetAttrTimeout(cacheTime)
	t.attr(node, &out.Attr)
}

// Lookup finds a name.
func (t *tree) Lookup(_ <-chan struct{}, in *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	node, ok := t.now.file(in.NodeId).entries[name]
	if !ok {
		return gofuse.ENOENT
	}
	t.entry(node, out)
	return gofuse.OK
}

// make makes a file or a directory. Guarded by mu.
func (t *tree) make(c change, out *gofuse.EntryOut) gofuse.Status {
	if s, fails := t.fails(Make); fails {
		return s
	}
	if _, exists := t.now.file(c.node).entries[c.name]; exists {
		return gofuse.Status(unix.EEXIST)
	}
	t.last++
	c.child = t.last
	t.do(c)
	t.entry(c.child, out)
	return gofuse.OK
}

// Mkdir makes a directory.
func (t *tree) Mkdir(_ <-chan struct{}, in *gofuse.MkdirIn, name string, out *gofuse.EntryOut) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mark(in.Pid, named("mkdir", name)) {
		return gofuse.EINTR
	}
	return t.make(change{kind: link, node: in.NodeId, name: name, isDir: true}, out)
}

// Create makes a file and opens it.
func (t *tree) Create(_ <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mark(in.Pid, named("create", name)) {
		return gofuse.EINTR
	}
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	return t.make(change{kind: link, node: in.NodeId, name: name}, &out.EntryOut)
}

// Unlink removes the name of a file.
func (t *tree) Unlink(_ <-chan struct{}, in *gofuse.InHeader, name string) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.now.file(in.NodeId).entries[name]; !ok {
		return gofuse.ENOENT
	}
	if t.mark(in.Pid, named("unlink", name)) {
		return gofuse.EINTR
	}
	t.do(change{kind: unlink, node: in.NodeId, name: name})
	return gofuse.OK
}

// Rmdir removes an empty directory.
func (t *tree) Rmdir(cancel <-chan struct{}, in *gofuse.InHeader, name string) gofuse.Status {
	t.mu.Lock()
	full := len(t.now.file(t.now.file(in.NodeId).entries[name]).entries) > 0
	t.mu.Unlock()
	if full {
		return gofuse.Status(unix.ENOTEMPTY)
	}
	return t.Unlink(cancel, in, name)
}

// Rename gives a file another name, in the place of one that has it.
func (t *tree) Rename(_ <-chan struct{}, in *gofuse.RenameIn, name, newName string) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	child, ok := t.now.file(in.NodeId).entries[name]
	switch {
	case in.Flags != 0:
		return gofuse.EINVAL
	case !ok:
		return gofuse.ENOENT
	}
	if s, fails := t.fails(Name); fails {
		return s
	}
	if t.mark(in.Pid, named("rename", newName)) {
		return gofuse.EINTR
	}
	t.do(change{kind: rename, node: in.NodeId, name: name, child: child, toNode: in.Newdir, toName: newName})
	return gofuse.OK
}

// GetAttr answers stat(2).
func (t *tree) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attr(in.NodeId, &out.Attr)
	out.SetTimeout(cacheTime)
	return gofuse.OK
}

// SetAttr changes the size; other attributes do not matter to a store.
func (t *tree) SetAttr(_ <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		if t.mark(in.Pid, t.of("resize", in.NodeId)) {
			return gofuse.EINTR
		}
		if int64(size) > t.now.file(in.NodeId).size {
			if s, fails := t.fails(Make); fails {
				return s
			}
		}
		t.do(change{kind: resize, node: in.NodeId, off: int64(size)})
	}
	t.attr(in.NodeId, &out.Attr)
	out.SetTimeout(cacheTime)
	return gofuse.OK
}
