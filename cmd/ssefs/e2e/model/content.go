package model

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Write is pwrite(2) to an open file, or what a store to a mapping does.
func (f *FS) Write(id ID, off int64, b []byte) {
	d := f.nodes[id].Data.Write(off, b)
	n := f.touch(id)
	n.Data = d
}

// Append is write(2) to a file opened with O_APPEND; it returns where the bytes went.
func (f *FS) Append(id ID, b []byte) int64 {
	off := f.nodes[id].Data.Size()
	f.Write(id, off, b)
	return off
}

// Truncate is truncate(2).
func (f *FS) Truncate(path string, size int64) (ID, syscall.Errno) {
	p, errno := f.existing(path, follow)
	if errno != 0 {
		return 0, errno
	}
	switch n := f.nodes[p.node]; {
	case n.IsDir():
		return 0, unix.EISDIR
	case !n.IsRegular():
		return 0, unix.EINVAL
	}
	f.Ftruncate(p.node, size)
	return p.node, 0
}

// Ftruncate is ftruncate(2). A truncate to the same size may leave the mtime alone.
func (f *FS) Ftruncate(id ID, size int64) {
	old := f.nodes[id].Data
	if old.Size() == size {
		f.maybeTouch(id)
		return
	}
	n := f.touch(id)
	n.Data = old.Truncate(size)
}

// Fallocate is fallocate(2) with mode 0 or a combination of KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE that Linux accepts.
func (f *FS) Fallocate(id ID, mode uint32, off, length int64) {
	d := f.nodes[id].Data
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		d = d.Zero(off, length)
	}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 && off+length > d.Size() {
		d = d.Truncate(off + length)
	}
	f.maybeTouch(id).Data = d
}

// Copied notes the result of copy_file_range(2): n bytes, as the kernel answered.
func (f *FS) Copied(from ID, fromOff int64, to ID, toOff int64, n int) {
	if n == 0 {
		return
	}
	b := f.nodes[from].Data.Read(fromOff, n)
	f.Write(to, toOff, b)
}
