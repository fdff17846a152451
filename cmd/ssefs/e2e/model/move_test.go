package model

import (
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// direct writes around the kernel's cache.
func (m *machine) direct(t *rapid.T) {
	p := m.filePath(t, "path")
	n, errno := m.fs.Lookup(p, true)
	if errno != 0 || !n.IsRegular() {
		nothing("no file")
	}
	off := drawOffset(t, "offset") / PageSize * PageSize
	size := rapid.SampledFrom([]int{1, 2, 17, 257}).Draw(t, "pages") * PageSize
	seed := rapid.Uint64().Draw(t, "seed")
	b := fill(seed, size)
	buf, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		m.fail("memory for O_DIRECT: %v", err)
	}
	defer func() { _ = unix.Munmap(buf) }()
	copy(buf, b)
	m.do(operation{
		what:  fmt.Sprintf("write %q with O_DIRECT at %d, %d bytes of seed %d", p, off, size, seed),
		model: func(next *FS) syscall.Errno { next.Write(n.ID, off, b); return 0 },
		drive: func() error {
			fd, err := unix.Open(m.at(p), unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return errors.Join(pwriteAll(fd, buf, off), unix.Close(fd))
		},
		changes: func(*FS) []Change {
			return []Change{{File: n.ID, Effect: WroteThrough, Off: off, Len: int64(size)}, {File: n.ID, Effect: Flushed}}
		},
	})
}

// copyRange copies between open files within the drive.
func (m *machine) copyRange(t *rapid.T) {
	from, to := m.anyHandle(t), rapid.SampledFrom(m.handles).Draw(t, "to")
	fromOff, toOff, n := drawOffset(t, "from"), drawOffset(t, "into"), drawLength(t)
	m.mustFit(to.file)
	src := m.fs.Node(from.file).Data
	there := int(max(0, min(int64(n), src.Size()-fromOff)))
	overlap := from.file == to.file && fromOff < toOff+int64(n) && toOff < fromOff+int64(n)
	copied := 0
	m.do(operation{
		what: fmt.Sprintf("copy_file_range file %d at %d to file %d at %d, %d bytes", from.file, fromOff, to.file, toOff, n),
		model: func(next *FS) syscall.Errno {
			switch {
			case !from.readable() || !to.writable() || to.flags&unix.O_APPEND != 0:
				return unix.EBADF
			case overlap:
				// The kernel shortens the range at the end of the source before it looks for an overlap.
				if fromOff < toOff+int64(there) && toOff < fromOff+int64(there) {
					return unix.EINVAL
				}
				return ErrOutside
			}
			next.Copied(from.file, fromOff, to.file, toOff, there)
			return 0
		},
		drive: func() error {
			for ask := n; ; ask = there - copied {
				in, out := fromOff+int64(copied), toOff+int64(copied)
				k, err := unix.CopyFileRange(from.fd, &in, to.fd, &out, ask, 0)
				if err != nil {
					return err
				}
				copied += k
				if k == 0 || copied >= there {
					break
				}
			}
			if copied != there {
				return fmt.Errorf("copied %d of %d", copied, there)
			}
			return nil
		},
		changes: func(*FS) []Change {
			if there == 0 {
				return nil
			}
			return []Change{{File: to.file, Effect: Wrote, Off: toOff, Len: int64(there)}}
		},
	})
}

// mapped reads and writes a file through a shared mapping.
func (m *machine) mapped(t *rapid.T) {
	if m.killing {
		nothing("a mapping of a dead drive is a signal, not an error")
	}
	h := m.anyHandle(t)
	size := m.fs.Node(h.file).Data.Size()
	if h.flags&unix.O_ACCMODE != unix.O_RDWR || size == 0 {
		nothing("nothing to map")
	}
	off := min(drawOffset(t, "offset"), size-1)
	n := int(min(int64(drawLength(t)), size-off))
	seed := rapid.Uint64().Draw(t, "seed")
	syncIt := rapid.IntRange(0, 3).Draw(t, "msync") == 0
	b := fill(seed, n)
	first := off / PageSize * PageSize
	length := int(off-first) + n
	m.do(operation{
		what:  fmt.Sprintf("store to a mapping of file %d at %d, %d bytes of seed %d, msync %t", h.file, off, n, seed, syncIt),
		model: func(next *FS) syscall.Errno { next.Write(h.file, off, b); return 0 },
		drive: func() (err error) {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			mem, err := unix.Mmap(h.fd, first, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, unix.Munmap(mem)) }()
			if err := m.mappedTail(h, mem, first); err != nil {
				return err
			}
			copy(mem[off-first:], b)
			if syncIt {
				return unix.Msync(mem, unix.MS_SYNC)
			}
			return nil
		},
		changes: func(*FS) []Change {
			c := []Change{{File: h.file, Effect: WroteMapped, Off: off, Len: int64(n)}}
			if syncIt {
				c = append(c, Change{File: h.file, Effect: SyncedRange, Off: first, Len: int64(length)})
			}
			return c
		},
	})
}

