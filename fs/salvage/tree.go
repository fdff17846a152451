package salvage

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// errNoKeystore is why there are no contents without a key service.
var errNoKeystore = errors.New("the keystore cannot be used")

// named is an entry of a directory.
type named struct {
	name  string
	ino   uint64
	isDir bool
}

// copyTree copies what the root reaches.
func (s *salvager) copyTree() error {
	if root := s.inodes.find(record.RootInode); root != nil {
		root.flags |= flagCopied
	}
	return s.fill(s.out, record.RootInode)
}

// fill copies the contents of a directory.
func (s *salvager) fill(d directory, ino uint64) error {
	list, err := s.list(d, ino)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := s.tick(s.done, int64(len(s.inodes.list)), "files"); err != nil {
			return err
		}
		s.done++
		if err := s.copyEntry(d, ino, e); err != nil {
			return err
		}
	}
	return nil
}

// list reads the entries of a directory and compares them with its set hash.
func (s *salvager) list(d directory, ino uint64) (list []named, err error) {
	var set crypto.SetHash
	unreadable := 0
	err = s.keys(record.Prefix(record.KindEntry, ino), func(k record.Key, raw []byte) error {
		err := s.get(raw)
		var e record.Entry
		if err == nil {
			e, err = record.DecodeEntry(s.plain)
		}
		if err == nil && record.NameHash(s.names.Hash(ino, []byte(e.Name))) != k.Hash {
			err = errors.New("it lies under the key of another name")
		}
		if err != nil {
			unreadable++
			s.lose(Loss{Kind: Entry, Inode: ino, Path: d.path, Message: "a name in the directory cannot be read: " + err.Error()})
			return nil
		}
		s.sets.Add(&set, record.EntrySet, record.EntryElement(ino, k.Hash, e))
		list = append(list, named{e.Name, e.Inode, e.Type == record.TypeDir})
		return nil
	})
	if err != nil {
		return nil, err
	}
	n, err := s.inode(ino)
	switch {
	case err != nil:
		s.lose(Loss{Kind: Directory, Inode: ino, Path: d.path, Message: "attributes of the directory: " + why(err) + "; it cannot be told whether names are missing"})
	case !n.IsDir():
	case uint64(len(list)) != n.Entries:
		s.lose(Loss{Kind: Directory, Inode: ino, Path: d.path, Message: fmt.Sprintf("%d names in the directory are readable, it had %d", len(list), n.Entries)})
	case set != crypto.SetHash(n.EntrySet):
		s.lose(Loss{Kind: Directory, Inode: ino, Path: d.path, Message: "the names in the directory are not those that it had: at least one is older"})
	}
	return list, nil
}

// copyEntry copies what an entry names.
func (s *salvager) copyEntry(d directory, parent uint64, e named) error {
	path := d.join(e.name)
	n := s.inodes.find(e.ino)
	if n == nil && e.isDir && s.hasEntries(e.ino) {
		s.inodes.insert([]uint64{e.ino})
		n = s.inodes.find(e.ino)
	}
	switch {
	case n == nil:
		s.lose(Loss{Kind: Inode, Inode: e.ino, Path: path, Message: "the inode record is missing: attributes and contents are lost"})
		return nil
	case n.flags&flagKept != 0:
		if err := s.again(d, e.name, n); err != nil {
			return s.outputFailed(path, e.ino, err)
		}
		s.report.Copied.Links++
		return nil
	case n.isDir() && n.flags&flagCopied != 0:
		s.lose(Loss{Kind: Entry, Inode: e.ino, Path: path, Message: "the directory has another name, where it was copied"})
		return nil
	}
	n.flags |= flagCopied
	err := s.copyInode(d, e.name, n, e.isDir)
	if err != nil && s.ctx.Err() == nil {
		err = s.outputFailed(path, e.ino, err)
	}
	if b := s.buckets[e.ino]; parent == record.RootInode && b != nil && b.name == "" {
		b.name = e.name
		s.report.Copied.Buckets++
	}
	return err
}

func (n *inode) isDir() bool { return uint32(n.typ)<<12 == record.TypeDir }

// hasEntries reports whether there are entries of a directory.
func (s *salvager) hasEntries(ino uint64) bool {
	found := false
	_ = s.View.IterateKeys(record.Prefix(record.KindEntry, ino), nil, func([]byte, int64) error {
		found = true
		return errFound
	})
	return found
}

var errFound = errors.New("found")

// copyInode copies an inode under a name. Its errors are of the copy. wasDir is
// what the entry says, for inodes whose record is lost.
func (s *salvager) copyInode(d directory, name string, st *inode, wasDir bool) error {
	n, err := s.inode(st.ino)
	if err != nil {
		if wasDir || s.hasEntries(st.ino) {
			return s.copyDir(d, name, st.ino, nil)
		}
		s.lose(Loss{Kind: Inode, Inode: st.ino, Path: d.join(name), Message: "inode record: " + why(err) + "; attributes and contents are lost"})
		return nil
	}
	switch {
	case n.IsDir():
		return s.copyDir(d, name, st.ino, n)
	case n.IsRegular():
		err = s.copyFile(d, name, st.ino, n)
		s.report.Copied.Files++
	case n.IsSymlink():
		err = unix.Symlinkat(string(n.Target), d.fd, name)
		s.report.Copied.Symlinks++
	default:
		err = unix.Mknodat(d.fd, name, n.Mode&record.TypeMask|0o600, int(n.Rdev))
		s.report.Copied.Special++
	}
	if err != nil {
		return err
	}
	s.dress(d, name, st.ino, n)
	if n.Nlink > 1 {
		return s.keep(d, name, st)
	}
	return nil
}

