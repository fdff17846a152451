// Package mounts answers what is mounted where, judges whether a directory can be mounted over, and
// unmounts.
//
// It reads /proc/self/mountinfo, which never touches a file system, before it looks at a path: a call on
// the mount of a daemon that is gone or hangs can fail or block.
package mounts

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Mount is one line of mountinfo.
type Mount struct {
	Device  string // major:minor
	Root    string // what of the file system is shown: "/" unless it is a bind mount
	Point   string
	Options string // of the mount
	Type    string // file system type, such as fuse.ssefs
	Source  string
	Super   string // options of the file system
}

// FUSE tells whether the file system is served by a process.
func (m Mount) FUSE() bool {
	return m.Type == "fuse" || m.Type == "fuseblk" || strings.HasPrefix(m.Type, "fuse.")
}

// UserID returns the uid that a FUSE file system was mounted by; ok is false for another one.
func (m Mount) UserID() (uid int, ok bool) {
	for _, o := range strings.Split(m.Super, ",") {
		if v, found := strings.CutPrefix(o, "user_id="); found {
			uid, err := strconv.Atoi(v)
			return uid, err == nil
		}
	}
	return 0, false
}

// List returns the mounts of this process's namespace, a mount above another after it.
func List() ([]Mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	mounts, err := parse(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return mounts, err
}

func parse(r io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		l, r := strings.Split(left, " "), strings.Split(right, " ")
		if !ok || len(l) < 6 || len(r) < 3 {
			return nil, fmt.Errorf("mountinfo: unexpected line %q", lines.Text())
		}
		mounts = append(mounts, Mount{
			Device: l[2], Root: unescape(l[3]), Point: unescape(l[4]), Options: l[5],
			Type: r[0], Source: unescape(r[1]), Super: r[2],
		})
	}
	return mounts, lines.Err()
}

// unescape takes back the octal escapes that the kernel writes for blanks and backslashes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At returns the topmost mount at exactly path, which must be clean and absolute.
func At(list []Mount, path string) (Mount, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Point == path {
			return list[i], true
		}
	}
	return Mount{}, false
}

// Holding returns the topmost mount that path, clean and absolute, lies on.
func Holding(list []Mount, path string) (Mount, bool) {
	for {
		if m, ok := At(list, path); ok {
			return m, true
		}
		if path == "/" {
			return Mount{}, false
		}
		path = filepath.Dir(path)
	}
}

// Canonical returns path absolute and clean, with the symlinks of its parent resolved but its last
// element untouched: that may be the root of a mount whose daemon is gone.
func Canonical(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil || abs == "/" {
		return abs, err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// Resolve returns path as the mount table would name it: canonical, and if it is a symlink, what it leads to. It need
// not exist, but its parent must. The roots of mounts are not looked at.
func Resolve(path string) (string, error) {
	path, err := Canonical(path)
	if err != nil {
		return "", err
	}
	list, err := List()
	if err != nil {
		return "", err
	}
	if _, ok := At(list, path); ok {
		return path, nil
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSymlink != 0 {
		return filepath.EvalSymlinks(path)
	}
	return path, nil
}

// Shows tells whether a FUSE file system is mounted at point, canonical.
func Shows(point string) bool {
	list, err := List()
	if err != nil {
		return false
	}
	m, ok := At(list, point)
	return ok && m.FUSE()
}
