package model

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// flushes is the effect of setting attributes of a regular file: the kernel first hands over what is dirty.
func (m *machine) flushes(p string, followLast bool) func(*FS) []Change {
	return func(next *FS) []Change {
		n, errno := next.Lookup(p, followLast)
		if errno != 0 || !n.IsRegular() {
			return nil
		}
		return []Change{{File: n.ID, Effect: Flushed}}
	}
}

func (m *machine) chmod(t *rapid.T) {
	p, mode := m.anyPath(t, "path"), drawMode(t)
	m.do(operation{
		what:      fmt.Sprintf("chmod %q %#o", p, mode),
		model:     func(next *FS) syscall.Errno { return next.Chmod(p, mode) },
		drive:     func() error { return unix.Chmod(m.at(p), mode) },
		namespace: true,
		changes:   m.flushes(p, true),
	})
}

func (m *machine) chown(t *rapid.T) {
	p := m.anyPath(t, "path")
	uid := rapid.SampledFrom([]uint32{0, 1000, 65534, 1 << 31}).Draw(t, "uid")
	gid := rapid.SampledFrom([]uint32{0, 1000, 4321}).Draw(t, "gid")
	m.do(operation{
		what:      fmt.Sprintf("lchown %q %d:%d", p, uid, gid),
		model:     func(next *FS) syscall.Errno { return next.Chown(p, uid, gid) },
		drive:     func() error { return unix.Lchown(m.at(p), int(uid), int(gid)) },
		namespace: true,
		changes:   m.flushes(p, false),
	})
}

func (m *machine) utimes(t *rapid.T) {
	p := m.anyPath(t, "path")
	sec := rapid.SampledFrom([]int64{0, 1, 1_700_000_000, 7_000_000_000, -1_000_000_000}).Draw(t, "seconds")
	nsec := rapid.SampledFrom([]int64{0, 1, 999_999_999, 123_456_789}).Draw(t, "nanoseconds")
	m.do(operation{
		what:  fmt.Sprintf("utimes %q %d.%09d", p, sec, nsec),
		model: func(next *FS) syscall.Errno { return next.SetMtime(p, time.Unix(sec, nsec)) },
		drive: func() error {
			ts := unix.Timespec{Sec: sec, Nsec: nsec}
			return unix.UtimesNanoAt(unix.AT_FDCWD, m.at(p), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
		},
		namespace: true,
		changes:   m.flushes(p, false),
	})
}

func xattrNames() []string {
	return []string{"user.a", "user.b", "user.ümläut", "trusted.t", "security.test",
		"user." + strings.Repeat("n", 200)}
}

func (m *machine) setxattr(t *rapid.T) {
	p := m.anyPath(t, "path")
	name := rapid.SampledFrom(xattrNames()).Draw(t, "name")
	value := string(fill(rapid.Uint64().Draw(t, "seed"), rapid.SampledFrom([]int{0, 1, 20, 300}).Draw(t, "size")))
	flags := rapid.SampledFrom([]int{0, 0, unix.XATTR_CREATE, unix.XATTR_REPLACE}).Draw(t, "flags")
	m.do(operation{
		what:      fmt.Sprintf("setxattr %q %.20q %d bytes flags %d", p, name, len(value), flags),
		model:     func(next *FS) syscall.Errno { return next.Setxattr(p, name, value, flags) },
		drive:     func() error { return unix.Lsetxattr(m.at(p), name, []byte(value), flags) },
		namespace: true,
	})
}

func (m *machine) removexattr(t *rapid.T) {
	p := m.anyPath(t, "path")
	name := rapid.SampledFrom(xattrNames()).Draw(t, "name")
	m.do(operation{
		what:      fmt.Sprintf("removexattr %q %.20q", p, name),
		model:     func(next *FS) syscall.Errno { return next.Removexattr(p, name) },
		drive:     func() error { return unix.Lremovexattr(m.at(p), name) },
		namespace: true,
	})
}

// getxattr asks for the length, with a buffer too small and with one that fits.
func (m *machine) getxattr(t *rapid.T) {
	p := m.anyPath(t, "path")
	n, errno := m.fs.Lookup(p, false)
	if errno != 0 {
		nothing("not there")
	}
	name := rapid.SampledFrom(xattrNames()).Draw(t, "name")
	value, there := n.Xattrs[name]
	size, err := unix.Lgetxattr(m.at(p), name, nil)
	switch {
	case err != nil && m.killing && died(errnoOf(err)):
		m.dead = true
		return
	case !there:
		if !errors.Is(err, unix.ENODATA) {
			m.fail("getxattr %q %q: %d, %v, want ENODATA", p, name, size, err)
		}
		return
	case err != nil || size != len(value):
		m.fail("length of xattr %q of %q: %d, %v, want %d", name, p, size, err, len(value))
	}
	if len(value) > 1 {
		if _, err := unix.Lgetxattr(m.at(p), name, make([]byte, len(value)-1)); !errors.Is(err, unix.ERANGE) {
			m.noticeDeath(err, "getxattr %q %q with a small buffer", p, name)
			return
		}
	}
	buf := make([]byte, len(value)+10)
	size, err = unix.Lgetxattr(m.at(p), name, buf)
	if err != nil {
		m.noticeDeath(err, "getxattr %q %q", p, name)
		return
	}
	if string(buf[:size]) != value {
		m.fail("xattr %q of %q has another value", name, p)
	}
}
