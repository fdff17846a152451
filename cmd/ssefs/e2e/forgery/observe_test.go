package forgery

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// blockSize is what is read at a time where more at a time fails.
const blockSize = 4096

// node is what a drive answers about one path. What it refused to answer is in failed.
type node struct {
	stat   string // attributes, as text
	ino    uint64
	mode   uint32
	size   int64
	names  []string // of a directory, sorted
	target string   // of a symbolic link
	xattrs map[string]string
	data   []byte // of a regular file
	bad    []int  // blocks of data that could not be read

	failed map[string]error // what was asked, and the error
}

// What is asked about a path.
const (
	askStat  = "stat"
	askList  = "list"
	askLink  = "link"
	askXattr = "xattr"
	askData  = "data"
)

// observe asks all there is to know about a path.
func observe(path string) *node {
	n := &node{failed: map[string]error{}}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		n.failed[askStat] = err
		return n
	}
	n.ino, n.mode, n.size = st.Ino, st.Mode, st.Size
	n.stat = fmt.Sprintf("inode %d mode %o links %d owner %d:%d size %d device %d mtime %d.%09d ctime %d.%09d",
		st.Ino, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Rdev, st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec)
	n.readXattrs(path)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.readNames(path)
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		n.target = target
		n.note(askLink, err)
	case unix.S_IFREG:
		n.readData(path)
	}
	return n
}

func (n *node) note(what string, err error) {
	if err != nil {
		n.failed[what] = err
	}
}

func (n *node) readXattrs(path string) {
	n.xattrs = map[string]string{}
	names, err := expect.ListXattrs(path)
	n.note(askXattr, err)
	ask := names
	if n.mode&unix.S_IFMT == unix.S_IFREG {
		ask = append(ask, "user.sse.algorithm", "user.sse.key-id")
	}
	for _, name := range ask {
		value, err := expect.GetXattr(path, name)
		switch {
		case errors.Is(err, unix.ENODATA):
			n.xattrs[name] = "none"
		case err != nil:
			n.note(askXattr, err)
		default:
			n.xattrs[name] = "is " + value
		}
	}
}

func (n *node) readNames(path string) {
	f, err := os.Open(path)
	if err != nil {
		n.note(askList, err)
		return
	}
	// All of what came before an error counts as an answer.
	names, err := f.Readdirnames(-1)
	n.note(askList, errors.Join(err, f.Close()))
	slices.Sort(names)
	n.names = names
}

func (n *node) readData(path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		n.note(askData, err)
		return
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	n.data = make([]byte, n.size)
	for at := 0; at < len(n.data); {
		part := n.data[at:min(at+64*blockSize, len(n.data))]
		if k, err := unix.Pread(fd, part, int64(at)); err == nil && k == len(part) {
			at += k
			continue
		}
		for end := at + len(part); at < end; at += blockSize {
			block := n.data[at:min(at+blockSize, end)]
			k, err := unix.Pread(fd, block, int64(at))
			if err == nil && k < len(block) {
				err = fmt.Errorf("%d bytes of %d at %d", k, len(block), at)
			}
			if err != nil {
				n.note(askData, err)
				n.bad = append(n.bad, at/blockSize)
			}
		}
	}
}

// differs returns how an answer differs from what is right, as far as it is an answer; nothing if it does not.
func (n *node) differs(right *node) string {
	if n.failed[askStat] != nil {
		return ""
	}
	if n.stat != right.stat {
		return fmt.Sprintf("attributes are %s, not %s", n.stat, right.stat)
	}
	if n.failed[askList] == nil && !slices.Equal(n.names, right.names) {
		return fmt.Sprintf("names are %q, not %q", n.names, right.names)
	}
	if n.failed[askList] != nil {
		for _, name := range n.names {
			if !slices.Contains(right.names, name) {
				return fmt.Sprintf("name %q is listed, before an error, and should not be", name)
			}
		}
	}
	if n.failed[askLink] == nil && n.target != right.target {
		return fmt.Sprintf("link leads to %q, not %q", n.target, right.target)
	}
	if n.failed[askXattr] == nil && !maps.Equal(n.xattrs, right.xattrs) {
		return fmt.Sprintf("xattrs are %q, not %q", n.xattrs, right.xattrs)
	}
	return n.differsInData(right)
}

func (n *node) differsInData(right *node) string {
	if n.data == nil || right.data == nil {
		return ""
	}
	for at := 0; at < len(n.data); at += blockSize {
		end := min(at+blockSize, len(n.data))
		if !slices.Contains(n.bad, at/blockSize) && !bytes.Equal(n.data[at:end], right.data[at:end]) {
			return fmt.Sprintf("bytes from %d on are wrong", at)
		}
	}
	return ""
}

// errors returns what was refused, and with which errors.
func (n *node) errors() string {
	var all []string
	for _, what := range slices.Sorted(maps.Keys(n.failed)) {
		all = append(all, what+" "+expect.Describe(n.failed[what]))
	}
	return strings.Join(all, ", ")
}

// state is all that a drive answers, by path below the drive; "/" is the drive itself.
type state map[string]*node

// look asks about everything below root. It goes by what it finds and by what is known to be there.
func look(root string, known ...state) state {
	found := state{}
	var visit func(path string)
	visit = func(path string) {
		if found[path] != nil {
			return
		}
		n := observe(filepath.Join(root, path))
		found[path] = n
		for _, name := range n.names {
			visit(filepath.Join(path, name))
		}
	}
	visit("/")
	for _, k := range known {
		for path := range k {
			if found[path] == nil {
				found[path] = observe(filepath.Join(root, path))
			}
		}
	}
	return found
}

// whole returns the state of a drive that answers everything.
func whole(t testing.TB, root string) state {
	t.Helper()
	s := look(root)
	for path, n := range s {
		if len(n.failed) > 0 {
			t.Fatalf("%s of a sound drive: %s", path, n.errors())
		}
	}
	return s
}

// absent tells whether a path was looked for and is not there.
func (n *node) absent() bool { return errors.Is(n.failed[askStat], fs.ErrNotExist) }

// refused tells whether everything that was not answered was refused with EIO.
func (n *node) refused() bool {
	for _, err := range n.failed {
		if !errors.Is(err, unix.EIO) {
			return false
		}
	}
	return len(n.failed) > 0
}

// ino returns the inode number of a path, 0 if there is no such path.
func (s state) ino(path string) uint64 {
	if n := s[path]; n != nil {
		return n.ino
	}
	return 0
}

// incomplete tells whether the drive refuses to list a directory, or one above it. That an entry is missing from one is
// noticed there, and not where the entry is looked up.
func (s state) incomplete(dir string) bool {
	n := s[dir]
	return n != nil && n.failed[askList] != nil || dir != "/" && s.incomplete(filepath.Dir(dir))
}
