package posix

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func value(t *testing.T, path, name string) []byte {
	t.Helper()
	return []byte(expect.Xattr(t, path, name))
}

func TestXattrs(t *testing.T) {
	d, dir := bucket(t)
	expect.Write(t, filepath.Join(dir, "file"), nil)
	expect.Mkdir(t, filepath.Join(dir, "dir"))
	attrs := map[string][]byte{
		"user.text":       []byte("value"),
		"user.empty":      {},
		"user.binary":     {0, 1, 0xff, 0},
		"user.large":      expect.Random(1, 3000),
		"user.ü.\x01\xff": []byte("name of any bytes"),
		"trusted.mark":    []byte("for root"),
		"security.ssefs":  []byte("label"),
	}
	for _, name := range []string{"file", "dir"} {
		p := filepath.Join(dir, name)
		for attr, v := range attrs {
			expect.OK(t, unix.Setxattr(p, attr, v, 0), "set %q of %s", attr, name)
		}
	}
	check := func() {
		t.Helper()
		for _, name := range []string{"file", "dir"} {
			p := filepath.Join(dir, name)
			for attr, v := range attrs {
				expect.Bytes(t, value(t, p, attr), v, "value of %q of %s", attr, name)
			}
			names, err := expect.ListXattrs(p)
			expect.OK(t, err, "list")
			expect.Equal(t, len(names), len(attrs), "names listed: %q", names)
			for _, attr := range names {
				if _, ok := attrs[attr]; !ok {
					t.Errorf("%q is listed and was never set", attr)
				}
			}
		}
	}
	check()
	d.Remount()
	check()
	p := filepath.Join(dir, "file")
	for attr := range attrs {
		expect.OK(t, unix.Removexattr(p, attr), "remove %q", attr)
		expect.Errno(t, unix.Removexattr(p, attr), unix.ENODATA, "remove %q again", attr)
	}
	d.Remount()
	names, err := expect.ListXattrs(p)
	expect.OK(t, err, "list")
	expect.Equal(t, len(names), 0, "names listed after removal: %q", names)
}

func TestXattrErrors(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	expect.OK(t, unix.Setxattr(p, "user.ten", []byte("0123456789"), 0), "set")
	get := func(name string, n int) error {
		_, err := unix.Getxattr(p, name, make([]byte, n))
		return err
	}
	expect.Errno(t, get("user.none", 100), unix.ENODATA, "get what is not there")
	expect.Errno(t, get("user.none", 0), unix.ENODATA, "size of what is not there")
	expect.Errno(t, get("user.ten", 9), unix.ERANGE, "get into a short buffer")
	n, err := unix.Getxattr(p, "user.ten", nil)
	expect.OK(t, err, "size of a value")
	expect.Equal(t, n, 10, "size of a value")
	_, err = unix.Listxattr(p, make([]byte, 3))
	expect.Errno(t, err, unix.ERANGE, "list into a short buffer")
	n, err = unix.Listxattr(p, nil)
	expect.OK(t, err, "size of the list")
	expect.Equal(t, n, len("user.ten")+1, "size of the list")
	expect.Errno(t, unix.Setxattr(p, "user.ten", nil, unix.XATTR_CREATE), unix.EEXIST, "create what is there")
	expect.Errno(t, unix.Setxattr(p, "user.new", nil, unix.XATTR_REPLACE), unix.ENODATA, "replace what is not there")
	expect.OK(t, unix.Setxattr(p, "user.ten", []byte("ten"), unix.XATTR_REPLACE), "replace what is there")
	expect.OK(t, unix.Setxattr(p, "user.new", []byte("new"), unix.XATTR_CREATE), "create what is not there")
	expect.Errno(t, unix.Setxattr(p, "user.big", make([]byte, 65537), 0), unix.E2BIG, "a value over the limit")
	expect.Errno(t, unix.Setxattr(p, "user."+strings.Repeat("x", 251), nil, 0), unix.ERANGE, "a name over the limit")
	expect.OK(t, unix.Setxattr(p, "user."+strings.Repeat("x", 250), nil, 0), "a name at the limit")
	expect.Errno(t, unix.Setxattr(p, "nonsense.x", nil, 0), unix.EOPNOTSUPP, "an unknown namespace")
	expect.Errno(t, unix.Setxattr(p, "plain", nil, 0), unix.EOPNOTSUPP, "no namespace")
	expect.Errno(t, unix.Setxattr(p+"x", "user.x", nil, 0), unix.ENOENT, "of nothing")
	expect.Errno(t, unix.Setxattr(p, "user.", nil, 0), unix.EINVAL, "a namespace alone")
}

