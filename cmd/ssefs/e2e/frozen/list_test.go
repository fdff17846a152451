package frozen

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/expect"
)

// entry is all that can be seen of one object.
type entry struct {
	Path   string            `json:"path"` // relative to the root; percent-encoded in the list
	Ino    uint64            `json:"ino"`
	Mode   string            `json:"mode"`
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Nlink  uint64            `json:"nlink"`
	Size   int64             `json:"size"`
	Blocks int64             `json:"blocks"`
	Rdev   uint64            `json:"rdev"`
	Atime  int64             `json:"atime"` // nanoseconds, as all times
	Mtime  int64             `json:"mtime"`
	Ctime  int64             `json:"ctime"`
	Btime  int64             `json:"btime"`
	Xattrs map[string]string `json:"xattrs"`
	Target string            `json:"target,omitempty"`
	Data   [][2]int64        `json:"data,omitempty"` // start and end of what is no hole
	SHA256 string            `json:"sha256,omitempty"`
}

func (e entry) isDir() bool {
	mode, err := strconv.ParseUint(e.Mode, 0, 32)
	return err == nil && mode&unix.S_IFMT == unix.S_IFDIR
}

// listed returns what a frozen volume holds, by path.
func listed(t *testing.T, name string) map[string]entry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(volumes, name+".json"))
	expect.OK(t, err, "read the list")
	var list []entry
	expect.OK(t, json.Unmarshal(b, &list), "parse the list")
	entries := map[string]entry{}
	for _, e := range list {
		e.Path, e.Target = unescape(t, e.Path), unescape(t, e.Target)
		entries[e.Path] = e
	}
	if len(entries) != len(list) || len(list) < 50 {
		t.Fatalf("the list has %d entries with %d paths", len(list), len(entries))
	}
	return entries
}

func unescape(t *testing.T, s string) string {
	t.Helper()
	u, err := url.PathUnescape(s)
	expect.OK(t, err, "unescape %q", s)
	return u
}

// walk returns everything on the drive, by path. Attributes are read before contents.
func (v *volume) walk() map[string]entry {
	v.t.Helper()
	entries := map[string]entry{}
	var visit func(path string)
	visit = func(path string) {
		e := v.look(path)
		entries[e.Path] = e
		if !e.isDir() {
			return
		}
		for _, name := range expect.Names(v.t, path) {
			visit(path + "/" + name)
		}
	}
	visit(v.point)
	return entries
}

// look returns what can be seen of one object.
func (v *volume) look(path string) entry {
	v.t.Helper()
	st := expect.Lstat(v.t, path)
	rel, err := filepath.Rel(v.point, path)
	expect.OK(v.t, err, "path of %s", path)
	e := entry{
		Path: rel, Ino: st.Ino, Mode: fmt.Sprintf("0o%o", st.Mode), UID: st.Uid, GID: st.Gid, Nlink: st.Nlink,
		Size: st.Size, Blocks: st.Blocks, Rdev: st.Rdev,
		Atime: st.Atim.Nano(), Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano(), Xattrs: v.xattrs(path),
	}
	var stx unix.Statx_t
	expect.OK(v.t, unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &stx), "statx %s", path)
	e.Btime = stx.Btime.Sec*1e9 + int64(stx.Btime.Nsec)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		e.Target, err = os.Readlink(path)
		expect.OK(v.t, err, "readlink %s", path)
	case unix.S_IFREG:
		e.Data, e.SHA256 = v.contents(path, st.Size)
	}
	return e
}

// xattrs returns the extended attributes of an object, of a link itself. user.sse.* tell of encryption and are not
// stored.
func (v *volume) xattrs(path string) map[string]string {
	v.t.Helper()
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	expect.OK(v.t, err, "list the attributes of %s", path)
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "user.sse.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		expect.OK(v.t, err, "attribute %s of %s", name, path)
		all[name] = hex.EncodeToString(value[:n])
	}
	return all
}

// contents returns where a file has data, and the hash of that.
func (v *volume) contents(path string, size int64) (data [][2]int64, sum string) {
	v.t.Helper()
	f, err := os.Open(path)
	expect.OK(v.t, err, "open %s", path)
	defer func() { expect.OK(v.t, f.Close(), "close %s", path) }()
	h := sha256.New()
	for at := int64(0); at < size; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		expect.OK(v.t, err, "data of %s from %d on", path, at)
		at, err = f.Seek(start, unix.SEEK_HOLE)
		expect.OK(v.t, err, "hole in %s after %d", path, start)
		data = append(data, [2]int64{start, at})
		_, err = io.Copy(h, io.NewSectionReader(f, start, at-start))
		expect.OK(v.t, err, "read %s from %d on", path, start)
	}
	return data, hex.EncodeToString(h.Sum(nil))
}

// compare compares an object with what is listed of it.
func compare(t *testing.T, got, want entry) {
	t.Helper()
	if want.isDir() {
		// What a directory's size and blocks are is not stored.
		got.Size, got.Blocks, want.Size, want.Blocks = 0, 0, 0, 0
	}
	if len(want.Data) == 0 {
		want.Data = nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q is\n%+v\nwant\n%+v", want.Path, got, want)
	}
}
