package posix

import (
	"errors"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestChmod(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	for _, mode := range []uint32{0, 0o777, 0o4755, 0o2755, 0o1644, 0o7777, 0o600} {
		expect.OK(t, unix.Chmod(p, mode), "chmod %o", mode)
		expect.Mode(t, expect.Stat(t, p), mode, "after chmod")
	}
	f := expect.Open(t, p, unix.O_RDONLY, 0)
	expect.OK(t, unix.Fchmod(f.Fd, 0o4711), "fchmod")
	f.Close()
	d.Remount()
	expect.Mode(t, expect.Stat(t, p), 0o4711, "after remount")
	err := drive.As(t, drive.User(1001), func() error { return unix.Chmod(p, 0o666) })
	expect.Errno(t, err, unix.EPERM, "chmod by another user")
}

// TestSetgidOnChmod: the owner of a file whose group he is not in cannot give it setgid.
func TestSetgidOnChmod(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	expect.OK(t, unix.Chown(p, 1001, 2001), "chown")
	chmod := func() error { return unix.Chmod(p, 0o2755) }
	expect.OK(t, drive.As(t, drive.User(1001), chmod), "chmod")
	expect.Mode(t, expect.Stat(t, p), 0o755, "chmod 2755 by an owner outside of the group")
	expect.OK(t, drive.As(t, drive.Identity{UID: 1001, GID: 1001, Groups: []int{2001}}, chmod), "chmod")
	expect.Mode(t, expect.Stat(t, p), 0o2755, "chmod 2755 by an owner in the group")
}

func TestChown(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	owner := func(uid, gid uint32, when string) {
		t.Helper()
		st := expect.Stat(t, p)
		expect.Equal(t, [2]uint32{st.Uid, st.Gid}, [2]uint32{uid, gid}, "owner %s", when)
	}
	expect.OK(t, unix.Chown(p, 1001, 2001), "chown")
	owner(1001, 2001, "after chown")
	expect.OK(t, unix.Chown(p, -1, 2002), "chown of the group")
	owner(1001, 2002, "after chown of the group")
	expect.OK(t, unix.Chown(p, 4294967294, -1), "chown to the largest id")
	owner(4294967294, 2002, "after chown to the largest id")
	d.Remount()
	owner(4294967294, 2002, "after remount")

	expect.OK(t, unix.Chown(p, 1001, 1001), "chown")
	user := drive.Identity{UID: 1001, GID: 1001, Groups: []int{2001}}
	for _, c := range []struct {
		what     string
		uid, gid int
		want     unix.Errno
	}{
		{"give away", 1002, -1, unix.EPERM},
		{"to a group of others", -1, 3001, unix.EPERM},
		{"to a group of his", -1, 2001, 0},
		{"to himself", 1001, 2001, 0},
	} {
		err := drive.As(t, user, func() error { return unix.Chown(p, c.uid, c.gid) })
		if c.want != 0 {
			expect.Errno(t, err, c.want, "chown by a user: %s", c.what)
		} else {
			expect.OK(t, err, "chown by a user: %s", c.what)
		}
	}
	err := drive.As(t, drive.User(1002), func() error { return unix.Chown(p, -1, 1002) })
	expect.Errno(t, err, unix.EPERM, "chown by another user")
}

// TestChownDropsSetuid: changing the owner of a file takes setuid, and setgid where it is not the mark of mandatory
// locking, from it; directories keep theirs.
func TestChownDropsSetuid(t *testing.T) {
	dir := place(t)
	user := drive.Identity{UID: 1001, GID: 1001, Groups: []int{2001}}
	for _, who := range []drive.Identity{{}, user} {
		for _, c := range []struct{ before, after uint32 }{
			{0o6755, 0o755}, {0o4755, 0o755}, {0o2755, 0o755}, {0o2745, 0o2745}, {0o755, 0o755},
		} {
			if who.UID != 0 && c.before == 0o2745 {
				continue // the file's group is not his after the change: kernels differ
			}
			p := filepath.Join(dir, "file")
			expect.Write(t, p, nil)
			expect.OK(t, unix.Chown(p, 1001, 1001), "chown")
			expect.OK(t, unix.Chmod(p, c.before), "chmod")
			err := drive.As(t, who, func() error { return unix.Chown(p, -1, 2001) })
			expect.OK(t, err, "chown by %d", who.UID)
			expect.Mode(t, expect.Stat(t, p), c.after, "file of mode %o after chown by %d", c.before, who.UID)
			expect.OK(t, unix.Unlink(p), "unlink")
		}
	}
	sub := expect.Mkdir(t, filepath.Join(dir, "dir"))
	expect.OK(t, unix.Chmod(sub, 0o6755), "chmod")
	expect.OK(t, unix.Chown(sub, 1001, 2001), "chown")
	expect.Mode(t, expect.Stat(t, sub), 0o6755, "directory after chown")
}

// TestWriteDropsSetuid: a write or truncate by one who is not root takes setuid and setgid from a file.
func TestWriteDropsSetuid(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	changes := map[string]func() error{
		"write":    func() error { return overwrite(p, "x") },
		"truncate": func() error { return unix.Truncate(p, 1) },
		"O_TRUNC": func() error {
			fd, err := unix.Open(p, unix.O_WRONLY|unix.O_TRUNC, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		},
		"fallocate": func() error {
			fd, err := unix.Open(p, unix.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if err := unix.Fallocate(fd, 0, 0, 100); err != nil {
				return err
			}
			return unix.Close(fd)
		},
	}
	source := filepath.Join(dir, "source")
	expect.Write(t, source, []byte("copied"))
	changes["copy_file_range"] = func() error {
		from, err := unix.Open(source, unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		to, err := unix.Open(p, unix.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := unix.CopyFileRange(from, nil, to, nil, 6, 0); err != nil {
			return err
		}
		return errors.Join(unix.Close(from), unix.Close(to))
	}
	for what, change := range changes {
		for uid, want := range map[int]uint32{1001: 0o777, 0: 0o6777} {
			expect.Write(t, p, []byte("contents"))
			expect.OK(t, unix.Chown(p, 1002, 1002), "chown")
			expect.OK(t, unix.Chmod(p, 0o6777), "chmod")
			expect.OK(t, drive.As(t, drive.User(uid), change), "%s by %d", what, uid)
			expect.Mode(t, expect.Stat(t, p), want, "after %s by %d", what, uid)
			d.Remount()
			expect.Mode(t, expect.Stat(t, p), want, "after %s by %d and remount", what, uid)
			expect.OK(t, unix.Unlink(p), "unlink")
		}
	}
}

func TestSetgidDirectory(t *testing.T) {
	dir := place(t)
	shared := expect.Mkdir(t, filepath.Join(dir, "shared"))
	expect.OK(t, unix.Chown(shared, 0, 2001), "chown")
	expect.OK(t, unix.Chmod(shared, 0o2777), "chmod")
	create := func(who drive.Identity, name string, mode uint32) {
		t.Helper()
		expect.OK(t, drive.As(t, who, func() error {
			if err := unix.Mkdir(filepath.Join(shared, name+".dir"), 0o755); err != nil {
				return err
			}
			if err := unix.Symlink("x", filepath.Join(shared, name+".link")); err != nil {
				return err
			}
			if err := unix.Mkfifo(filepath.Join(shared, name+".fifo"), 0o644); err != nil {
				return err
			}
			fd, err := unix.Open(filepath.Join(shared, name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}), "create in a setgid directory")
		for _, suffix := range []string{"", ".dir", ".link", ".fifo"} {
			expect.Equal(t, expect.Lstat(t, filepath.Join(shared, name+suffix)).Gid, 2001, "group of %s%s", name, suffix)
		}
		expect.Mode(t, expect.Stat(t, filepath.Join(shared, name+".dir")), 0o2755, "new directory")
	}
	create(drive.Identity{UID: 1001, GID: 1001, Groups: []int{2001}}, "member", 0o2755)
	expect.Mode(t, expect.Stat(t, filepath.Join(shared, "member")), 0o2755, "setgid file made by a member of the group")
	create(drive.User(1002), "stranger", 0o2755)
	expect.Mode(t, expect.Stat(t, filepath.Join(shared, "stranger")), 0o755, "setgid file made by a stranger to the group")
	create(drive.Identity{}, "root", 0o2755)
	expect.Mode(t, expect.Stat(t, filepath.Join(shared, "root")), 0o2755, "setgid file made by root")
}

func TestStickyDirectory(t *testing.T) {
	dir := place(t)
	sticky := expect.Mkdir(t, filepath.Join(dir, "sticky"))
	expect.OK(t, unix.Chmod(sticky, 0o1777), "chmod")
	p := func(name string) string { return filepath.Join(sticky, name) }
	for _, name := range []string{"file", "other"} {
		expect.Write(t, p(name), nil)
		expect.OK(t, unix.Chmod(p(name), 0o666), "chmod")
		expect.OK(t, unix.Chown(p(name), 1001, 1001), "chown")
	}
	expect.Mkdir(t, p("dir"))
	stranger, owner := drive.User(1002), drive.User(1001)
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Unlink(p("file")) }), unix.EPERM, "unlink")
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Rmdir(p("dir")) }), unix.EPERM, "rmdir")
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Rename(p("file"), p("mine")) }), unix.EPERM, "rename")
	expect.OK(t, drive.As(t, stranger, func() error { return unix.Mkdir(p("mine"), 0o755) }), "mkdir")
	expect.OK(t, drive.As(t, stranger, func() error { return unix.Mkfifo(p("pipe"), 0o644) }), "mkfifo")
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Rename(p("pipe"), p("file")) }), unix.EPERM,
		"rename over a file of another")
	expect.OK(t, drive.As(t, owner, func() error { return unix.Rename(p("file"), p("renamed")) }), "rename by the owner")
	expect.OK(t, drive.As(t, owner, func() error { return unix.Unlink(p("renamed")) }), "unlink by the owner")
	// The owner of the directory may remove what is not his.
	expect.OK(t, unix.Chown(sticky, 1002, 1002), "chown")
	expect.OK(t, drive.As(t, stranger, func() error { return unix.Unlink(p("other")) }), "unlink by the directory's owner")
}

func TestUmask(t *testing.T) {
	dir := place(t)
	for _, mask := range []int{0, 0o022, 0o027, 0o077, 0o777} {
		p := filepath.Join(dir, "x")
		err := drive.WithUmask(t, mask, func() error {
			if err := unix.Mkdir(p+".dir", 0o777); err != nil {
				return err
			}
			if err := unix.Mkfifo(p+".fifo", 0o666); err != nil {
				return err
			}
			if err := unix.Symlink("x", p+".link"); err != nil {
				return err
			}
			fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o6777)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		})
		expect.OK(t, err, "create under umask %o", mask)
		keep := ^uint32(mask)
		expect.Mode(t, expect.Stat(t, p), 0o6777&keep, "file under umask %o", mask)
		expect.Mode(t, expect.Stat(t, p+".dir"), 0o777&keep, "directory under umask %o", mask)
		expect.Mode(t, expect.Stat(t, p+".fifo"), 0o666&keep, "fifo under umask %o", mask)
		expect.Mode(t, expect.Lstat(t, p+".link"), 0o777, "symlink under umask %o", mask)
		drive.Must(t, "rm", "-r", p, p+".dir", p+".fifo", p+".link")
	}
}
