package repair

import (
	"ssefs/crypto"
	"ssefs/fs/record"
)

// attached are the streams of the records that hang off inodes.
type attached struct {
	maps, data, packs, xattrs *stream
}

func (a *attached) all() []*stream { return []*stream{a.maps, a.data, a.packs, a.xattrs} }

// surveyInodes reads all inodes and, beside them, the keys of what hangs off
// them.
func (r *repairer) surveyInodes() error {
	in := r.stream(record.Prefix(record.KindInode))
	defer in.stop()
	a := attached{
		r.stream(record.Prefix(record.KindMap)), r.stream(record.Prefix(record.KindData)),
		r.stream(record.Prefix(record.KindPack)), r.stream(record.Prefix(record.KindXattr)),
	}
	for _, s := range a.all() {
		defer s.stop()
	}
	total := int64(r.head.Inodes)
	for ; in.ok; in.advance() {
		if err := r.tick(int64(len(r.inodes.list)), total, "inodes"); err != nil {
			return err
		}
		r.dropStrays(&a, in.ID)
		if err := r.surveyInode(in.ID, &a); err != nil {
			return err
		}
	}
	r.dropStrays(&a, 0)
	for _, s := range append(a.all(), in) {
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// dropStrays drops the records of inodes before one, which do not exist; of all
// if before is 0.
func (r *repairer) dropStrays(a *attached, before uint64) {
	for _, s := range a.all() {
		for s.ok && (before == 0 || s.ID < before) {
			kind, ino := s.Kind, s.ID
			if n := r.dropAll(s, ino); n > 0 {
				r.note(Dropped, ino, "%s records of an inode that does not exist: %d", kind, n)
			}
		}
	}
}

// dropAll drops the records of one inode in a stream and returns how many there
// were besides pending ones.
func (r *repairer) dropAll(s *stream, ino uint64) (n int) {
	for s.ok && s.ID == ino {
		r.drops = append(r.drops, append([]byte(nil), s.raw...))
		if s.Kind != record.KindData && s.Kind != record.KindPack || !r.pending[record.DataRef{Inode: ino, Record: s.Sub}] {
			n++
		}
		s.advance()
	}
	return n
}

// take returns the keys of one inode in a stream.
func take(s *stream, ino uint64) (keys []record.Key) {
	for s.ok && s.ID == ino {
		keys = append(keys, s.Key)
		s.advance()
	}
	return keys
}

// surveyInode reads one inode and what hangs off it.
func (r *repairer) surveyInode(ino uint64, a *attached) error {
	n, err := read(r, record.InodeKey(ino), record.DecodeInode)
	if err != nil {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		r.inodes.list = append(r.inodes.list, inode{ino: ino, dir: -1, flags: flagUnreadable})
		r.note(Lost, ino, "the inode record (%s), and with it attributes and contents", why(err))
		for _, s := range a.all() {
			r.dropAll(s, ino)
		}
		return nil
	}
	r.inodes.add(ino, n)
	if r.tooNew(n.Version) {
		r.note(Counted, ino, "the inode record is of version %d, the store at %d", n.Version, r.view.Version())
		r.fix(ino).touch = true
	}
	b := r.bucket(n.Bucket)
	b.inodes++
	b.blocks += n.Blocks
	r.sets.Add(&b.set, record.InodeSet, record.VersionElement(ino, n.Version))
	if o, ok := r.orphans[ino]; ok && o.good && o.below == 0 && n.Nlink == 0 {
		// It is being deleted, and any of its records may be gone. Should it turn
		// out to have a name, what is missing is EIO.
		for _, s := range a.all() {
			take(s, ino)
		}
		return nil
	}
	r.surveyXattrs(a.xattrs, ino, n)
	if !n.IsRegular() {
		for _, s := range a.all() {
			if count := r.dropAll(s, ino); count > 0 {
				r.note(Dropped, ino, "records that belong to a regular file, which this is not: %d", count)
			}
		}
		return nil
	}
	if env, err := crypto.ParseEnvelope(n.Envelope); err == nil {
		b.newest, b.sample = ino, crypto.Policy{Algorithm: env.Algorithm, Key: env.KeyID}
	}
	return r.surveyFile(ino, n, take(a.maps, ino), take(a.data, ino), take(a.packs, ino))
}

// surveyXattrs compares the xattr record of an inode with the version that the
// inode lists, 0 for none.
func (r *repairer) surveyXattrs(s *stream, ino uint64, n *record.Inode) {
	present := s.ok && s.ID == ino
	if present {
		take(s, ino)
	}
	if n.XattrVersion == 0 {
		if present {
			r.note(Dropped, ino, "an xattr record, though the inode has no xattrs")
			r.fix(ino).deletes = append(r.fix(ino).deletes, record.XattrKey(ino))
		}
		return
	}
	version := uint64(0)
	_, err := read(r, record.XattrKey(ino), func(b []byte) (list []record.Xattr, err error) {
		list, version, err = record.DecodeXattrs(b)
		return list, err
	})
	switch {
	case err != nil:
		r.note(Lost, ino, "extended attributes (%s); the group has no permissions any more, as there may have been an ACL", why(err))
	case version != n.XattrVersion:
		r.note(Lost, ino, "extended attributes (they are of version %d, not %d); the group has no permissions any more, as there may have been an ACL", version, n.XattrVersion)
	case r.tooNew(version):
		r.fix(ino).moveXattrs = true
		return
	default:
		return
	}
	r.fix(ino).clearXattrs = true
}