// mappedTail compares what a mapping shows before the store, up to the end of its last page: beyond the end of the file
// there are zeros.
func (m *machine) mappedTail(h *handle, mem []byte, first int64) error {
	whole := unsafe.Slice(unsafe.SliceData(mem), (len(mem)+PageSize-1)/PageSize*PageSize)
	data := m.fs.Node(h.file).Data
	want := make([]byte, len(whole))
	copy(want, data.Read(first, len(whole)))
	for i := range whole {
		if whole[i] != want[i] {
			return fmt.Errorf("the mapping shows %#x at %d (the size is %d), want %#x", whole[i], first+int64(i),
				data.Size(), want[i])
		}
	}
	return nil
}

// holes checks what SEEK_DATA and SEEK_HOLE say: outside of data there are zeros, and the end counts as a hole.
func (m *machine) holes(t *rapid.T) {
	h := m.anyHandle(t)
	data := m.fs.Node(h.file).Data
	size := data.Size()
	pos := int64(0)
	for pos < size {
		start, err := unix.Seek(h.fd, pos, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			start, err = size, nil
		}
		if err != nil {
			m.noticeDeath(err, "SEEK_DATA in file %d", h.file)
			return
		}
		for _, p := range data.Pages() {
			if p*PageSize >= pos && (p+1)*PageSize <= start && !samePage(data.Page(p), nil) {
				m.fail("file %d: SEEK_DATA says there is a hole from %d to %d, but page %d has data", h.file, pos, start, p)
			}
		}
		if start >= size {
			break
		}
		end, err := unix.Seek(h.fd, start, unix.SEEK_HOLE)
		if err != nil {
			m.noticeDeath(err, "SEEK_HOLE in file %d", h.file)
			return
		}
		if end <= start || end > size {
			m.fail("file %d: SEEK_HOLE from %d says %d, the size is %d", h.file, start, end, size)
		}
		pos = end
	}
	if _, err := unix.Seek(h.fd, size, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		m.noticeDeath(err, "SEEK_DATA at the end of file %d does not answer ENXIO", h.file)
	}
}

func (m *machine) fsync(t *rapid.T) { m.fsyncHandle(m.anyHandle(t)) }

func (m *machine) fsyncHandle(h *handle) {
	m.t.Helper()
	m.do(operation{
		what:    fmt.Sprintf("fsync file %d", h.file),
		model:   func(*FS) syscall.Errno { return 0 },
		drive:   func() error { return unix.Fsync(h.fd) },
		changes: func(*FS) []Change { return []Change{{File: h.file, Effect: Synced}} },
	})
}

func (m *machine) fsyncDir(t *rapid.T) {
	p := m.anyPath(t, "dir")
	if n, errno := m.fs.Lookup(p, false); errno != 0 || !n.IsDir() {
		p = ""
	}
	m.syncDir(p)
}

// syncDir syncs a directory that is there; the empty path is the top.
func (m *machine) syncDir(p string) {
	m.t.Helper()
	n := m.fs.Node(Root)
	if p != "" {
		n, _ = m.fs.Lookup(p, true)
	}
	ok := m.do(operation{
		what:  fmt.Sprintf("fsync directory %q", p),
		model: func(*FS) syscall.Errno { return 0 },
		drive: func() error {
			fd, err := unix.Open(m.at(p), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Fsync(fd), unix.Close(fd))
		},
	})
	if ok {
		m.history.SyncNode(n.ID)
	}
}

// evict hands a file's dirty pages to the daemon and drops them from the kernel's cache: the next read has to come
// from the daemon, durable or not.
func (m *machine) evict(t *rapid.T) {
	h := m.anyHandle(t)
	m.do(operation{
		what:  fmt.Sprintf("write back and drop the pages of file %d", h.file),
		model: func(*FS) syscall.Errno { return 0 },
		drive: func() error {
			const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
			if err := unix.SyncFileRange(h.fd, 0, 0, all); err != nil {
				return err
			}
			return unix.Fadvise(h.fd, 0, 0, unix.FADV_DONTNEED)
		},
		changes: func(*FS) []Change { return []Change{{File: h.file, Effect: Flushed}} },
	})
}
