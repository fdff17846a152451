package model

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const (
	// maxHandles bounds the open files of a check.
	maxHandles = 6
	// maxPages bounds the data of a file, so that whole files can be compared often.
	maxPages = 4096
)

// fill makes n bytes that do not repeat; seed 0 makes zeros.
func fill(seed uint64, n int) []byte {
	b := make([]byte, n)
	if seed == 0 {
		return b
	}
	src := rand.NewPCG(seed, uint64(n))
	var word [8]byte
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(word[:], src.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

// drawOffset draws a position near an edge of a block, of a data record or of nothing; now and then a far one, where
// a file's map needs another level.
func drawOffset(t *rapid.T, label string) int64 {
	edges := []int64{0, 4096, 8192, 65536, 128 << 10, 1 << 20, 2 << 20, 3 << 20}
	if rapid.IntRange(0, 19).Draw(t, label+" far") == 0 {
		edges = []int64{8 << 20, 256 << 20, 64 << 30, 8 << 40}
	}
	edge := rapid.SampledFrom(edges).Draw(t, label+" edge")
	near := rapid.SampledFrom([]int64{0, -1, 1, -100, 1000, 4096, -4096, 12288}).Draw(t, label+" near")
	return max(0, edge+near)
}

func drawLength(t *rapid.T) int {
	return rapid.SampledFrom([]int{1, 2, 100, 4095, 4096, 4097, 8192, 10000, 65536, 70001, 131072, 1<<20 + 4097}).
		Draw(t, "length")
}

// openAt opens a path on both sides; nil means that it did not succeed.
func (m *machine) openAt(p string, flags int, mode uint32) *handle {
	m.t.Helper()
	h := &handle{fd: -1, flags: flags}
	created := false
	ok := m.do(operation{
		what: fmt.Sprintf("open %q %s %#o", p, openFlags(flags), mode),
		model: func(next *FS) (errno syscall.Errno) {
			h.file, created, errno = next.Open(p, flags, mode)
			if errno == 0 && !next.Node(h.file).IsRegular() {
				return ErrOutside
			}
			return errno
		},
		drive: func() (err error) {
			h.fd, err = unix.Open(m.at(p), flags|unix.O_CLOEXEC, mode)
			return err
		},
		namespace: flags&unix.O_CREAT != 0,
		changes: func(*FS) []Change {
			if flags&unix.O_TRUNC != 0 && !created {
				return []Change{{File: h.file, Effect: Truncated}}
			}
			return nil
		},
	})
	if !ok {
		return nil
	}
	m.handles = append(m.handles, h)
	return h
}

func openFlags(flags int) string {
	s := []string{"O_RDONLY", "O_WRONLY", "O_RDWR"}[flags&unix.O_ACCMODE]
	for _, f := range []struct {
		bit  int
		name string
	}{{unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"},
		{unix.O_SYNC, "O_SYNC"}} {
		if flags&f.bit == f.bit {
			s += "|" + f.name
		}
	}
	return s
}

func drawAccess(t *rapid.T) int {
	flags := rapid.SampledFrom([]int{unix.O_RDWR, unix.O_RDWR, unix.O_WRONLY, unix.O_RDONLY}).Draw(t, "access")
	for _, f := range []int{unix.O_APPEND, unix.O_SYNC, unix.O_TRUNC} {
		if rapid.IntRange(0, 7).Draw(t, "flag") == 0 {
			flags |= f
		}
	}
	return flags
}

func (m *machine) create(t *rapid.T) {
	if len(m.handles) >= maxHandles {
		m.close(t)
		return
	}
	flags := drawAccess(t) | unix.O_CREAT
	if rapid.Bool().Draw(t, "exclusive") {
		flags |= unix.O_EXCL
	}
	m.openAt(m.newPath(t, "path"), flags, drawMode(t))
}

func (m *machine) open(t *rapid.T) {
	if len(m.handles) >= maxHandles {
		m.close(t)
		return
	}
	m.openAt(m.filePath(t, "path"), drawAccess(t), 0)
}

func (m *machine) tmpfile(t *rapid.T) {
	if len(m.handles) >= maxHandles {
		nothing("enough open files")
	}
	dir, mode := m.anyPath(t, "dir"), drawMode(t)
	h := &handle{fd: -1, flags: unix.O_RDWR}
	ok := m.do(operation{
		what:  fmt.Sprintf("open O_TMPFILE in %q %#o", dir, mode),
		model: func(next *FS) (errno syscall.Errno) { h.file, errno = next.Tmpfile(dir, mode); return errno },
		drive: func() (err error) {
			h.fd, err = unix.Open(m.at(dir), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
			return err
		},
	})
	if ok {
		m.handles = append(m.handles, h)
		m.linkable[h.file] = true
	}
}

// linkOpen gives a name to an open file.
func (m *machine) linkOpen(t *rapid.T) {
	h := m.anyHandle(t)
	p := m.newPath(t, "path")
	ok := m.do(operation{
		what:  fmt.Sprintf("link open file %d to %q", h.file, p),
		model: func(next *FS) syscall.Errno { return next.LinkOpen(h.file, p, m.linkable[h.file]) },
		drive: func() error {
			return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", h.fd), unix.AT_FDCWD, m.at(p),
				unix.AT_SYMLINK_FOLLOW)
		},
		namespace: true,
	})
	if ok {
		delete(m.linkable, h.file)
	}
}

func (m *machine) anyHandle(t *rapid.T) *handle {
	if len(m.handles) == 0 {
		nothing("nothing is open")
	}
	return rapid.SampledFrom(m.handles).Draw(t, "handle")
}

func (m *machine) close(t *rapid.T) { m.closeHandle(m.anyHandle(t)) }

func (m *machine) closeHandle(h *handle) {
	m.t.Helper()
	for i, o := range m.handles {
		if o == h {
			m.handles = append(m.handles[:i:i], m.handles[i+1:]...)
		}
	}
	m.do(operation{
		what:    fmt.Sprintf("close file %d", h.file),
		model:   func(*FS) syscall.Errno { return 0 },
		drive:   func() error { return unix.Close(h.fd) },
		changes: func(*FS) []Change { return []Change{{File: h.file, Effect: Flushed}} },
	})
}

func (m *machine) write(t *rapid.T) {
	h := m.anyHandle(t)
	off, n := drawOffset(t, "offset"), drawLength(t)
	m.mustFit(h.file)
	m.writeAt(h, off, rapid.Uint64().Draw(t, "seed"), n)
}

// mustFit ends an action that would write to a file that is large enough.
func (m *machine) mustFit(file ID) {
	if len(m.fs.Node(file).Data.Pages()) > maxPages {
		nothing("large enough")
	}
}

// writeAt writes through a handle, at the end if it appends.
func (m *machine) writeAt(h *handle, off int64, seed uint64, n int) {
	m.t.Helper()
	b := fill(seed, n)
	m.do(operation{
		what: fmt.Sprintf("write file %d %s at %d, %d bytes of seed %d", h.file, openFlags(h.flags), off, n, seed),
		model: func(next *FS) syscall.Errno {
			switch {
			case !h.writable():
				return unix.EBADF
			case h.flags&unix.O_APPEND != 0:
				off = next.Append(h.file, b)
			default:
				next.Write(h.file, off, b)
			}
			return 0
		},
		drive: func() error { return pwriteAll(h.fd, b, off) },
		changes: func(*FS) []Change {
			c := Change{File: h.file, Effect: Wrote, Off: off, Len: int64(n)}
			if !h.synced() {
				return []Change{c}
			}
			synced := c
			synced.Effect = SyncedRange
			return []Change{c, synced}
		},
	})
}

func pwriteAll(fd int, b []byte, off int64) error {
	n, err := unix.Pwrite(fd, b, off)
	if err == nil && n != len(b) {
		return fmt.Errorf("short write, %d of %d: %w", n, len(b), unix.EIO)
	}
	return err
}

func (m *machine) read(t *rapid.T) {
	h := m.anyHandle(t)
	off, n := drawOffset(t, "offset"), drawLength(t)
	buf := make([]byte, n)
	got, err := unix.Pread(h.fd, buf, off)
	m.log = append(m.log, fmt.Sprintf("    read file %d at %d, %d bytes: %d, %v", h.file, off, n, got, err))
	if !h.readable() {
		if !errors.Is(err, unix.EBADF) {
			m.fail("read of a file open for writing only: %v, want EBADF", err)
		}
		return
	}
	if err != nil {
		m.noticeDeath(err, "read file %d", h.file)
		return
	}
	want := m.fs.Node(h.file).Data.Read(off, n)
	if !bytes.Equal(buf[:got], want) {
		at := 0
		for at < min(got, len(want)) && buf[at] == want[at] {
			at++
		}
		m.fail("read file %d at %d: %d bytes, want %d; the first difference is at %d", h.file, off, got, len(want),
			off+int64(at))
	}
}

func (m *machine) truncate(t *rapid.T) {
	p, size := m.filePath(t, "path"), drawOffset(t, "size")
	var file ID
	m.do(operation{
		what: fmt.Sprintf("truncate %q %d", p, size),
		model: func(next *FS) (errno syscall.Errno) {
			file, errno = next.Truncate(p, size)
			return errno
		},
		drive:   func() error { return unix.Truncate(m.at(p), size) },
		changes: func(*FS) []Change { return []Change{{File: file, Effect: Truncated, Len: size}} },
	})
}

func (m *machine) ftruncate(t *rapid.T) {
	h, size := m.anyHandle(t), drawOffset(t, "size")
	m.do(operation{
		what: fmt.Sprintf("ftruncate file %d %d", h.file, size),
		model: func(next *FS) syscall.Errno {
			if !h.writable() {
				return unix.EINVAL
			}
			next.Ftruncate(h.file, size)
			return 0
		},
		drive:   func() error { return unix.Ftruncate(h.fd, size) },
		changes: func(*FS) []Change { return []Change{{File: h.file, Effect: Truncated, Len: size}} },
	})
}

func (m *machine) fallocate(t *rapid.T) {
	h := m.anyHandle(t)
	mode := rapid.SampledFrom([]uint32{
		0, unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE,
		unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE,
	}).Draw(t, "mode")
	off, n := drawOffset(t, "offset"), int64(drawLength(t))
	c := Change{File: h.file, Effect: Zeroed, Off: off}
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		c.Len = n
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		c.Grown = off + n
	}
	m.do(operation{
		what: fmt.Sprintf("fallocate file %d mode %d at %d, %d bytes", h.file, mode, off, n),
		model: func(next *FS) syscall.Errno {
			if !h.writable() {
				return unix.EBADF
			}
			next.Fallocate(h.file, mode, off, n)
			return 0
		},
		drive:   func() error { return unix.Fallocate(h.fd, mode, off, n) },
		changes: func(*FS) []Change { return []Change{c} },
	})
}
