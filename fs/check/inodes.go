package check

import (
	"fmt"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// attached are the streams of the records that hang off inodes.
type attached struct {
	maps, data, packs, xattrs *stream
}

// checkInodes reads all inodes and, beside them, their extent map, data, pack
// and xattr records.
func (c *checker) checkInodes() error {
	c.inodes.prepare(c.head)
	in := c.stream(record.KindInode, values)
	defer in.stop()
	a := attached{
		c.stream(record.KindMap, sizes), c.stream(record.KindData, sizes),
		c.stream(record.KindPack, values), c.stream(record.KindXattr, values),
	}
	for _, s := range a.all() {
		defer s.stop()
	}
	expect := uint64(0)
	if c.head != nil {
		expect = c.head.Inodes
	}
	for in.ok {
		ino := in.key.ID
		if err := c.passStrays(&a, ino); err != nil {
			return err
		}
		if err := c.checkInode(in.item, &a); err != nil {
			return err
		}
		if err := c.count(record.KindInode, expect); err != nil {
			return err
		}
		in.advance()
	}
	if err := c.passRest(&a); err != nil {
		return err
	}
	for _, o := range c.orphans {
		if !o.seen {
			c.problem(Orphan, Error, o.ino, "orphan record (of data below %d) of an inode that does not exist", o.below)
		}
	}
	return c.fatal
}

func (a *attached) all() []*stream { return []*stream{a.maps, a.data, a.packs, a.xattrs} }

// passStrays passes over attached records of inodes before one, which do not
// exist: there should be none, except data that is still pending.
func (c *checker) passStrays(a *attached, before uint64) error {
	for _, s := range a.all() {
		for s.ok && s.key.ID < before {
			if err := c.passStray(s); err != nil {
				return err
			}
		}
	}
	return nil
}

// passRest is passStrays for everything after the last inode.
func (c *checker) passRest(a *attached) error {
	for _, s := range a.all() {
		for s.ok {
			if err := c.passStray(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) passStray(s *stream) error {
	ino := s.key.ID
	n, err := c.passInode(s, ino)
	if n > 0 {
		c.problem(Stray, Warning, ino, "%s of an inode that does not exist", plural(n, s.kind))
	}
	return err
}

// passInode passes over the records of one inode in a stream and returns how
// many of them are not pending.
func (c *checker) passInode(s *stream, ino uint64) (n int, err error) {
	for s.ok && s.key.ID == ino {
		if s.key.Kind != record.KindData && s.key.Kind != record.KindPack || !c.isPending(ino, s.key.Sub) {
			n++
		}
		if err := c.count(s.key.Kind, 0); err != nil {
			return n, err
		}
		s.advance()
	}
	return n, nil
}

func plural(n int, k record.Kind) string {
	if n == 1 {
		return fmt.Sprintf("a %s record", k)
	}
	return fmt.Sprintf("%d %s records", n, k)
}

// checkInode checks one inode and what is attached to it.
func (c *checker) checkInode(it item, a *attached) error {
	ino := it.key.ID
	c.totals.inodes++
	c.report.Counts.Inodes++
	o := c.orphanOf(ino)
	if o != nil {
		o.seen = true
	}
	n, err := decode(c, it, record.DecodeInode)
	if err != nil {
		c.inodes.addUnreadable(ino)
		return c.passAttached(a, ino, "")
	}
	c.notNewer(n.Version, it.key)
	if c.head != nil && ino >= c.head.NextInode {
		c.problem(Head, Error, ino, "the inode is numbered past the volume's next number %d", c.head.NextInode)
	}
	st := c.inodes.add(ino, n)
	c.checkOrphan(st, n, o)
	c.joinBucket(ino, n)
	if err := c.checkXattrs(a.xattrs, ino, n.XattrVersion); err != nil {
		return err
	}
	counts := &c.report.Counts
	switch {
	case n.IsDir():
		counts.Directories++
	case n.IsSymlink():
		counts.Symlinks++
	case n.IsRegular():
		counts.Files++
		return c.checkFile(ino, n, o, a)
	default:
		counts.Special++
	}
	return c.passAttached(a, ino, typeName(st.typ))
}

// passAttached passes over map, data and pack records of what is no regular
// file; they are a problem where its type is known.
func (c *checker) passAttached(a *attached, ino uint64, typ string) error {
	for _, s := range a.all() {
		n, err := c.passInode(s, ino)
		if err != nil {
			return err
		}
		if n > 0 && typ != "" {
			c.problem(Stray, Warning, ino, "%s of a %s", plural(n, s.kind), typ)
		}
	}
	return nil
}

// checkOrphan compares an inode with its orphan record.
func (c *checker) checkOrphan(st *inode, n *record.Inode, o *orphan) {
	switch {
	case o != nil && o.below == 0:
		st.flags |= flagOrphan
		c.report.Counts.Unnamed++
		if n.Nlink > 0 {
			c.problem(Orphan, Error, st.ino, "an orphan record says that the inode is to be deleted, but it has %d links", n.Nlink)
		}
	case n.Nlink == 0:
		c.problem(Unnamed, Error, st.ino, "the inode has no name, and no orphan record says that it is to be deleted")
	case o != nil && !n.IsRegular():
		c.problem(Orphan, Error, st.ino, "an orphan record says that data records are to be deleted, but this is a %s", typeName(st.typ))
	}
}

// joinBucket counts an inode to its bucket.
func (c *checker) joinBucket(ino uint64, n *record.Inode) {
	b := c.buckets[n.Bucket]
	if b == nil {
		c.problem(Bucket, Error, ino, "the inode belongs to bucket %d, which has no record", n.Bucket)
		return
	}
	b.found++
	b.foundBlocks += n.Blocks
	c.sets.Add(&b.foundSet, record.InodeSet, record.VersionElement(ino, n.Version))
	if (n.Bucket == record.RootBucket) != (ino == record.BucketDir(record.RootBucket)) {
		c.problem(Bucket, Error, ino, "the inode belongs to bucket %d", n.Bucket)
	}
}

// checkXattrs compares the xattr record of an inode with the version that the
// inode lists, 0 for none.
func (c *checker) checkXattrs(s *stream, ino, listed uint64) error {
	if !s.ok || s.key.ID != ino {
		if listed != 0 {
			c.problem(Xattr, Error, ino, "the xattr record, of version %d, is missing", listed)
		}
		return nil
	}
	version := uint64(0)
	_, err := decode(c, s.item, func(b []byte) (list []record.Xattr, err error) {
		list, version, err = record.DecodeXattrs(b)
		return list, err
	})
	if err == nil {
		c.notNewer(version, s.key)
		switch {
		case listed == 0:
			c.problem(Xattr, Warning, ino, "an xattr record, though the inode has no xattrs")
		case version != listed:
			c.problem(Xattr, Error, ino, "the xattr record is of version %d, not %d", version, listed)
		}
	}
	_, err = c.passInode(s, ino)
	return err
}

// contextOf returns what contents and envelope of a file are bound to.
func (c *checker) contextOf(ino uint64, n *record.Inode) crypto.FileContext {
	return crypto.FileContext{Volume: c.ID, Bucket: n.Bucket, Inode: ino}
}
