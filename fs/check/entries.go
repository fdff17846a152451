package check

import (
	"ssefs/crypto"
	"ssefs/fs/record"
)

// checkEntries reads all directory entries, compares each directory's with its
// set hash and counts, and each with the inode it names.
func (c *checker) checkEntries() error {
	s := c.stream(record.KindEntry, values)
	defer s.stop()
	expect := uint64(0)
	for i := range c.inodes.dirs {
		expect += c.inodes.dirs[i].entries
	}
	for i := range c.inodes.list {
		n := &c.inodes.list[i]
		if n.dir < 0 {
			continue
		}
		if err := c.passLooseEntries(s, n.ino, expect); err != nil {
			return err
		}
		if err := c.checkDirectory(s, n, expect); err != nil {
			return err
		}
	}
	for s.ok {
		if err := c.passLoose(s, expect); err != nil {
			return err
		}
	}
	return c.fatal
}

// passLooseEntries passes over entries before a directory's that are of no
// directory, or of one whose inode cannot be read. What they name is as good as
// named: that it is not really is the same problem.
func (c *checker) passLooseEntries(s *stream, before, expect uint64) error {
	for s.ok && s.key.ID < before {
		if err := c.passLoose(s, expect); err != nil {
			return err
		}
	}
	return nil
}

// passLoose passes over the entries of one such parent.
func (c *checker) passLoose(s *stream, expect uint64) error {
	parent, n := s.key.ID, 0
	for s.ok && s.key.ID == parent {
		n++
		if e, err := decode(c, s.item, record.DecodeEntry); err == nil {
			if t := c.inodes.find(e.Inode); t != nil {
				t.flags |= flagLoose
				c.namedIn(t, parent)
			}
		}
		if err := c.count(record.KindEntry, expect); err != nil {
			return err
		}
		s.advance()
	}
	switch t := c.inodes.find(parent); {
	case t == nil:
		c.problem(Stray, Error, parent, "%s of a directory that does not exist", plural(n, record.KindEntry))
	case t.flags&flagUnreadable == 0:
		c.problem(Stray, Warning, parent, "%s of a %s", plural(n, record.KindEntry), typeName(t.typ))
	}
	return nil
}

// namedIn remembers the first directory that names a directory.
func (c *checker) namedIn(n *inode, parent uint64) {
	if n.dir >= 0 && c.inodes.dirs[n.dir].namedIn == 0 {
		c.inodes.dirs[n.dir].namedIn = parent
	}
}

// checkDirectory checks the entries of one directory, which the stream is at.
func (c *checker) checkDirectory(s *stream, n *inode, expect uint64) error {
	var set crypto.SetHash
	var entries, subdirs, unreadable uint64
	d := &c.inodes.dirs[n.dir]
	for s.ok && s.key.ID == n.ino {
		entries++
		e, err := decode(c, s.item, record.DecodeEntry)
		if err != nil {
			unreadable++
		} else {
			c.notNewer(e.Version, s.key)
			c.sets.Add(&set, record.EntrySet, record.EntryElement(n.ino, s.key.Hash, e))
			if e.Type == record.TypeDir {
				subdirs++
			}
			c.checkEntry(n, s.key.Hash, &e)
		}
		if err := c.count(record.KindEntry, expect); err != nil {
			return err
		}
		s.advance()
	}
	c.report.Counts.Entries += int64(entries)
	switch {
	case entries != d.entries || unreadable == 0 && subdirs != d.subdirs:
		c.problem(EntrySet, Error, n.ino, "the directory has %d entries and %d subdirectories, its inode counts %d and %d: some are missing, unreadable or were put back", entries, subdirs, d.entries, d.subdirs)
	case set != d.set:
		c.problem(EntrySet, Error, n.ino, "the entries of the directory are not those that it had: at least one was altered or exchanged")
	}
	return nil
}

// checkEntry compares an entry with its key and with the inode it names.
func (c *checker) checkEntry(parent *inode, h record.NameHash, e *record.Entry) {
	bad := func(format string, a ...any) {
		c.add(entryFinding(parent.ino, e, Entry, format, a...))
	}
	if record.NameHash(c.names.Hash(parent.ino, []byte(e.Name))) != h {
		bad("the entry lies under the key of another name")
	}
	n := c.inodes.find(e.Inode)
	if n == nil {
		bad("the entry names inode %d, which does not exist", e.Inode)
		return
	}
	n.links++
	if n.flags&flagUnreadable != 0 {
		return
	}
	if typ := uint8(e.Type >> 12); typ != n.typ {
		bad("the entry says that inode %d is a %s, but it is a %s", e.Inode, typeName(typ), typeName(n.typ))
	}
	switch {
	case parent.ino == record.RootInode:
		if n.dir < 0 || n.bucket != n.ino {
			bad("the root names inode %d, a %s of bucket %d, not a bucket", e.Inode, typeName(n.typ), n.bucket)
		}
	case n.bucket != parent.bucket:
		bad("the entry names inode %d of bucket %d, the directory belongs to bucket %d", e.Inode, n.bucket, parent.bucket)
	}
	if n.dir >= 0 {
		c.namedIn(n, parent.ino)
		if d := &c.inodes.dirs[n.dir]; d.parent != parent.ino {
			c.add(entryFinding(parent.ino, e, Parent, "the directory is named in directory %d, but believes to be in %d", parent.ino, d.parent))
		}
	}
}
