package forgery

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// writeOver changes, and then removes, everything that was attacked. Each change is made or refused with EIO, and none of
// them costs the others the drive: what is whole can still be changed, durably.
func writeOver(t *testing.T, s *site, v *victim, hit []target) {
	t.Helper()
	if !v.mount() {
		t.Fatalf("the store with forged records of files is not mounted: %s", v.printed)
	}
	allowed := func(err error, what, path string) {
		t.Helper()
		if err != nil && !errors.Is(err, unix.EIO) {
			t.Errorf("%s %s: %s", what, path, expect.Describe(err))
		}
	}
	for _, x := range hit {
		allowed(scribble(filepath.Join(v.point, x.file())), "write to", x.file())
		for _, name := range []string{"a", "b"} {
			path := filepath.Join(v.point, x.dir(), name)
			if err := unix.Lstat(path, new(unix.Stat_t)); err != nil {
				continue
			}
			err := unix.Lsetxattr(path, "trusted.forgery", []byte("x"), 0)
			allowed(err, "set an xattr of", x.dir())
			allowed(unix.Rename(path, path+".renamed"), "rename", x.dir())
			_ = unix.Rename(path+".renamed", path) // back, if it went well
		}
	}
	whole := filepath.Join(v.point, "AES256", "whole")
	data := expect.Random(7, 50_000)
	f := expect.Create(t, whole)
	f.Pwrite(data, 0)
	f.Sync()
	f.Close()
	r := drive.CLI(t, "sync", v.point)
	expect.Equal(t, r.Code, 0, "exit of sync: %s", r.Stderr)
	for _, x := range hit {
		for _, name := range []string{"a", "b", "a/in"} {
			err := unix.Unlink(filepath.Join(v.point, x.dir(), name))
			if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.ENOTDIR) {
				allowed(err, "unlink", x.dir())
			}
		}
	}
	v.unmount()
	if !v.mount() {
		t.Fatalf("the store is not mounted any more: %s", v.printed)
	}
	expect.Contents(t, whole, data)
	found := look(v.point, s.is)
	v.unmount()
	for path, n := range found {
		right := s.is[path]
		if right == nil || right.mode&unix.S_IFMT == unix.S_IFDIR || slices.ContainsFunc(hit, func(x target) bool { return within(path, x.dir()) }) {
			continue
		}
		if d := n.differs(right); d != "" || len(n.failed) > 0 {
			t.Errorf("%s, which was not touched: %s %s", path, n.errors(), d)
		}
	}
}

// scribble writes a few bytes into each block that a file has at its start, and has them stored.
func scribble(path string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) {
		return nil // no file, or none any more
	}
	if err != nil {
		return err
	}
	for block := range int64(120) {
		if _, err = unix.Pwrite(fd, []byte("scribble"), block*blockSize+100); err != nil {
			break
		}
	}
	return errors.Join(err, unix.Fsync(fd), unix.Close(fd))
}
