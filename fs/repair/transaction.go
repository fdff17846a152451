package repair

import (
	"crypto/rand"
	"fmt"
	"maps"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// transaction is a set of changes that are stored together, with the head and
// the buckets that go with them. All that it writes is of its version.
type transaction struct {
	version uint64
	batch   *store.Batch
	size    int64 // of what is not in the batch yet, about
	inodes  map[uint64]*changedInode
	buckets map[uint64]bool
	heading bool // the settings are in it
}

// changedInode is an inode record that a transaction writes.
type changedInode struct {
	record.Inode
	stored bool // there is one already,
	before uint64
	blocks uint64
}

// newLineage draws the number that a history of versions is known by.
func newLineage() (l [16]byte) {
	_, _ = rand.Read(l[:]) // never fails
	return l
}

// begin returns the transaction that changes go into.
func (r *repairer) begin() *transaction {
	if r.tx == nil {
		r.tx = &transaction{
			version: r.DB.NextVersion(), batch: &store.Batch{},
			inodes: make(map[uint64]*changedInode), buckets: make(map[uint64]bool),
		}
		r.tx.batch.UseReserve()
	}
	return r.tx
}

// put stores a record.
func (r *repairer) put(key, plain []byte) {
	r.begin().batch.Put(key, r.records.Seal(make([]byte, 0, len(plain)+crypto.SealOverhead), key, plain))
}

// inode returns an inode that the transaction changes.
func (r *repairer) inode(ino uint64) (*changedInode, error) {
	t := r.begin()
	if n := t.inodes[ino]; n != nil {
		return n, nil
	}
	n, err := read(r, record.InodeKey(ino), record.DecodeInode)
	if err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	c := &changedInode{Inode: *n, stored: true, before: n.Version, blocks: n.Blocks}
	t.inodes[ino] = c
	t.size += int64(len(n.Append(nil))) + inodeOverhead
	return c, nil
}

// newInode adds an inode to the volume.
func (r *repairer) newInode(ino uint64, n *record.Inode) *changedInode {
	t := r.begin()
	c := &changedInode{Inode: *n}
	t.inodes[ino] = c
	t.size += int64(len(n.Append(nil))) + inodeOverhead
	return c
}

// inodeOverhead is more than an inode record takes besides its plaintext.
const inodeOverhead = 128

// room commits the transaction if it has become big. Called between changes that
// need not be stored together.
func (r *repairer) room() error {
	if err := r.tick(int64(r.report.Transactions), 0, "transactions"); err != nil {
		return err
	}
	t := r.tx
	if t == nil {
		return nil
	}
	bytes, entries, _ := r.DB.Limits()
	if !r.small && t.batch.LSMBytes()+t.size < bytes/4 && int64(t.batch.Len()+len(t.inodes)) < entries/4 && t.batch.LogBytes() < r.DB.MaxLogBytes()/4 {
		return nil
	}
	return r.commit()
}

// commit stores the transaction, if there is one.
func (r *repairer) commit() error {
	t := r.tx
	if t == nil {
		return nil
	}
	for _, ino := range slices.Sorted(maps.Keys(t.inodes)) {
		n := t.inodes[ino]
		b := r.bucket(n.Bucket)
		t.buckets[n.Bucket] = true
		if n.stored {
			r.sets.Remove(&b.set, record.InodeSet, record.VersionElement(ino, n.before))
			b.blocks -= n.blocks
		} else {
			b.inodes++
		}
		n.Version = t.version
		r.sets.Add(&b.set, record.InodeSet, record.VersionElement(ino, n.Version))
		b.blocks += n.Blocks
		r.put(record.InodeKey(ino), n.Append(nil))
	}
	for _, id := range slices.Sorted(maps.Keys(t.buckets)) {
		r.putBucket(t, id)
	}
	h := &r.head
	h.Version, h.Epoch = t.version, t.version
	h.Inodes, h.Blocks = 0, 0
	for _, b := range r.buckets {
		h.Inodes, h.Blocks = h.Inodes+b.inodes, h.Blocks+b.blocks
	}
	h.BucketSet = r.bucketSet
	if t.heading {
		h.Settings = t.version
	}
	r.put(record.HeadKey(), h.Append(nil))
	if _, err := r.DB.Commit(t.batch); err != nil {
		return fmt.Errorf("transaction %d of the repair: %w", t.version, err)
	}
	r.report.Transactions++
	r.tx = nil
	r.refresh()
	if r.committed != nil {
		return r.committed()
	}
	return nil
}

// refresh reads what was committed from now on.
func (r *repairer) refresh() {
	if r.view != nil {
		r.view.Release()
	}
	r.view = r.DB.View()
}

// putBucket writes the record of a bucket, or deletes that of one without inodes.
func (r *repairer) putBucket(t *transaction, id uint64) {
	b := r.buckets[id]
	if b.version != 0 {
		r.sets.Remove(&r.bucketSet, record.BucketSet, record.VersionElement(id, b.version))
	}
	if b.inodes == 0 {
		if b.keyed {
			t.batch.Delete(record.BucketKey(id))
		}
		b.version = 0
		return
	}
	b.version, b.keyed = t.version, true
	r.sets.Add(&r.bucketSet, record.BucketSet, record.VersionElement(id, b.version))
	rec := record.Bucket{
		Version: t.version, Removed: b.removed, Direct: b.direct, Inodes: b.inodes, Blocks: b.blocks, InodeSet: b.set, Policy: b.policy,
	}
	r.put(record.BucketKey(id), rec.Append(nil))
}
