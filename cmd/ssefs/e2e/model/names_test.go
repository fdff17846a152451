package model

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func (m *machine) mkdir(t *rapid.T) {
	p, mode := m.newPath(t, "path"), drawMode(t)
	m.do(operation{
		what:      fmt.Sprintf("mkdir %q %#o", p, mode),
		model:     func(next *FS) syscall.Errno { _, errno := next.Mkdir(p, mode); return errno },
		drive:     func() error { return unix.Mkdir(m.at(p), mode) },
		namespace: true,
	})
}

func (m *machine) mknod(t *rapid.T) {
	p, mode := m.newPath(t, "path"), drawMode(t)
	kind := rapid.SampledFrom([]uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK}).Draw(t, "type")
	var dev uint64
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		dev = unix.Mkdev(rapid.Uint32Range(1, 4000).Draw(t, "major"), rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor"))
	}
	m.do(operation{
		what:      fmt.Sprintf("mknod %q %#o %#x", p, kind|mode, dev),
		model:     func(next *FS) syscall.Errno { _, errno := next.Mknod(p, kind|mode, dev); return errno },
		drive:     func() error { return unix.Mknod(m.at(p), kind|mode, int(dev)) },
		namespace: true,
	})
}

func (m *machine) symlink(t *rapid.T) {
	p := m.newPath(t, "path")
	target := rapid.SampledFrom([]string{"a", "b", "c/a", "../b", "nowhere/at/all", strings.Repeat("l", 4095), "d",
		strings.Repeat("long/", 30) + "x"}).Draw(t, "target")
	m.do(operation{
		what:      fmt.Sprintf("symlink %.60q -> %q", p, target[:min(40, len(target))]),
		model:     func(next *FS) syscall.Errno { _, errno := next.Symlink(target, p); return errno },
		drive:     func() error { return unix.Symlink(target, m.at(p)) },
		namespace: true,
	})
}

func (m *machine) link(t *rapid.T) {
	from, to := m.filePath(t, "from"), m.newPath(t, "to")
	m.do(operation{
		what:      fmt.Sprintf("link %q %q", from, to),
		model:     func(next *FS) syscall.Errno { return next.Link(from, to) },
		drive:     func() error { return unix.Link(m.at(from), m.at(to)) },
		namespace: true,
	})
}

func (m *machine) unlink(t *rapid.T) {
	p := m.anyPath(t, "path")
	m.do(operation{
		what:      fmt.Sprintf("unlink %q", p),
		model:     func(next *FS) syscall.Errno { return next.Unlink(p) },
		drive:     func() error { return unix.Unlink(m.at(p)) },
		namespace: true,
	})
}

func (m *machine) rmdir(t *rapid.T) {
	p := m.anyPath(t, "path")
	m.do(operation{
		what:      fmt.Sprintf("rmdir %q", p),
		model:     func(next *FS) syscall.Errno { return next.Rmdir(p) },
		drive:     func() error { return unix.Rmdir(m.at(p)) },
		namespace: true,
	})
}

func (m *machine) rename(t *rapid.T) {
	from := m.anyPath(t, "from")
	to := ""
	if rapid.Bool().Draw(t, "over") {
		to = m.anyPath(t, "to")
	} else {
		to = m.newPath(t, "to")
	}
	flags := rapid.SampledFrom([]uint{0, 0, 0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE}).Draw(t, "flags")
	m.renameTo(from, to, flags)
}

// renameTo renames; a file that replaces another has its contents committed with the name.
func (m *machine) renameTo(from, to string, flags uint) {
	m.t.Helper()
	src, _ := m.fs.Lookup(from, false)
	dst, _ := m.fs.Lookup(to, false)
	m.do(operation{
		what:  fmt.Sprintf("rename %q %q flags %d", from, to, flags),
		model: func(next *FS) syscall.Errno { return next.Rename(from, to, flags) },
		drive: func() error {
			return unix.Renameat2(unix.AT_FDCWD, m.at(from), unix.AT_FDCWD, m.at(to), flags)
		},
		namespace: true,
		changes: func(*FS) []Change {
			if src != nil && dst != nil && src != dst && src.IsRegular() && flags == 0 {
				return []Change{{File: src.ID, Effect: Replaced}}
			}
			return nil
		},
	})
}

