package volume

import (
	"errors"
	"fmt"
	"sort"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// bucket is a bucket in memory: all of them are, for as long as they exist.
type bucket struct {
	id       uint64
	policy   crypto.Policy // guarded by Volume.bucketMu
	wrapping kms.Wrapping  // guarded by Volume.bucketMu
	removed  bool          // guarded by Volume.bucketMu

	// What follows is the committer's alone.
	version uint64
	inodes  uint64
	blocks  uint64
	set     crypto.SetHash
}

// bucketState is what of a bucket belongs to a closing epoch.
type bucketState struct {
	b        *bucket
	policy   crypto.Policy
	wrapping kms.Wrapping
	removed  bool
}

// BucketInfo describes a bucket.
type BucketInfo struct {
	Name   string
	Inode  uint64
	Policy crypto.Policy
	// Wrapping says whether bucket keys stand between the customer master key
	// and the data keys of new files.
	Wrapping kms.Wrapping
	UID      uint32
	GID      uint32
	Mode     uint32
	Btime    record.Time
}

// newBucket makes the bucket of a directory that is about to appear in the
// root.
func (v *Volume) newBucket(n *Inode, w *NewNode) error {
	p := v.Settings().DefaultPolicy
	if w.Policy != nil {
		p = *w.Policy
		if err := v.keyService.CheckPolicy(p); err != nil {
			return err
		}
	}
	v.bucketMu.Lock()
	v.buckets[n.Ino] = &bucket{id: n.Ino, policy: p, wrapping: w.Wrapping}
	v.bucketMu.Unlock()
	return nil
}

// dropBucket undoes newBucket, when the directory did not come to be.
func (v *Volume) dropBucket(n *Inode) {
	if n.IsDir() && n.Bucket == n.Ino {
		v.bucketMu.Lock()
		delete(v.buckets, n.Ino)
		v.bucketMu.Unlock()
	}
}

// removeBucket marks the bucket of a removed directory. Its record stays until
// its last inode is gone.
func (v *Volume) removeBucket(e *epoch, n *Inode) {
	v.bucketMu.Lock()
	if b := v.buckets[n.Ino]; b != nil {
		b.removed = true
	}
	v.bucketMu.Unlock()
}

// Policy returns the policy of a bucket, given by its directory's inode number.
func (v *Volume) Policy(id uint64) (crypto.Policy, error) {
	p, _, err := v.keyRules(id)
	return p, err
}

// Wrapping returns how data keys of new files in a bucket are wrapped.
func (v *Volume) Wrapping(id uint64) (kms.Wrapping, error) {
	_, w, err := v.keyRules(id)
	return w, err
}

// keyRules returns what decides about the data keys of new files in a bucket.
func (v *Volume) keyRules(id uint64) (crypto.Policy, kms.Wrapping, error) {
	v.bucketMu.RLock()
	defer v.bucketMu.RUnlock()
	b := v.buckets[id]
	if b == nil {
		return crypto.Policy{}, 0, ErrNotExist // removed meanwhile: mount has checked that all are there
	}
	return b.policy, b.wrapping, nil
}

// SetPolicy changes the policy for files created in the bucket from now on.
// Only its owner and root may: uid says who asks.
func (v *Volume) SetPolicy(n *Inode, p crypto.Policy, uid uint32) error {
	if err := mayRule(n, uid); err != nil {
		return err
	}
	if err := v.keyService.CheckPolicy(p); err != nil {
		return err
	}
	var old crypto.Policy
	err := v.changeBucket(n, func(b *bucket) { old, b.policy = b.policy, p })
	if err == nil {
		v.log.Info("bucket policy changed", "bucket", v.PathOf(n), "from", old, "to", p, "uid", uid)
	}
	return err
}

// SetWrapping changes how data keys of files created in the bucket from now on
// are wrapped. Only its owner and root may: uid says who asks.
func (v *Volume) SetWrapping(n *Inode, w kms.Wrapping, uid uint32) error {
	if err := mayRule(n, uid); err != nil {
		return err
	}
	return v.changeBucket(n, func(b *bucket) { b.wrapping = w })
}

// mayRule reports why a user cannot change what applies to a bucket.
func mayRule(n *Inode, uid uint32) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	switch {
	case !n.IsDir() || n.Bucket != n.Ino:
		return ErrNotBucket
	case uid != 0 && uid != n.UID:
		return ErrNotOwner
	}
	return nil
}

func (v *Volume) changeBucket(n *Inode, change func(*bucket)) error {
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	v.bucketMu.Lock()
	b := v.buckets[n.Ino]
	gone := b == nil || b.removed
	if !gone {
		change(b)
	}
	v.bucketMu.Unlock()
	if gone {
		return ErrNotExist
	}
	e.mu.Lock()
	e.buckets[n.Ino] = struct{}{}
	e.touched(v.now())
	e.mu.Unlock()
	e.weight.Add(inodeWeight)
	return nil
}

