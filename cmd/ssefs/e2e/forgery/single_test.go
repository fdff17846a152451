package forgery

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"

	"golang.org/x/sys/unix"
)

// subject is a kind of record that belongs to a file or directory, and how such a file is made.
type subject struct {
	name  string
	kind  record.Kind
	make  func(t testing.TB, path string)
	alter func(t testing.TB, path string) // so that its records change
	// end has the record end, so that it can be put back.
	end func(t testing.TB, path string)
	// hidden are the attacks that reading does not notice, since the record is not asked for, and open those where what
	// was once may be the answer. All others have to be noticed by reading.
	hidden, open []string
}

// fresh are the attacks that only add a record.
func fresh() []string { return []string{"copy", "graft-new", "put-back"} }

func subjects() []subject {
	all := make([]string, 0)
	for _, a := range attacks() {
		all = append(all, a.name)
	}
	return []subject{
		{name: "file", kind: record.KindInode, make: small, alter: longer, end: unlink, hidden: fresh(), open: []string{"replay"}},
		{name: "mode", kind: record.KindInode, make: small, alter: chmod, end: unlink, hidden: append(fresh(), "replay"), open: []string{"replay"}},
		{name: "link", kind: record.KindInode, make: symlink, alter: chown, end: unlink, hidden: append(fresh(), "replay"), open: []string{"replay"}},
		{name: "fifo", kind: record.KindInode, make: fifo, alter: chmod, end: unlink, hidden: append(fresh(), "replay"), open: []string{"replay"}},
		{name: "dir", kind: record.KindInode, make: dir, alter: another, end: rmdir, hidden: fresh(), open: []string{"replay"}},
		{name: "entry", kind: record.KindEntry, make: small, alter: replace, end: rename, open: []string{"replay", "put-back", "remove"}},
		{name: "map", kind: record.KindMap, make: scattered, alter: overwrite, end: shorten, hidden: fresh()},
		{name: "pack", kind: record.KindPack, make: scattered, alter: overwrite, end: empty, hidden: all},
		{name: "xattr", kind: record.KindXattr, make: attributes, alter: recolor, end: strip, hidden: fresh()},
		{name: "data", kind: record.KindData, make: pieces, alter: mend, end: empty, hidden: fresh()},
	}
}

func small(t testing.TB, path string) { expect.Write(t, path, expect.Random(uint64(len(path)), 3000)) }
func longer(t testing.TB, path string) {
	f := expect.Open(t, path, unix.O_WRONLY, 0)
	f.Pwrite(expect.Random(3, 2000), 2000)
	f.Close()
}
func unlink(t testing.TB, path string) { expect.OK(t, unix.Unlink(path), "unlink") }
func chmod(t testing.TB, path string)  { expect.OK(t, unix.Chmod(path, 0o4711), "chmod") }
func chown(t testing.TB, path string)  { expect.OK(t, unix.Lchown(path, 1, 2), "lchown") }
func symlink(t testing.TB, path string) {
	expect.OK(t, unix.Symlink("nowhere/"+filepath.Base(filepath.Dir(path)), path), "symlink")
}
func fifo(t testing.TB, path string) { expect.OK(t, unix.Mkfifo(path, 0o600), "mkfifo") }
func dir(t testing.TB, path string) {
	expect.Mkdir(t, path)
	small(t, filepath.Join(path, "in"))
}
func another(t testing.TB, path string) { small(t, filepath.Join(path, "another")) }
func rmdir(t testing.TB, path string) {
	for _, name := range expect.Names(t, path) {
		unlink(t, filepath.Join(path, name))
	}
	expect.OK(t, unix.Rmdir(path), "rmdir")
}

// replace puts another file in the place of one that goes on elsewhere.
func replace(t testing.TB, path string) {
	expect.OK(t, unix.Link(path, path+".kept"), "link")
	small(t, path+".new")
	expect.OK(t, unix.Rename(path+".new", path), "rename")
}
func rename(t testing.TB, path string) { expect.OK(t, unix.Rename(path, path+".moved"), "rename") }

// scattered makes a file whose map does not fit its inode: every other block of two leaves, in two steps.
func scattered(t testing.TB, path string) {
	f := expect.Create(t, path)
	for leaf := range int64(2) {
		for step := range int64(2) {
			for i := range int64(5) {
				f.Pwrite(expect.Random(uint64(leaf*100+i), blockSize), leaf<<20+(step*16+2*i)*blockSize)
			}
		}
	}
	f.Sync()
	for leaf := range int64(2) {
		f.Pwrite(expect.Random(uint64(leaf), blockSize), leaf<<20+100*blockSize)
	}
	f.Sync()
	f.Close()
}

// overwrite writes a block of each leaf anew.
func overwrite(t testing.TB, path string) {
	f := expect.Open(t, path, unix.O_WRONLY, 0)
	for leaf := range int64(2) {
		f.Pwrite(expect.Random(9, blockSize), leaf<<20)
	}
	f.Close()
}
func shorten(t testing.TB, path string) { expect.OK(t, unix.Truncate(path, 1<<20), "truncate") }
func empty(t testing.TB, path string)   { expect.OK(t, unix.Truncate(path, 0), "truncate") }

func attributes(t testing.TB, path string) {
	small(t, path)
	expect.SetXattr(t, path, "user.color", "red")
	expect.SetXattr(t, path, "trusted.note", strings.Repeat("n", 100))
	// A named user's rights: an access ACL of the owner, uid 1001, the group, the mask and others.
	expect.SetXattr(t, path, "system.posix_acl_access", "\x02\x00\x00\x00"+
		"\x01\x00\x06\x00\xff\xff\xff\xff"+"\x02\x00\x06\x00\xe9\x03\x00\x00"+
		"\x04\x00\x04\x00\xff\xff\xff\xff"+"\x10\x00\x06\x00\xff\xff\xff\xff"+"\x20\x00\x04\x00\xff\xff\xff\xff")
}
func recolor(t testing.TB, path string) { expect.SetXattr(t, path, "user.color", "blue") }
func strip(t testing.TB, path string) {
	for _, name := range []string{"user.color", "trusted.note", "system.posix_acl_access"} {
		expect.OK(t, unix.Lremovexattr(path, name), "remove %s", name)
	}
}