// saveOver does what an editor does: write another file, close it, rename it over the document; with or without fsync.
func (m *machine) saveOver(t *rapid.T) {
	document := m.filePath(t, "document")
	n, errno := m.fs.Lookup(document, false)
	if errno != 0 || !n.IsRegular() {
		nothing("no document")
	}
	temporary := path.Join(path.Dir(document), ".temporary")
	seed := rapid.Uint64().Draw(t, "seed")
	size := rapid.SampledFrom([]int{1, 4096, 10000, 200000}).Draw(t, "size")
	syncIt := rapid.Bool().Draw(t, "sync")
	h := m.openAt(temporary, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
	if h == nil {
		return
	}
	m.writeAt(h, 0, seed, size)
	if syncIt && !m.dead {
		m.fsyncHandle(h)
	}
	m.closeHandle(h)
	if m.dead {
		return
	}
	m.renameTo(temporary, document, 0)
	// The directory's fsync commits the new name, and may not do so without the contents.
	if rapid.Bool().Draw(t, "sync the directory") && !m.dead {
		dir := path.Dir(document)
		if dir == "." {
			dir = ""
		}
		m.syncDir(dir)
	}
	if !m.killing && !m.r.native && rapid.IntRange(0, 3).Draw(t, "then kill") == 0 {
		m.kill(t)
	}
}

// crowd fills a directory with many names, or takes them away.
func (m *machine) crowd(t *rapid.T) {
	dir := path.Dir(m.anyPath(t, "in"))
	if n, errno := m.fs.Lookup(dir, true); dir != "." && (errno != 0 || !n.IsDir()) {
		nothing("not in a directory")
	}
	if dir == "." {
		dir = ""
	}
	var there []string
	for _, p := range m.fs.Paths() {
		if strings.HasPrefix(p.Path, strings.TrimPrefix(dir+"/crowd-", "/")) {
			there = append(there, p.Path)
		}
	}
	if len(there) > 0 {
		for _, p := range there {
			if m.dead {
				return
			}
			m.do(operation{
				what:      fmt.Sprintf("unlink %q", p),
				model:     func(next *FS) syscall.Errno { return next.Unlink(p) },
				drive:     func() error { return unix.Unlink(m.at(p)) },
				namespace: true,
			})
		}
		return
	}
	for i := range rapid.IntRange(5, 60).Draw(t, "number") {
		if m.dead {
			return
		}
		p := strings.TrimPrefix(fmt.Sprintf("%s/crowd-%d", dir, i*7919), "/")
		m.do(operation{
			what: fmt.Sprintf("mknod %q", p),
			model: func(next *FS) syscall.Errno {
				_, errno := next.Mknod(p, unix.S_IFIFO|0o600, 0)
				return errno
			},
			drive:     func() error { return unix.Mknod(m.at(p), unix.S_IFIFO|0o600, 0) },
			namespace: true,
		})
	}
}

// listing reads a directory in small pieces while a name comes and a name goes: every other name has to appear exactly
// once.
func (m *machine) listing(t *rapid.T) {
	dir := ""
	for _, p := range m.fs.Paths() {
		if p.Node.IsDir() && rapid.Bool().Draw(t, "deeper") {
			dir = p.Path
		}
	}
	n := m.fs.Node(Root)
	if dir != "" {
		n, _ = m.fs.Lookup(dir, false)
	}
	before := map[string]bool{}
	for name := range n.Entries {
		before[name] = true
	}
	fd, err := unix.Open(m.at(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.noticeDeath(err, "open directory %q", dir)
		return
	}
	defer func() { _ = unix.Close(fd) }()
	seen := map[string]int{}
	buf := make([]byte, rapid.SampledFrom([]int{300, 1000, 4096}).Draw(t, "buffer"))
	comes := strings.TrimPrefix(dir+"/coming", "/")
	for calls := 0; ; calls++ {
		k, err := unix.Getdents(fd, buf)
		if err != nil {
			m.noticeDeath(err, "read directory %q", dir)
			return
		}
		if k == 0 {
			break
		}
		for _, name := range parseDirents(buf[:k]) {
			seen[name]++
		}
		if calls != 0 || m.dead {
			continue
		}
		m.do(operation{
			what:      fmt.Sprintf("mkdir %q while listing %q", comes, dir),
			model:     func(next *FS) syscall.Errno { _, errno := next.Mkdir(comes, 0o755); return errno },
			drive:     func() error { return unix.Mkdir(m.at(comes), 0o755) },
			namespace: true,
		})
	}
	delete(seen, ".")
	delete(seen, "..")
	for name, times := range seen {
		if times > 1 || !before[name] && name != "coming" {
			m.fail("listing %q: %q appears %d times, it was there before: %t", dir, name, times, before[name])
		}
	}
	for name := range before {
		if seen[name] != 1 {
			m.fail("listing %q: %q does not appear", dir, name)
		}
	}
	if _, errno := m.fs.Lookup(comes, false); errno == 0 && !m.dead {
		m.do(operation{
			what:      fmt.Sprintf("rmdir %q", comes),
			model:     func(next *FS) syscall.Errno { return next.Rmdir(comes) },
			drive:     func() error { return unix.Rmdir(m.at(comes)) },
			namespace: true,
		})
	}
}

// noticeDeath handles an error where the model expects none.
func (m *machine) noticeDeath(err error, format string, args ...any) {
	m.t.Helper()
	if m.killing && died(errnoOf(err)) {
		m.dead = true
		return
	}
	m.fail("%s: %v", fmt.Sprintf(format, args...), err)
}

// parseDirents returns the names in what getdents64 filled in.
func parseDirents(b []byte) []string {
	var list []string
	for len(b) > 0 {
		d := (*unix.Dirent)(unsafe.Pointer(&b[0]))
		name := b[unsafe.Offsetof(d.Name):d.Reclen]
		if i := slices.Index(name, 0); i >= 0 {
			name = name[:i]
		}
		list = append(list, string(name))
		b = b[d.Reclen:]
	}
	return list
}
