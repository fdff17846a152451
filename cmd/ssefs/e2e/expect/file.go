package expect

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// File is an open file descriptor whose calls have to succeed.
type File struct {
	t      testing.TB
	Fd     int
	path   string
	closed bool
}

// Open opens a file. It is closed at the test's end at the latest.
func Open(t testing.TB, path string, flags int, mode uint32) *File {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
	OK(t, err, "open %s", path)
	f := &File{t: t, Fd: fd, path: path}
	t.Cleanup(func() {
		if !f.closed {
			_ = unix.Close(f.Fd) // not the subject: a test that checks close calls Close
		}
	})
	return f
}

// Create makes a new file, open for reading and writing, with mode 0644.
func Create(t testing.TB, path string) *File {
	t.Helper()
	return Open(t, path, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o644)
}

// Close closes the file.
func (f *File) Close() {
	f.t.Helper()
	f.closed = true
	OK(f.t, unix.Close(f.Fd), "close %s", f.path)
}

// Drop closes the file and does not mind an error: the drive behind it is gone.
func (f *File) Drop() {
	f.closed = true
	_ = unix.Close(f.Fd)
}

// Write writes all of b at the file's offset.
func (f *File) Write(b []byte) {
	f.t.Helper()
	n, err := unix.Write(f.Fd, b)
	OK(f.t, err, "write to %s", f.path)
	Equal(f.t, n, len(b), "bytes written to %s", f.path)
}

// Pwrite writes all of b at off.
func (f *File) Pwrite(b []byte, off int64) {
	f.t.Helper()
	n, err := unix.Pwrite(f.Fd, b, off)
	OK(f.t, err, "write to %s at %d", f.path, off)
	Equal(f.t, n, len(b), "bytes written to %s at %d", f.path, off)
}

// Pread returns up to n bytes at off: fewer only at the end of the file.
func (f *File) Pread(n int, off int64) []byte {
	f.t.Helper()
	b := make([]byte, n)
	done := 0
	for done < n {
		m, err := unix.Pread(f.Fd, b[done:], off+int64(done))
		OK(f.t, err, "read %s at %d", f.path, off+int64(done))
		if m == 0 {
			break
		}
		done += m
	}
	return b[:done]
}

// Truncate sets the file's size.
func (f *File) Truncate(size int64) {
	f.t.Helper()
	OK(f.t, unix.Ftruncate(f.Fd, size), "truncate %s to %d", f.path, size)
}

// Sync makes the file durable.
func (f *File) Sync() {
	f.t.Helper()
	OK(f.t, unix.Fsync(f.Fd), "fsync %s", f.path)
}

// Stat returns the file's attributes.
func (f *File) Stat() unix.Stat_t {
	f.t.Helper()
	var st unix.Stat_t
	OK(f.t, unix.Fstat(f.Fd, &st), "fstat %s", f.path)
	return st
}

// SeekTo moves the file's offset; whence may be SEEK_DATA or SEEK_HOLE.
func (f *File) SeekTo(off int64, whence int) int64 {
	f.t.Helper()
	n, err := unix.Seek(f.Fd, off, whence)
	OK(f.t, err, "seek %s to %d, whence %d", f.path, off, whence)
	return n
}

// Stat returns the attributes of what path leads to.
func Stat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	OK(t, unix.Stat(path, &st), "stat %s", path)
	return st
}

// Lstat returns the attributes of path itself.
func Lstat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	OK(t, unix.Lstat(path, &st), "lstat %s", path)
	return st
}

// Write makes or replaces a file with mode 0644.
func Write(t testing.TB, path string, data []byte) {
	t.Helper()
	OK(t, os.WriteFile(path, data, 0o644), "write %s", path)
}

// Read returns a file's contents.
func Read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	OK(t, err, "read %s", path)
	return b
}

// Contents marks the test failed unless the file holds want.
func Contents(t testing.TB, path string, want []byte) {
	t.Helper()
	Bytes(t, Read(t, path), want, "contents of %s", path)
}

// Missing marks the test failed if path exists.
func Missing(t testing.TB, path string) {
	t.Helper()
	var st unix.Stat_t
	Errno(t, unix.Lstat(path, &st), unix.ENOENT, "lstat %s", path)
}

// Mkdir makes a directory with mode 0755.
func Mkdir(t testing.TB, path string) string {
	t.Helper()
	OK(t, unix.Mkdir(path, 0o755), "mkdir %s", path)
	return path
}

// Names returns the names in a directory, without dot and dot-dot, in the order the kernel gives them.
func Names(t testing.TB, path string) []string {
	t.Helper()
	f, err := os.Open(path)
	OK(t, err, "open %s", path)
	names, err := f.Readdirnames(-1)
	OK(t, err, "list %s", path)
	OK(t, f.Close(), "close %s", path)
	return names
}