// TestXattrNamespaces: who may see and set what.
func TestXattrNamespaces(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	user := drive.User(1001)
	expect.OK(t, unix.Chown(p, 1001, 1001), "chown")
	expect.OK(t, unix.Setxattr(p, "user.mine", []byte("x"), 0), "set")
	expect.OK(t, unix.Setxattr(p, "trusted.mark", []byte("x"), 0), "set")
	expect.OK(t, unix.Setxattr(p, "security.mark", []byte("x"), 0), "set")
	names, err := expect.ListXattrs(p)
	expect.OK(t, err, "list as root")
	expect.Equal(t, strings.Join(names, " "), "security.mark trusted.mark user.mine", "names that root sees")
	expect.OK(t, drive.As(t, user, func() error {
		names, err = expect.ListXattrs(p)
		return err
	}), "list as a user")
	expect.Equal(t, strings.Join(names, " "), "security.mark user.mine", "names that a user sees")
	set := func(name string) error {
		return drive.As(t, user, func() error { return unix.Setxattr(p, name, []byte("y"), 0) })
	}
	expect.OK(t, set("user.mine"), "set user.* by the owner")
	expect.Errno(t, set("trusted.mark"), unix.EPERM, "set trusted.* by a user")
	expect.Errno(t, set("security.mark"), unix.EPERM, "set security.* by a user")
	expect.Errno(t, drive.As(t, user, func() error {
		_, err := unix.Getxattr(p, "trusted.mark", make([]byte, 10))
		return err
	}), unix.ENODATA, "get trusted.* as a user")
	expect.OK(t, unix.Chmod(p, 0o600), "chmod")
	stranger := drive.User(1002)
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Setxattr(p, "user.x", nil, 0) }), unix.EACCES,
		"set user.* without w")
	expect.Errno(t, drive.As(t, stranger, func() error {
		_, err := unix.Getxattr(p, "user.mine", make([]byte, 10))
		return err
	}), unix.EACCES, "get user.* without r")

	// user.* is for files and directories alone; trusted.* is for all, symlinks as well.
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	expect.OK(t, unix.Symlink("nowhere", link), "symlink")
	expect.OK(t, unix.Mkfifo(fifo, 0o666), "mkfifo")
	for _, special := range []string{link, fifo} {
		expect.Errno(t, unix.Lsetxattr(special, "user.x", nil, 0), unix.EPERM, "user.* of %s", filepath.Base(special))
		expect.OK(t, unix.Lsetxattr(special, "trusted.x", []byte("y"), 0), "trusted.* of %s", filepath.Base(special))
		expect.Bytes(t, value(t, special, "trusted.x"), []byte("y"), "trusted.* of %s", filepath.Base(special))
	}
	// In a sticky directory only the owner sets user.* of the directory.
	sticky := expect.Mkdir(t, filepath.Join(dir, "sticky"))
	expect.OK(t, unix.Chmod(sticky, 0o1777), "chmod")
	expect.Errno(t, drive.As(t, user, func() error { return unix.Setxattr(sticky, "user.x", nil, 0) }), unix.EPERM,
		"user.* of another's sticky directory")
}

func TestLargestXattr(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	big := expect.Random(1, 65536)
	expect.OK(t, unix.Setxattr(p, "user.big", big, 0), "set a value of 64 KiB")
	expect.Bytes(t, value(t, p, "user.big"), big, "a value of 64 KiB")
	d.Remount()
	expect.Bytes(t, value(t, p, "user.big"), big, "a value of 64 KiB after remount")
	expect.OK(t, unix.Setxattr(p, "user.big", big[:10], 0), "set a short value over it")
	expect.Bytes(t, value(t, p, "user.big"), big[:10], "the short value")
}

func TestManyXattrs(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	for i := range 100 {
		expect.OK(t, unix.Setxattr(p, fmt.Sprint("trusted.", i), bytes.Repeat([]byte{byte(i)}, i), 0), "set %d", i)
	}
	d.Remount()
	names, err := expect.ListXattrs(p)
	expect.OK(t, err, "list")
	expect.Equal(t, len(names), 100, "names listed")
	for i := range 100 {
		expect.Bytes(t, value(t, p, fmt.Sprint("trusted.", i)), bytes.Repeat([]byte{byte(i)}, i), "value %d", i)
	}
}

// TestFileCapabilities: security.capability goes when the file is written to.
func TestFileCapabilities(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	// Version 2, effective, cap_net_raw permitted.
	capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for what, change := range map[string]func() error{
		"write":    func() error { return overwrite(p, "x") },
		"truncate": func() error { return unix.Truncate(p, 1) },
		"chown":    func() error { return unix.Chown(p, 1002, 1002) },
	} {
		expect.Write(t, p, []byte("contents"))
		expect.OK(t, unix.Setxattr(p, "security.capability", capability, 0), "set a capability")
		expect.OK(t, change(), "%s", what)
		_, err := unix.Getxattr(p, "security.capability", make([]byte, 100))
		expect.Errno(t, err, unix.ENODATA, "the capability after %s", what)
		expect.OK(t, unix.Unlink(p), "unlink")
	}
}