// pieces makes a file of two data records, one of which lies in the value log.
func pieces(t testing.TB, path string) {
	f := expect.Create(t, path)
	f.Pwrite(expect.Random(1, 20_000), 0)
	f.Sync()
	f.Pwrite(expect.Random(2, 3000), 8*blockSize)
	f.Sync()
	f.Close()
}
func mend(t testing.TB, path string) {
	f := expect.Open(t, path, unix.O_WRONLY, 0)
	f.Pwrite(expect.Random(3, 3000), 8*blockSize)
	f.Close()
}

// target is one attack on one subject in one bucket: a directory with the file "a" that is attacked, and "b" and "c"
// that are like it.
type target struct {
	subject
	attack
	bucket string
}

func (x target) dir() string  { return "/" + filepath.Join(x.bucket, x.subject.name+"."+x.attack.name) }
func (x target) file() string { return filepath.Join(x.dir(), "a") }

// targets are all of them.
func targets() []target {
	var all []target
	for _, b := range bucketNames() {
		for _, s := range subjects() {
			for _, a := range attacks() {
				all = append(all, target{s, a, b})
			}
		}
	}
	return all
}

// prepare makes the files of all targets. Only those that stand next to each other are written together, so that the
// records of most lie apart.
func prepare(t testing.TB, d *drive.Drive) {
	t.Helper()
	for _, x := range targets() {
		expect.Mkdir(t, d.Path(x.dir()))
		x.make(t, d.Path(x.file()))
		x.make(t, d.Path(x.dir(), "b"))
	}
}

// change changes them all.
func change(t testing.TB, d *drive.Drive) {
	t.Helper()
	for _, x := range targets() {
		if x.attack.name == "put-back" {
			x.end(t, d.Path(x.file()))
		} else {
			x.alter(t, d.Path(x.file()))
		}
		x.alter(t, d.Path(x.dir(), "b"))
	}
}

// site is a volume with targets, as it was and as it is, and another that was made in the same way under the same key.
type site struct {
	key              string
	store, old       string
	otherStore       string
	was, is          state // what it answered
	then, now, other raw.Records
	otherIs          state
	used             map[string]bool // keys that have or had a record, or will
}

// build makes a site with what is to be attacked.
func build(t testing.TB, prepare, change func(testing.TB, *drive.Drive)) *site {
	t.Helper()
	d := drive.New(t, drive.Options{})
	makeBuckets(t, d)
	prepare(t, d)
	d.Remount()
	s := &site{key: d.KeyFile(), store: d.Store(), was: whole(t, d.Mountpoint())}
	d.Unmount()
	s.old = filepath.Join(drive.Dir(t), "old")
	copyStore(t, s.store, s.old)
	s.then = records(t, s.store)
	d.Mount()
	change(t, d)
	d.Remount()
	s.is = whole(t, d.Mountpoint())
	d.Unmount()
	s.now = records(t, s.store)
	second := drive.New(t, drive.Options{KeyFile: s.key})
	makeBuckets(t, second)
	prepare(t, second)
	second.Remount()
	s.otherIs = whole(t, second.Mountpoint())
	second.Unmount()
	s.otherStore = second.Store()
	s.other = records(t, s.otherStore)
	s.used = map[string]bool{}
	for _, r := range []raw.Records{s.then, s.now} {
		for key := range r {
			s.used[key] = true
		}
	}
	return s
}

// aimAt finds the records of a target.
func (s *site) aimAt(x target) aim {
	across := x
	across.bucket = bucketNames()[(slices.Index(bucketNames(), x.bucket)+1)%len(bucketNames())]
	file, twin, far := x.file(), filepath.Join(x.dir(), "b"), filepath.Join(across.dir(), "b")
	if x.kind == record.KindEntry { // which has the number of the directory
		file, twin, far = x.dir(), "/"+x.bucket+"/entry.copy", across.dir()
	}
	keys := s.now.Keys(keyOf(x.kind, s.is.ino(file)))
	var a aim
	for _, key := range s.then.Keys(keyOf(x.kind, s.was.ino(file))) {
		switch now, still := s.now[key]; {
		case !still:
			a.gone = key
		case a.old == "" && now.Value != s.then[key].Value:
			a.key, a.old = key, s.then[key].Value
		}
	}
	if x.kind == record.KindData && a.gone != "" { // they are never written again: the newer one is another
		a.old = s.then[a.gone].Value
		slices.Reverse(keys)
	}
	for _, key := range keys {
		switch {
		case a.key == "":
			a.key = key
		case a.key != key:
			a.inFile = key
		}
	}
	a.twin = pick(s.now, x.kind, s.is.ino(twin), 0)
	a.across = pick(s.now, x.kind, s.is.ino(far), 0)
	a.foreign = pick(s.other, x.kind, s.otherIs.ino(file), 0)
	a.other = string(record.SettingsKey())
	for _, key := range owned(s.now, s.is.ino(file)) {
		if record.Kind(key[0]) != x.kind {
			a.other = key
		}
	}
	switch {
	case a.key == "":
	case x.kind == record.KindXattr:
		a.unused = keyOf(x.kind, s.is.ino(x.dir()))
	default:
		a.unused = unusedKey(s.used, a.key)
	}
	return a
}
