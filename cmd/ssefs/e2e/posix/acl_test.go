package posix

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// acl returns the entries of an ACL as getfacl prints them, access or default.
func acl(t *testing.T, path string, args ...string) []string {
	t.Helper()
	out := drive.Must(t, "getfacl", append(slices.Concat([]string{"-cpnE"}, args), path)...)
	return strings.Fields(out)
}

func sameACL(t *testing.T, got []string, want, what string) {
	t.Helper()
	expect.Equal(t, strings.Join(got, " "), want, "%s", what)
}

func TestACLEnforcement(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("x"))
	expect.OK(t, unix.Chmod(p, 0o600), "chmod")
	can := func(who drive.Identity, flags int, want unix.Errno) {
		t.Helper()
		err := drive.As(t, who, func() error {
			fd, err := unix.Open(p, flags, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		})
		if want == 0 {
			expect.OK(t, err, "open by %v with flags %#o", who, flags)
		} else {
			expect.Errno(t, err, want, "open by %v with flags %#o", who, flags)
		}
	}
	named, inGroup := drive.User(1001), drive.Identity{UID: 1002, GID: 1002, Groups: []int{2001}}
	check := func() {
		t.Helper()
		can(named, unix.O_RDWR, 0)
		can(inGroup, unix.O_RDONLY, 0)
		can(inGroup, unix.O_WRONLY, unix.EACCES)
		can(drive.User(1003), unix.O_RDONLY, unix.EACCES)
	}
	can(named, unix.O_RDONLY, unix.EACCES)
	drive.Must(t, "setfacl", "-m", "u:1001:rw,g:2001:r", p)
	check()
	expect.Mode(t, expect.Stat(t, p), 0o660, "mode shows the mask")
	d.Remount()
	check()
	sameACL(t, acl(t, p), "user::rw- user:1001:rw- group::--- group:2001:r-- mask::rw- other::---", "ACL after remount")
	// chmod of the group bits sets the mask, which bounds the named entries.
	expect.OK(t, unix.Chmod(p, 0o640), "chmod")
	can(named, unix.O_RDONLY, 0)
	can(named, unix.O_WRONLY, unix.EACCES)
	sameACL(t, acl(t, p), "user::rw- user:1001:rw- group::--- group:2001:r-- mask::r-- other::---", "ACL after chmod")
	// Removing the ACL leaves the mode.
	drive.Must(t, "setfacl", "-b", p)
	expect.Mode(t, expect.Stat(t, p), 0o600, "mode without ACL")
	can(named, unix.O_RDONLY, unix.EACCES)
	// A minimal ACL is only a mode.
	drive.Must(t, "setfacl", "--set", "u::rw,g::r,o::r", p)
	expect.Mode(t, expect.Stat(t, p), 0o644, "mode after a minimal ACL")
	_, err := unix.Getxattr(p, "system.posix_acl_access", nil)
	expect.Errno(t, err, unix.ENODATA, "read of a minimal ACL")
	// Only the owner may set one.
	r := drive.As(t, named, func() error {
		return unix.Setxattr(p, "system.posix_acl_access", minimalACL(), 0)
	})
	expect.Errno(t, r, unix.EPERM, "ACL set by another user")
}

// minimalACL is u::rw,g::r,o::r in the kernel's form.
func minimalACL() []byte {
	return []byte{2, 0, 0, 0,
		1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
		4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
		0x20, 0, 4, 0, 0xff, 0xff, 0xff, 0xff}
}

func TestDefaultACL(t *testing.T) {
	d, dir := bucket(t)
	parent := expect.Mkdir(t, filepath.Join(dir, "parent"))
	drive.Must(t, "setfacl", "-d", "-m", "u::rwx,u:1001:rwx,g::rx,o::-", parent)
	const inherited = "user::rwx user:1001:rwx group::r-x mask::rwx other::---"
	sameACL(t, acl(t, parent, "-d"), inherited, "default ACL")
	expect.Mode(t, expect.Stat(t, parent), 0o755, "directory with a default ACL")

	// With a default ACL the umask counts for nothing; the mode asked for bounds what is inherited.
	err := drive.WithUmask(t, 0o077, func() error {
		if err := unix.Mkdir(filepath.Join(parent, "sub"), 0o777); err != nil {
			return err
		}
		if err := unix.Mkfifo(filepath.Join(parent, "fifo"), 0o660); err != nil {
			return err
		}
		fd, err := unix.Open(filepath.Join(parent, "file"), unix.O_CREAT|unix.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	expect.OK(t, err, "create below a default ACL")
	check := func(when string) {
		t.Helper()
		sameACL(t, acl(t, filepath.Join(parent, "sub"), "-a"), inherited, "access ACL of the directory "+when)
		sameACL(t, acl(t, filepath.Join(parent, "sub"), "-d"), inherited, "default ACL of the directory "+when)
		expect.Mode(t, expect.Stat(t, filepath.Join(parent, "sub")), 0o770, "directory %s", when)
		sameACL(t, acl(t, filepath.Join(parent, "file")),
			"user::rw- user:1001:rwx group::r-x mask::rw- other::---", "ACL of the file "+when)
		expect.Mode(t, expect.Stat(t, filepath.Join(parent, "file")), 0o660, "file %s", when)
		sameACL(t, acl(t, filepath.Join(parent, "fifo")),
			"user::rw- user:1001:rwx group::r-x mask::rw- other::---", "ACL of the fifo "+when)
	}
	check("when new")
	d.Remount()
	check("after remount")
	err = drive.As(t, drive.User(1001), func() error {
		fd, err := unix.Open(filepath.Join(parent, "sub", "made"), unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	})
	expect.OK(t, err, "create by the user that the inherited ACL names")
	// A minimal default ACL becomes a mode and no ACL.
	plain := expect.Mkdir(t, filepath.Join(dir, "plain"))
	drive.Must(t, "setfacl", "-d", "-m", "u::rw,g::r,o::-", plain)
	expect.OK(t, drive.WithUmask(t, 0, func() error {
		return unix.Mknod(filepath.Join(plain, "file"), unix.S_IFREG|0o666, 0)
	}), "mknod")
	expect.Mode(t, expect.Stat(t, filepath.Join(plain, "file")), 0o640, "file under a minimal default ACL")
	_, err = unix.Getxattr(filepath.Join(plain, "file"), "system.posix_acl_access", nil)
	expect.Errno(t, err, unix.ENODATA, "ACL of a file under a minimal default ACL")
	drive.Must(t, "setfacl", "-k", plain)
	_, err = unix.Getxattr(plain, "system.posix_acl_default", nil)
	expect.Errno(t, err, unix.ENODATA, "default ACL after its removal")
	// Only directories have one.
	expect.Errno(t, unix.Setxattr(filepath.Join(plain, "file"), "system.posix_acl_default", minimalACL(), 0), unix.EACCES,
		"default ACL on a file")
	expect.Errno(t, unix.Setxattr(plain, "system.posix_acl_access", []byte{2, 0, 0, 0, 1}, 0), unix.EINVAL, "malformed ACL")
}
