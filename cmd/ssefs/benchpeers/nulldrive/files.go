package main

import (
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Create makes a file and opens it.
func (d *drive) Create(_ <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	_, s := d.make(&in.InHeader, name, unix.S_IFREG|in.Mode&^in.Umask&0o7777, 0, "", &out.EntryOut)
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	return s
}

// Open opens a file. The node number is all that requests need.
func (d *drive) Open(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
	return gofuse.OK
}

// Release closes a file.
func (d *drive) Release(<-chan struct{}, *gofuse.ReleaseIn) {}

// Flush is refused once for all, as ssefs does.
func (d *drive) Flush(<-chan struct{}, *gofuse.FlushIn) gofuse.Status { return gofuse.ENOSYS }

// Fsync has nothing to do.
func (d *drive) Fsync(<-chan struct{}, *gofuse.FsyncIn) gofuse.Status { return gofuse.OK }

// Access is the kernel's to decide.
func (d *drive) Access(<-chan struct{}, *gofuse.AccessIn) gofuse.Status { return gofuse.OK }

// Read reads contents.
func (d *drive) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	n := d.node(in.NodeId)
	if n == nil {
		return nil, gofuse.Status(unix.ESTALE)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if in.Offset >= n.attr.Size {
		return gofuse.ReadResultData(nil), gofuse.OK
	}
	buf = buf[:min(uint64(len(buf)), n.attr.Size-in.Offset)]
	for done := 0; done < len(buf); {
		at := in.Offset + uint64(done)
		i, off := at/chunkSize, at%chunkSize
		part := buf[done:min(len(buf), done+int(chunkSize-off))]
		copied := 0
		if i < uint64(len(n.chunks)) && off < uint64(len(n.chunks[i])) {
			copied = copy(part, n.chunks[i][off:])
		}
		clear(part[copied:])
		done += len(part)
	}
	return gofuse.ReadResultData(buf), gofuse.OK
}

// Write stores contents.
func (d *drive) Write(_ <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	n := d.node(in.NodeId)
	if n == nil {
		return 0, gofuse.Status(unix.ESTALE)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	size := uint32(len(data))
	for at := in.Offset; len(data) > 0; {
		i, off := at/chunkSize, at%chunkSize
		part := data[:min(len(data), int(chunkSize-off))]
		n.grow(i, off+uint64(len(part)))
		copy(n.chunks[i][off:], part)
		at += uint64(len(part))
		data = data[len(part):]
	}
	n.attr.Size = max(n.attr.Size, in.Offset+uint64(size))
	n.attr.Blocks = (n.attr.Size + 511) / 512
	return size, gofuse.OK
}

// grow makes the first bytes of a chunk be there. A small file does not take a whole one.
func (n *node) grow(i, bytes uint64) {
	for uint64(len(n.chunks)) <= i {
		n.chunks = append(n.chunks, nil)
	}
	switch have := uint64(len(n.chunks[i])); {
	case have == chunkSize || have >= bytes && i == 0:
	case have == 0 && i == 0 && bytes <= 4096:
		n.chunks[i] = make([]byte, 4096)
	default:
		whole := make([]byte, chunkSize)
		copy(whole, n.chunks[i])
		n.chunks[i] = whole
	}
}

// GetAttr answers stat(2).
func (d *drive) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	n := d.node(in.NodeId)
	if n == nil {
		return gofuse.Status(unix.ESTALE)
	}
	n.mu.RLock()
	out.Attr = n.attr
	n.mu.RUnlock()
	out.SetTimeout(cacheTime)
	return gofuse.OK
}

// SetAttr changes attributes.
func (d *drive) SetAttr(_ <-chan struct{}, in *gofuse.SetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	n := d.node(in.NodeId)
	if n == nil {
		return gofuse.Status(unix.ESTALE)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.touchChanged(time.Now())
	if mode, ok := in.GetMode(); ok {
		n.attr.Mode = n.attr.Mode&unix.S_IFMT | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		n.attr.Uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		n.attr.Gid = gid
	}
	if t, ok := in.GetATime(); ok {
		n.attr.Atime, n.attr.Atimensec = uint64(t.Unix()), uint32(t.Nanosecond())
	}
	if t, ok := in.GetMTime(); ok {
		n.attr.Mtime, n.attr.Mtimensec = uint64(t.Unix()), uint32(t.Nanosecond())
	}
	if size, ok := in.GetSize(); ok {
		n.truncate(size)
	}
	out.Attr = n.attr
	out.SetTimeout(cacheTime)
	return gofuse.OK
}

func (n *node) touchChanged(now time.Time) {
	n.attr.Ctime, n.attr.Ctimensec = uint64(now.Unix()), uint32(now.Nanosecond())
}

// truncate sets the size. What lies behind it is zero when the file grows again.
func (n *node) truncate(size uint64) {
	if size < n.attr.Size {
		whole := (size + chunkSize - 1) / chunkSize
		if whole < uint64(len(n.chunks)) {
			n.chunks = n.chunks[:whole]
		}
		if i := size / chunkSize; i < uint64(len(n.chunks)) && size%chunkSize < uint64(len(n.chunks[i])) {
			clear(n.chunks[i][size%chunkSize:])
		}
	}
	n.attr.Size = size
	n.attr.Blocks = (size + 511) / 512
}

// GetXAttr finds none: nobody can set one.
func (d *drive) GetXAttr(<-chan struct{}, *gofuse.InHeader, string, []byte) (uint32, gofuse.Status) {
	return 0, gofuse.ENODATA
}

// ListXAttr lists none.
func (d *drive) ListXAttr(<-chan struct{}, *gofuse.InHeader, []byte) (uint32, gofuse.Status) {
	return 0, gofuse.OK
}

// SetXAttr is not supported. ENOSYS would spare the kernel from asking for any, which ssefs cannot.
func (d *drive) SetXAttr(<-chan struct{}, *gofuse.SetXAttrIn, string, []byte) gofuse.Status {
	return gofuse.Status(unix.EOPNOTSUPP)
}

// StatFs tells of a large disk.
func (d *drive) StatFs(_ <-chan struct{}, _ *gofuse.InHeader, out *gofuse.StatfsOut) gofuse.Status {
	*out = gofuse.StatfsOut{Blocks: 1 << 30, Bfree: 1 << 29, Bavail: 1 << 29, Files: 1 << 30, Ffree: 1 << 29, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return gofuse.OK
}

// String names the file system in messages.
func (d *drive) String() string { return "nulldrive" }
