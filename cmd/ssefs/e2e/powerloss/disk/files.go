package disk

import (
	"slices"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Open opens a file. The node number is all that requests need.
func (t *tree) Open(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	return gofuse.OK
}

// Read reads contents.
func (t *tree) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, fails := t.fails(Read); fails {
		return nil, s
	}
	n := t.now.file(in.NodeId).read(buf, int64(in.Offset))
	return gofuse.ReadResultData(buf[:n]), gofuse.OK
}

// Write stores contents: of write(2), or mapped pages that the kernel writes back.
func (t *tree) Write(_ <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, fails := t.fails(Write); fails {
		return 0, s
	}
	if t.mark(in.Pid, t.of("write", in.NodeId)) {
		return 0, gofuse.EINTR
	}
	if len(data) > 1 && in.WriteFlags&gofuse.WRITE_CACHE == 0 {
		if _, short := t.fails(Short); short {
			data = data[:len(data)/2]
		}
	}
	t.do(change{kind: write, node: in.NodeId, off: int64(in.Offset), data: slices.Clone(data)})
	return uint32(len(data)), gofuse.OK
}

// Fallocate takes nothing, since this disk is never full, and may make a file longer.
func (t *tree) Fallocate(_ <-chan struct{}, in *gofuse.FallocateIn) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, fails := t.fails(Make); fails {
		return s
	}
	if t.mark(in.Pid, t.of("fallocate", in.NodeId)) {
		return gofuse.EINTR
	}
	end := int64(in.Offset + in.Length)
	switch {
	case in.Mode == unix.FALLOC_FL_KEEP_SIZE:
	case in.Mode != 0:
		return gofuse.Status(unix.EOPNOTSUPP)
	case end > t.now.file(in.NodeId).size:
		t.do(change{kind: resize, node: in.NodeId, off: end})
	}
	return gofuse.OK
}

// Fsync makes contents and size durable. The kernel has sent all that was dirty before.
func (t *tree) Fsync(_ <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return t.sync(syncFile, in)
}

// FsyncDir makes the entries of a directory durable.
func (t *tree) FsyncDir(_ <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	return t.sync(syncDir, in)
}

func (t *tree) sync(k kind, in *gofuse.FsyncIn) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, fails := t.fails(Sync); fails {
		return s
	}
	if t.mark(in.Pid, t.of("sync", in.NodeId)) {
		return gofuse.EINTR
	}
	t.do(change{kind: k, node: in.NodeId})
	return gofuse.OK
}

// Access is the kernel's to decide.
func (t *tree) Access(<-chan struct{}, *gofuse.AccessIn) gofuse.Status { return gofuse.OK }

// OpenDir opens a directory.
func (t *tree) OpenDir(<-chan struct{}, *gofuse.OpenIn, *gofuse.OpenOut) gofuse.Status {
	return gofuse.OK
}

// ReadDir lists a directory. An offset is the place of a name among those that are there now: what is removed meanwhile
// may make a reader miss a name, which a store does not mind.
func (t *tree) ReadDir(_ <-chan struct{}, in *gofuse.ReadIn, out *gofuse.DirEntryList) gofuse.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir := t.now.file(in.NodeId)
	names := dir.names()
	for i := in.Offset; i < uint64(len(names)); i++ {
		node := dir.entries[names[i]]
		mode := uint32(unix.S_IFREG)
		if t.now.file(node).entries != nil {
			mode = unix.S_IFDIR
		}
		if !out.AddDirEntry(gofuse.DirEntry{Name: names[i], Mode: mode, Ino: node, Off: i + 1}) {
			break
		}
	}
	return gofuse.OK
}

// StatFs tells of a small disk.
func (t *tree) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	*out = gofuse.StatfsOut{Blocks: totalBlocks, Bfree: freeBlocks, Bavail: freeBlocks, Files: 1 << 20, Ffree: 1 << 19, Bsize: pageSize, Frsize: pageSize, NameLen: 255}
	return gofuse.OK
}

// String names the file system in messages.
func (t *tree) String() string { return "powerloss" }
