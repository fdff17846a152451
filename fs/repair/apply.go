package repair

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// carryOut carries the plan out.
func (r *repairer) carryOut() error {
	r.refresh()
	defer func() {
		r.view.Release()
		r.view = nil
	}()
	for _, step := range []func() error{
		r.writeHead, r.makeDirs, r.dropStray, r.writeOrphans, r.fixInodes, r.fixDirs, r.nameBuckets, r.nameRest, r.commit,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// writeHead makes head, settings and buckets what the survey found. Pending
// records go in the same transaction, for it is an epoch.
func (r *repairer) writeHead() error {
	if !r.headWrong() {
		return nil
	}
	t := r.begin()
	for _, key := range r.pendingKeys {
		t.batch.Delete(key)
	}
	if r.settings != nil {
		r.settings.Version = t.version
		r.put(record.SettingsKey(), r.settings.Append(nil))
		t.heading = true
	}
	for _, id := range slices.SortedFunc(maps.Keys(r.buckets), cmp.Compare[uint64]) {
		if b := r.buckets[id]; b.due() {
			r.begin().buckets[id] = true
			r.begin().size += bucketSize
			if err := r.room(); err != nil {
				return err
			}
		}
	}
	return r.commit()
}

// due reports whether a bucket's record is to be written, or deleted, with the
// head. One that will get its first inode only is written with that.
func (b *bucket) due() bool { return b.wrong && (b.inodes > 0 || b.keyed && b.alive == 0) }

// headWrong reports whether the head, or what goes with it, is not what it is to
// be.
func (r *repairer) headWrong() bool {
	for _, b := range r.buckets {
		if b.due() {
			return true
		}
	}
	if !r.headFound || r.settings != nil || len(r.pendingKeys) > 0 {
		return true
	}
	var inodes, blocks uint64
	for _, b := range r.buckets {
		inodes, blocks = inodes+b.inodes, blocks+b.blocks
	}
	want := r.head
	want.Inodes, want.Blocks, want.BucketSet = inodes, blocks, r.bucketSet
	return want != r.stored || want.Version != r.view.Version() || want.Epoch != want.Version
}

// bucketSize is about what a bucket record takes.
const bucketSize = 700

// dropStray deletes what belongs to nothing that stays.
func (r *repairer) dropStray() error {
	for _, key := range r.drops {
		r.begin().batch.Delete(key)
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// writeOrphans says of inodes without a name that they are to be deleted.
func (r *repairer) writeOrphans() error {
	for _, ino := range r.newO {
		n, err := r.inode(ino)
		if err != nil {
			return err
		}
		n.Nlink = 0
		o := record.Orphan{Version: r.tx.version}
		r.put(record.OrphanKey(ino), o.Append(nil))
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// makeDirs stores the directories that are made anew, with what will be in them.
func (r *repairer) makeDirs() error {
	now := clock()
	for _, ino := range slices.SortedFunc(maps.Keys(r.made), cmp.Compare[uint64]) {
		n := r.made[ino]
		n.Atime, n.Mtime, n.Ctime, n.Btime = now, now, now, now
		d := r.inodes.dir(r.inodes.find(ino))
		n.Entries, n.Subdirs, n.EntrySet = d.foundEntries, d.foundSubds, d.foundSet
		n.Nlink = 2 + uint32(d.foundSubds)
		r.newInode(ino, n)
		if err := r.room(); err != nil {
			return err
		}
	}
	// Its key is among those to be dropped if it could not be read.
	r.drops = slices.DeleteFunc(r.drops, func(key []byte) bool {
		k, err := record.ParseKey(key)
		return err == nil && k.Kind == record.KindInode && r.made[k.ID] != nil
	})
	return r.commit()
}

func clock() record.Time {
	t := time.Now()
	return record.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}

// fixInodes writes inodes again, with what hangs off them.
func (r *repairer) fixInodes() error {
	for _, ino := range slices.SortedFunc(maps.Keys(r.fixes), cmp.Compare[uint64]) {
		f := r.fixes[ino]
		if err := r.fixInode(ino, f); err != nil {
			return err
		}
		if err := r.room(); err != nil {
			return err
		}
		// What nothing names any more may go later.
		for _, key := range f.deletes {
			r.begin().batch.Delete(key)
			if err := r.room(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *repairer) fixInode(ino uint64, f *inodeFix) error {
	if !f.touch && !f.clearXattrs && !f.moveXattrs && !f.setNlink && !f.setParent && f.file == nil {
		return nil
	}
	if f.file != nil && len(f.file.packs) > 0 {
		if err := r.writePacks(ino, f.file.packs); err != nil {
			return err
		}
	}
	if f.file != nil && !f.touch && !f.clearXattrs && !f.moveXattrs && !f.setNlink && f.file.newMap == nil && !f.file.count {
		return nil
	}
	n, err := r.inode(ino)
	if err != nil {
		return err
	}
	version := r.tx.version
	if f.clearXattrs {
		n.XattrVersion = 0
		n.Mode &^= 0o070
		r.tx.batch.Delete(record.XattrKey(ino))
	}
	if f.moveXattrs {
		list, _, err := record.DecodeXattrs(r.reread(record.XattrKey(ino)))
		if err != nil {
			return fmt.Errorf("xattrs of inode %d: %w", ino, err)
		}
		n.XattrVersion = version
		r.put(record.XattrKey(ino), record.AppendXattrs(nil, version, list))
	}
	if f.setNlink {
		n.Nlink = f.nlink
	}
	if f.setParent {
		n.Parent = f.parent
	}
	if f.file != nil {
		r.writeMap(ino, n, f.file)
	}
	return nil
}

// reread returns the plaintext of a record that was read before, nil if it cannot
// be read now.
func (r *repairer) reread(key []byte) []byte {
	if r.get(key) != nil {
		return nil
	}
	return r.plain
}

// writePacks writes pack records.
func (r *repairer) writePacks(ino uint64, packs []newPack) error {
	for _, p := range packs {
		p.pack.Version = r.begin().version
		r.put(record.PackKey(ino, p.id), p.pack.Append(nil))
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// writeMap writes the nodes of a map that change, and the map in the inode.
func (r *repairer) writeMap(ino uint64, n *changedInode, f *fileFix) {
	version := r.tx.version
	current := func(refs []record.Ref) []record.Ref {
		refs = slices.Clone(refs)
		for i := range refs {
			if refs[i].Version == 0 {
				refs[i].Version = version
			}
		}
		return refs
	}
	for _, node := range f.nodes {
		key := record.MapKey(ino, node.level, node.index)
		if node.level == 0 {
			r.put(key, record.AppendLeaf(nil, version, node.leaf))
		} else {
			r.put(key, record.AppendNode(nil, version, current(node.refs)))
		}
	}
	if f.newMap != nil {
		n.Map = *f.newMap
		n.Map.Refs = current(f.newMap.Refs)
	}
	if f.count {
		n.Blocks = f.blocks
	}
}

// fixDirs drops and rewrites entries, and counts the directories anew.
func (r *repairer) fixDirs() error {
	for _, ino := range slices.SortedFunc(maps.Keys(r.dirFixes), cmp.Compare[uint64]) {
		f := r.dirFixes[ino]
		for _, h := range f.drop {
			r.begin().batch.Delete(record.EntryKey(ino, h))
			if err := r.room(); err != nil {
				return err
			}
		}
		for _, e := range f.rewrite {
			e.entry.Version = r.begin().version
			r.put(record.EntryKey(ino, e.hash), e.entry.Append(nil))
			if err := r.room(); err != nil {
				return err
			}
		}
		n, err := r.inode(ino)
		if err != nil {
			return err
		}
		d := r.inodes.dir(r.inodes.find(ino))
		n.Entries, n.Subdirs, n.EntrySet = d.foundEntries, d.foundSubds, d.foundSet
		n.Nlink = 2 + uint32(d.foundSubds)
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// nameBuckets gives names to buckets that have none.
func (r *repairer) nameBuckets() error {
	for _, ino := range r.nameless {
		if n := r.inodes.find(ino); n.bucket == ino {
			if err := r.enter(record.RootInode, ino); err != nil {
				return err
			}
			if err := r.room(); err != nil {
				return err
			}
		}
	}
	return nil
}

// nameRest gives names to everything else, in lost+found of its bucket.
func (r *repairer) nameRest() error {
	found := make(map[uint64]uint64) // the directory, of each bucket
	for _, ino := range r.nameless {
		n := r.inodes.find(ino)
		if n.bucket == ino {
			continue
		}
		dir, ok := found[n.bucket]
		if !ok {
			var err error
			if dir, err = r.lostFound(n.bucket); err != nil {
				return err
			}
			found[n.bucket] = dir
		}
		if err := r.enter(dir, ino); err != nil {
			return err
		}
		if err := r.room(); err != nil {
			return err
		}
	}
	return nil
}

// lostFoundName is what the directory for what has lost its name is called.
const lostFoundName = "lost+found"

// lostFound returns the directory of a bucket for what has lost its name. One that
// is there is used, if it is a directory; else one is made.
func (r *repairer) lostFound(bucket uint64) (uint64, error) {
	// What is in the transaction cannot be looked up.
	if err := r.commit(); err != nil {
		return 0, err
	}
	name := lostFoundName
	for i := 1; ; i++ {
		e, err := read(r, r.entryKey(bucket, name), record.DecodeEntry)
		if missing(err) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("%s of bucket %d: %w", name, bucket, err)
		}
		if e.Type == record.TypeDir {
			return e.Inode, nil
		}
		name = lostFoundName + "." + strconv.Itoa(i)
	}
	ino := r.head.NextInode
	r.head.NextInode++
	top, err := r.inode(bucket)
	if err != nil {
		return 0, err
	}
	now := clock()
	r.newInode(ino, &record.Inode{
		Attr: record.Attr{
			Bucket: bucket, Mode: record.TypeDir | 0o700, UID: top.UID, GID: top.GID, Nlink: 2,
			Atime: now, Mtime: now, Ctime: now, Btime: now,
		},
		Parent: bucket,
	})
	return ino, r.link(bucket, name, ino, record.TypeDir)
}

func (r *repairer) entryKey(dir uint64, name string) []byte {
	return record.EntryKey(dir, record.NameHash(r.names.Hash(dir, []byte(name))))
}

// enter gives an inode a name, made of its number, in a directory.
func (r *repairer) enter(dir, ino uint64) error {
	n, err := r.inode(ino)
	if err != nil {
		return err
	}
	name := "#" + strconv.FormatUint(ino, 10)
	for i := 1; ; i++ {
		err := r.get(r.entryKey(dir, name))
		if missing(err) {
			break
		}
		name = "#" + strconv.FormatUint(ino, 10) + "." + strconv.Itoa(i)
	}
	if n.IsDir() {
		n.Parent = dir
	} else {
		n.Nlink = 1
	}
	return r.link(dir, name, ino, n.Mode&record.TypeMask)
}

// link adds an entry to a directory.
func (r *repairer) link(dir uint64, name string, ino uint64, typ uint32) error {
	d, err := r.inode(dir)
	if err != nil {
		return err
	}
	e := record.Entry{Version: r.tx.version, Inode: ino, Type: typ, Name: name}
	h := record.NameHash(r.names.Hash(dir, []byte(name)))
	r.put(record.EntryKey(dir, h), e.Append(nil))
	r.sets.Add((*crypto.SetHash)(&d.EntrySet), record.EntrySet, record.EntryElement(dir, h, e))
	d.Entries++
	d.Mtime = clock()
	d.Ctime = d.Mtime
	if typ == record.TypeDir {
		d.Subdirs++
		d.Nlink++
	}
	return nil
}