// ErrNotBucket is returned for a policy on something that is not a bucket.
var ErrNotBucket = errors.New("only buckets have a policy")

// Buckets lists the buckets by name.
func (v *Volume) Buckets() ([]BucketInfo, error) {
	root, err := v.Inode(RootInode)
	if err != nil {
		return nil, err
	}
	defer v.Unpin(root)
	var list []BucketInfo
	var inner error
	l := v.NewListing(root)
	err = l.Each(v, func(e record.Entry, _ uint64) bool {
		n, err := v.Inode(e.Inode)
		if err != nil {
			inner = err
			return false
		}
		defer v.Unpin(n)
		p, w, err := v.keyRules(e.Inode)
		if err != nil {
			inner = err
			return false
		}
		a := n.Stat()
		list = append(list, BucketInfo{e.Name, e.Inode, p, w, a.UID, a.GID, a.Mode & 0o7777, a.Btime})
		return true
	})
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, errors.Join(err, inner)
}

// captureBuckets returns the policies of the buckets that a closing epoch
// stores, as they are now.
func (v *Volume) captureBuckets(c *closing) map[uint64]bucketState {
	m := make(map[uint64]bucketState)
	v.bucketMu.RLock()
	defer v.bucketMu.RUnlock()
	add := func(id uint64) {
		if _, ok := m[id]; ok {
			return
		}
		if b := v.buckets[id]; b != nil {
			m[id] = bucketState{b, b.policy, b.wrapping, b.removed}
		}
	}
	for i := range c.items {
		add(c.items[i].bucket)
	}
	for id := range c.buckets {
		add(id)
	}
	return m
}

// countInode brings its bucket's set and the head's counters up to an inode's
// new version.
func (v *Volume) countInode(c *closing, it *item) {
	st, ok := c.policies[it.bucket]
	if !ok {
		return
	}
	b, ino := st.b, it.inode.Ino
	if it.before != 0 {
		v.sets.Remove(&b.set, record.InodeSet, record.VersionElement(ino, it.before))
		b.inodes--
		b.blocks -= it.blocksBefore
		c.head.Inodes--
	}
	if !it.gone {
		b.blocks += it.blocks
		v.sets.Add(&b.set, record.InodeSet, record.VersionElement(ino, c.version))
		b.inodes++
		c.head.Inodes++
	}
}

// storeBuckets writes the records of the buckets that the epoch touched.
func (v *Volume) storeBuckets(batch *store.Batch, c *closing) {
	for id, st := range c.policies {
		b := st.b
		if b.version != 0 {
			v.sets.Remove((*crypto.SetHash)(&c.head.BucketSet), record.BucketSet, record.VersionElement(id, b.version))
		}
		if st.removed && b.inodes == 0 {
			if b.version != 0 {
				batch.Delete(record.BucketKey(id))
			}
			v.bucketMu.Lock()
			delete(v.buckets, id)
			v.bucketMu.Unlock()
			continue
		}
		b.version = c.version
		v.sets.Add((*crypto.SetHash)(&c.head.BucketSet), record.BucketSet, record.VersionElement(id, b.version))
		r := record.Bucket{Version: c.version, Removed: st.removed, Inodes: b.inodes, Blocks: b.blocks, InodeSet: b.set}
		if id != record.RootBucket {
			r.Policy = st.policy.String()
			r.Direct = st.wrapping == kms.Direct
		}
		v.put(batch, record.BucketKey(id), r.Append(nil))
	}
}

// loadBuckets reads the bucket records and checks them against the head.
func (v *Volume) loadBuckets() error {
	var set crypto.SetHash
	view := v.db.View()
	defer view.Release()
	err := view.Iterate(record.Prefix(record.KindBucket), nil, func(key, value []byte) error {
		k, err := record.ParseKey(key)
		if err != nil {
			return damaged(record.KindBucket, 0, err)
		}
		plain, err := v.records.Open(nil, key, value)
		if err != nil {
			return damaged(record.KindBucket, k.ID, err)
		}
		r, err := record.DecodeBucket(plain)
		if err != nil {
			return damaged(record.KindBucket, k.ID, err)
		}
		b := &bucket{id: k.ID, removed: r.Removed, version: r.Version, inodes: r.Inodes, blocks: r.Blocks, set: r.InodeSet}
		if k.ID != record.RootBucket {
			if b.policy, err = crypto.ParsePolicy(r.Policy); err != nil {
				return damaged(record.KindBucket, k.ID, err)
			}
		}
		if r.Direct {
			b.wrapping = kms.Direct
		}
		v.buckets[k.ID] = b
		v.sets.Add(&set, record.BucketSet, record.VersionElement(k.ID, r.Version))
		return nil
	})
	if err != nil {
		return err
	}
	if set != crypto.SetHash(v.head.BucketSet) {
		return damaged(record.KindBucket, 0, fmt.Errorf("bucket records are not those of epoch %d: one is missing, added or older", v.head.Version))
	}
	return nil
}