// copyDir makes a directory and copies what is in it. n is nil if its attributes
// are lost.
func (s *salvager) copyDir(d directory, name string, ino uint64, n *record.Inode) error {
	sub, err := d.make(name)
	if err != nil {
		return err
	}
	s.report.Copied.Directories++
	err = s.fill(sub, ino)
	sub.close()
	if err != nil {
		return err
	}
	if n != nil {
		s.dress(d, name, ino, n)
	}
	return nil
}

// copyUnreached copies what has no name that the root leads to.
func (s *salvager) copyUnreached() error {
	if err := s.markNamed(); err != nil {
		return err
	}
	// Directories first: the names in them are names after all. Those that none
	// of the others names are where such trees begin; what is left then goes in
	// circles.
	for _, pass := range []func(*inode) bool{
		func(n *inode) bool { return (n.isDir() || n.typ == 0 && s.hasEntries(n.ino)) && n.flags&flagNamed == 0 },
		func(n *inode) bool { return n.isDir() || n.typ == 0 && s.hasEntries(n.ino) },
		func(*inode) bool { return true },
	} {
		for i := range s.inodes.list {
			n := &s.inodes.list[i]
			if n.flags&flagCopied != 0 || !pass(n) {
				continue
			}
			if n.flags&flagUnlinked != 0 && (!n.isDir() || !s.hasEntries(n.ino)) {
				n.flags |= flagCopied // it was removed
				continue
			}
			if err := s.copyNameless(n.ino); err != nil {
				return err
			}
		}
	}
	return nil
}

// markNamed marks the inodes that directories which were not reached name, and
// takes up directories of which there are only entries.
func (s *salvager) markNamed() error {
	var unknown []uint64
	named := make(map[uint64]bool)
	skip := func(dir uint64) bool {
		n := s.inodes.find(dir)
		return n != nil && n.flags&flagCopied != 0
	}
	err := s.keys(record.Prefix(record.KindEntry), func(k record.Key, raw []byte) error {
		if err := s.tick(0, 0, "names"); err != nil {
			return err
		}
		if skip(k.ID) {
			return nil
		}
		if s.inodes.find(k.ID) == nil && (len(unknown) == 0 || unknown[len(unknown)-1] != k.ID) {
			unknown = append(unknown, k.ID)
		}
		if s.get(raw) == nil {
			if e, err := record.DecodeEntry(s.plain); err == nil {
				named[e.Inode] = true
			}
		}
		return nil
	})
	s.inodes.insert(unknown)
	for i := range s.inodes.list {
		if n := &s.inodes.list[i]; named[n.ino] {
			n.flags |= flagNamed
		}
	}
	return err
}

// copyNameless copies an inode into lost+found of its bucket.
func (s *salvager) copyNameless(ino uint64) error {
	n := s.inodes.find(ino)
	n.flags |= flagCopied
	d, closeDir, err := s.lostAndFound(n)
	if err != nil {
		return err
	}
	defer closeDir()
	name, err := d.free("#" + strconv.FormatUint(ino, 10))
	if err != nil {
		return err
	}
	if n.typ == 0 && !s.hasEntries(ino) {
		s.lose(Loss{Kind: Inode, Inode: ino, Message: "an inode without a name cannot be read: it is lost"})
		return nil
	}
	s.report.Copied.Nameless++
	s.lose(Loss{Kind: Entry, Inode: ino, Path: d.join(name), Message: "its name is lost"})
	if b := s.buckets[ino]; b != nil && b.name == "" {
		b.name = name
		s.report.Copied.Buckets++
	}
	if err := s.copyInode(d, name, n, false); err != nil {
		if s.ctx.Err() != nil {
			return err
		}
		return s.outputFailed(d.join(name), ino, err)
	}
	return nil
}

// lostAndFound returns the directory that a nameless inode goes to: that of its
// bucket, or for a bucket, and for what belongs to none, the copy itself.
func (s *salvager) lostAndFound(n *inode) (d directory, closeDir func(), err error) {
	const lostFound = "lost+found"
	at := s.out
	b := s.buckets[n.bucket]
	if n.typ != 0 && n.bucket == n.ino {
		return s.out, func() {}, nil
	}
	if n.typ != 0 && b != nil && b.name == "" && n.bucket != 0 {
		// A bucket of which nothing but inodes is left.
		if b.name, err = s.out.free("#" + strconv.FormatUint(n.bucket, 10)); err != nil {
			return directory{}, nil, err
		}
	}
	if n.typ != 0 && b != nil && b.name != "" {
		if at, err = s.out.make(b.name); err != nil {
			return directory{}, nil, err
		}
		defer at.close()
	}
	name := lostFound
	if d, err = at.make(name); err != nil { // the bucket has a file of that name
		if name, err = at.free(name); err == nil {
			d, err = at.make(name)
		}
	}
	return d, func() { d.close() }, err
}
