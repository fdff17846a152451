package repair

import (
	"errors"
	"slices"

	"ssefs/fs/record"
)

// errOtherName is returned for an entry that lies where it cannot be found.
var errOtherName = errors.New("it lies under the key of another name")

// entry reads a directory entry.
func (r *repairer) entry(k record.Key, raw []byte) (record.Entry, error) {
	e, err := read(r, raw, record.DecodeEntry)
	if err == nil && record.NameHash(r.names.Hash(k.ID, []byte(e.Name))) != k.Hash {
		err = errOtherName
	}
	return e, err
}

// lostDir is a directory of which there are entries and no inode record.
type lostDir struct {
	bucket  uint64 // that of an inode in it
	namedIn uint64
	entries bool
}

// surveyNames goes through all entries to see which directory each inode is named
// in, and of which directories there are entries only.
func (r *repairer) surveyNames() error {
	lost := make(map[uint64]lostDir)
	err := r.keys(record.Prefix(record.KindEntry), func(k record.Key, raw []byte) error {
		if err := r.tick(0, 0, "names"); err != nil {
			return err
		}
		e, err := r.entry(k, raw)
		if err != nil {
			return nil
		}
		r.maxInode = max(r.maxInode, e.Inode)
		parent, child := r.inodes.find(k.ID), r.inodes.find(e.Inode)
		if parent == nil || parent.flags&flagUnreadable != 0 {
			l := lost[k.ID]
			l.entries = true
			if child != nil && child.flags&flagUnreadable == 0 && l.bucket == 0 {
				l.bucket = child.bucket
			}
			lost[k.ID] = l
		} else if parent.dir < 0 {
			return nil
		}
		if child == nil || child.flags&flagUnreadable != 0 {
			l := lost[e.Inode]
			if e.Type == record.TypeDir && l.namedIn == 0 {
				l.namedIn = k.ID
				lost[e.Inode] = l
			}
			return nil
		}
		if child.namedIn == 0 || child.dir >= 0 && r.inodes.dir(child).parent == k.ID {
			child.namedIn = k.ID
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range r.inodes.list {
		n := &r.inodes.list[i]
		if n.flags&flagUnreadable == 0 && n.nlink == 0 && n.namedIn == 0 && n.ino != record.RootInode {
			n.flags |= flagDead
		}
	}
	return r.remake(lost)
}

// remake makes directories anew of which there are entries, and the root.
func (r *repairer) remake(lost map[uint64]lostDir) error {
	root := r.inodes.find(record.RootInode)
	if root == nil || root.flags&flagUnreadable != 0 {
		l := lost[record.RootInode]
		l.entries = true
		lost[record.RootInode] = l
	}
	for ino, l := range lost {
		b := r.buckets[ino]
		isBucket := b != nil && b.record != nil && !b.record.Removed && l.namedIn == record.RootInode
		if !l.entries && !isBucket {
			continue
		}
		bucket := l.bucket
		switch {
		case ino == record.RootInode:
			bucket = record.RootBucket
		case b != nil || l.namedIn == record.RootInode:
			bucket = ino
		case bucket == 0:
			if up := r.inodes.find(l.namedIn); up != nil && up.ino != record.RootInode {
				bucket = up.bucket
			}
		}
		if bucket == record.RootBucket && ino != record.RootInode {
			continue // nothing says where it belongs
		}
		r.make(ino, bucket, l.namedIn)
	}
	return nil
}

// make plans to make a directory anew.
func (r *repairer) make(ino, bucket, namedIn uint64) {
	n := inode{ino: ino, bucket: bucket, namedIn: namedIn, dir: int32(len(r.inodes.dirs)), typ: record.TypeDir >> 12, flags: flagMade, nlink: 2}
	r.inodes.dirs = append(r.inodes.dirs, dir{parent: namedIn})
	if old := r.inodes.find(ino); old != nil {
		*old = n
	} else {
		r.inodes.insert(n)
	}
	uid, gid := r.owner(bucket)
	r.made[ino] = &record.Inode{
		Attr:   record.Attr{Bucket: bucket, Mode: record.TypeDir | 0o700, UID: uid, GID: gid, Nlink: 2},
		Parent: max(namedIn, record.RootInode),
	}
	r.bucket(bucket)
	r.note(Made, ino, "the directory, whose attributes are lost: its mode is 0700")
}

// owner returns who owns what is made in a bucket: who owns its directory, else
// the root, else the user.
func (r *repairer) owner(bucket uint64) (uid, gid uint32) {
	for _, ino := range []uint64{record.BucketDir(bucket), record.RootInode} {
		if n, err := read(r, record.InodeKey(ino), record.DecodeInode); err == nil {
			return n.UID, n.GID
		}
	}
	return r.UID, r.GID
}

// surveyEntries goes through all entries again and decides which stay.
func (r *repairer) surveyEntries() error {
	total := uint64(0)
	for i := range r.inodes.dirs {
		total += r.inodes.dirs[i].entries
	}
	done, strays := int64(0), 0
	var stray uint64
	settleStrays := func() {
		if strays > 0 {
			r.note(Dropped, stray, "entries of what is no directory, or does not exist: %d", strays)
		}
		strays = 0
	}
	err := r.keys(record.Prefix(record.KindEntry), func(k record.Key, raw []byte) error {
		done++
		if err := r.tick(done, int64(total), "entries"); err != nil {
			return err
		}
		parent := r.inodes.alive(k.ID)
		if parent == nil || parent.dir < 0 {
			if stray != k.ID {
				settleStrays()
			}
			stray = k.ID
			strays++
			r.drops = append(r.drops, raw)
			return nil
		}
		e, err := r.entry(k, raw)
		if err != nil {
			r.note(Lost, k.ID, "a name in the directory (%v)", err)
			fix := r.dirFix(k.ID)
			fix.drop = append(fix.drop, k.Hash)
			return nil
		}
		r.surveyEntry(parent, k.Hash, e)
		return nil
	})
	settleStrays()
	return err
}

// surveyEntry decides about one entry.
func (r *repairer) surveyEntry(parent *inode, h record.NameHash, e record.Entry) {
	n := r.inodes.alive(e.Inode)
	cause := ""
	switch {
	case n == nil:
		cause = "it names an inode that is lost"
	case parent.ino == record.RootInode && (n.dir < 0 || n.bucket != n.ino):
		cause = "the root holds buckets only"
	case parent.ino != record.RootInode && (n.bucket != parent.bucket || n.ino == n.bucket || n.ino == record.RootInode):
		cause = "it names something that belongs to another bucket"
	case n.dir >= 0 && (n.namedIn != parent.ino || n.links > 0):
		cause = "the directory has another name"
	}
	if cause != "" {
		kind := Dropped
		if n == nil {
			kind = Lost
		}
		r.noteEntry(kind, parent.ino, e.Name, "the entry: %s", cause)
		fix := r.dirFix(parent.ino)
		fix.drop = append(fix.drop, h)
		return
	}
	if e.Type>>12 != uint32(n.typ) || r.tooNew(e.Version) {
		e.Type = uint32(n.typ) << 12
		r.noteEntry(Counted, parent.ino, e.Name, "the file type or version in the entry")
		fix := r.dirFix(parent.ino)
		fix.rewrite = append(fix.rewrite, rewrittenEntry{h, e})
	}
	n.links++
	n.namedIn = parent.ino
	d := r.inodes.dir(parent)
	d.foundEntries++
	if n.dir >= 0 {
		d.foundSubds++
	}
	r.sets.Add(&d.foundSet, record.EntrySet, record.EntryElement(parent.ino, h, e))
}

// breakLoops looks for directories that lie below themselves, and takes one of
// each such loop out of it.
func (r *repairer) breakLoops() error {
	for i := range r.inodes.list {
		n := &r.inodes.list[i]
		if n.dir < 0 || n.flags&(flagUnreadable|flagDead|flagReached) != 0 {
			continue
		}
		at := n
		for at.flags&(flagReached|flagVisiting) == 0 {
			at.flags |= flagVisiting
			if at.links == 0 || at.ino == record.RootInode {
				break
			}
			at = r.inodes.find(at.namedIn)
		}
		loop := at.flags&flagVisiting != 0 && at.links > 0 && at.ino != record.RootInode
		// All of them hang together, and will hang off the root.
		for up := n; up.flags&flagVisiting != 0; up = r.inodes.find(up.namedIn) {
			up.flags = up.flags&^flagVisiting | flagReached
			if up.links == 0 || up.ino == record.RootInode {
				break
			}
		}
		if loop {
			if err := r.unname(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// unname drops the entry of a directory.
func (r *repairer) unname(n *inode) error {
	parent := r.inodes.find(n.namedIn)
	d := r.inodes.dir(parent)
	return r.keys(record.Prefix(record.KindEntry, parent.ino), func(k record.Key, raw []byte) error {
		e, err := r.entry(k, raw)
		if err != nil || e.Inode != n.ino || n.links == 0 {
			return nil
		}
		e.Type = record.TypeDir
		r.noteEntry(Dropped, parent.ino, e.Name, "the entry: the directory would lie below itself")
		fix := r.dirFix(parent.ino)
		fix.drop = append(fix.drop, k.Hash)
		d.foundEntries--
		d.foundSubds--
		r.sets.Remove(&d.foundSet, record.EntrySet, record.EntryElement(parent.ino, k.Hash, e))
		n.links = 0
		return nil
	})
}

// settleDirs refuses to go on where a repair would make an empty volume of one
// that nobody knows what was in, and where the root is no directory.
func (r *repairer) settleDirs() error {
	if !r.headFound && !slices.ContainsFunc(r.inodes.list, func(n inode) bool { return n.flags&(flagUnreadable|flagMade) == 0 }) {
		return ErrNothing
	}
	if root := r.inodes.find(record.RootInode); root.dir < 0 {
		return errRoot
	}
	return nil
}

// ErrNothing is returned for a volume of which there is nothing left to repair.
var ErrNothing = errors.New("no inode of the volume can be read: there is nothing to repair; restore a backup")

// errRoot is returned for a root that is something else than a directory.
var errRoot = errors.New("the root is no directory: nothing can be repaired")

// settleLinks compares link counts, parents and orphan records with the names
// found, and finds what has none.
func (r *repairer) settleLinks() error {
	for i := range r.inodes.list {
		n := &r.inodes.list[i]
		if n.flags&flagUnreadable != 0 {
			r.drops = append(r.drops, record.InodeKey(n.ino))
			continue
		}
		if n.links == 0 && n.ino != record.RootInode && n.nlink == 0 && (n.dir < 0 || r.inodes.dir(n).foundEntries == 0) {
			n.flags |= flagDead
		}
		if n.flags&flagDead == 0 {
			r.bucket(n.bucket).alive++
		}
	}
	if err := r.reviveBuckets(); err != nil {
		return err
	}
	for i := range r.inodes.list {
		if n := &r.inodes.list[i]; n.flags&flagUnreadable == 0 {
			r.settleLink(n)
		}
	}
	r.settleOrphans()
	return nil
}

// reviveBuckets sees that each bucket that has inodes has a directory.
func (r *repairer) reviveBuckets() error {
	for id, b := range r.buckets {
		if id == record.RootBucket || b.alive == 0 {
			continue
		}
		n := r.inodes.find(id)
		switch {
		case n == nil || n.flags&flagUnreadable != 0:
			r.make(id, id, 0)
			b.alive++
		case n.dir >= 0 && n.flags&flagDead != 0:
			n.flags &^= flagDead
			b.alive++
		}
	}
	return nil
}

func (r *repairer) settleLink(n *inode) {
	if n.flags&flagDead != 0 {
		if o, ok := r.orphans[n.ino]; !ok || !o.good || o.below != 0 {
			r.note(Counted, n.ino, "an orphan record for the inode, which has no name")
			r.newO = append(r.newO, n.ino)
		}
		return
	}
	target := n.links
	if n.dir >= 0 {
		d := r.inodes.dir(n)
		target = 2 + uint32(d.foundSubds)
		if d.entries != d.foundEntries || d.subdirs != d.foundSubds || d.set != d.foundSet {
			r.dirFix(n.ino)
			if n.flags&flagMade == 0 {
				r.note(Counted, n.ino, "the directory has %d entries and %d subdirectories, its inode counts %d and %d", d.foundEntries, d.foundSubds, d.entries, d.subdirs)
			}
		}
		if n.flags&flagMade != 0 {
			r.dirFix(n.ino)
		}
		parent := n.namedIn
		if n.ino == record.RootInode {
			parent = record.RootInode
		}
		if (n.links > 0 || n.ino == record.RootInode) && d.parent != parent {
			if n.flags&flagMade == 0 {
				r.note(Counted, n.ino, "the directory that this one lies in")
			}
			r.fix(n.ino).setParent, r.fix(n.ino).parent = true, parent
		}
	}
	if n.links == 0 && n.ino != record.RootInode {
		if !r.placeable(n) {
			r.note(Left, n.ino, "the inode has no name, and its bucket %d cannot be", n.bucket)
			return
		}
		r.nameless = append(r.nameless, n.ino)
		r.act(Action{Kind: Moved, Inode: n.ino, Message: "it has lost its name, and gets one in lost+found of its bucket"})
		if n.dir < 0 {
			return // counted when it gets one: without a link it would be deleted if the repair ended before
		}
	}
	if n.nlink != target && n.flags&flagMade == 0 {
		if n.links > 0 || n.ino == record.RootInode {
			r.note(Counted, n.ino, "the link count is %d, not %d", target, n.nlink)
		}
		r.fix(n.ino).setNlink, r.fix(n.ino).nlink = true, target
	}
}

// placeable reports whether there is, or will be, a directory for what belongs to
// the inode's bucket.
func (r *repairer) placeable(n *inode) bool {
	if n.bucket == record.RootBucket {
		return false
	}
	top := r.inodes.alive(n.bucket)
	return top != nil && top.dir >= 0 && top.bucket == n.bucket
}

// settleOrphans drops orphan records that do not say what is so.
func (r *repairer) settleOrphans() {
	for ino, o := range r.orphans {
		n := r.inodes.find(ino)
		switch {
		case n == nil || n.flags&flagUnreadable != 0:
			r.note(Dropped, ino, "an orphan record of an inode that does not exist")
		case n.flags&flagDead != 0 && o.good && o.below == 0:
			continue
		case n.flags&flagDead != 0:
			continue // it is written again
		case o.good && o.below > 0 && uint32(n.typ)<<12 == record.TypeFile:
			continue
		default:
			r.note(Dropped, ino, "an orphan record of an inode that stays")
		}
		r.drops = append(r.drops, record.OrphanKey(ino))
	}
}
