package check

import (
	"maps"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// bucket is a bucket record, and what was found of its inodes.
type bucket struct {
	id      uint64
	inodes  uint64
	blocks  uint64
	set     crypto.SetHash
	removed bool

	found       uint64
	foundBlocks uint64
	foundSet    crypto.SetHash
}

// loadBuckets reads the bucket records and compares their set with the head's.
func (c *checker) loadBuckets() error {
	var set crypto.SetHash
	unreadable := 0
	err := c.each(record.Prefix(record.KindBucket), func(it item) error {
		r, err := decode(c, it, record.DecodeBucket)
		if err != nil {
			unreadable++
			return c.count(it.key.Kind, 0)
		}
		id := it.key.ID
		c.notNewer(r.Version, it.key)
		c.sets.Add(&set, record.BucketSet, record.VersionElement(id, r.Version))
		c.buckets[id] = &bucket{id: id, inodes: r.Inodes, blocks: r.Blocks, set: r.InodeSet, removed: r.Removed}
		if id == record.RootBucket {
			return c.count(it.key.Kind, 0)
		}
		if !r.Removed {
			c.report.Counts.Buckets++
		}
		if _, err := crypto.ParsePolicy(r.Policy); err != nil {
			c.problem(Bucket, Error, id, "policy of the bucket: %v", err)
		}
		return c.count(it.key.Kind, 0)
	})
	if err != nil {
		return err
	}
	if c.head != nil && set != crypto.SetHash(c.head.BucketSet) {
		also := ""
		if unreadable > 0 {
			also = ", besides the unreadable ones"
		}
		c.problem(BucketSet, Error, 0, "the bucket records are not those of version %d: one is missing, added or from another version%s", c.head.Version, also)
	}
	return nil
}

// checkBuckets compares the buckets with their inodes, once all were seen.
func (c *checker) checkBuckets() error {
	for _, id := range slices.Sorted(maps.Keys(c.buckets)) {
		b := c.buckets[id]
		switch {
		case b.found != b.inodes:
			c.problem(InodeSet, Error, record.BucketDir(id), "%d inodes belong to the bucket, its record counts %d: some are missing, unreadable or were put back", b.found, b.inodes)
		case b.foundSet != b.set:
			c.problem(InodeSet, Error, record.BucketDir(id), "the inodes of the bucket are not those that it had: at least one is of another version, was put back or exchanged")
		case b.foundBlocks != b.blocks:
			c.problem(Totals, Error, record.BucketDir(id), "the files of the bucket have %d blocks, its record counts %d", b.foundBlocks, b.blocks)
		}
		if id != record.RootBucket {
			c.checkBucketDir(b)
		}
	}
	if c.buckets[record.RootBucket] == nil {
		c.problem(Bucket, Error, record.RootInode, "the root has no bucket record")
	}
	return nil
}

func (c *checker) checkBucketDir(b *bucket) {
	n := c.inodes.find(b.id)
	switch {
	case n == nil && b.removed, n != nil && n.flags&flagUnreadable != 0:
	case n == nil:
		c.problem(Bucket, Error, b.id, "the bucket's directory is missing")
	case n.dir < 0 || n.bucket != b.id:
		c.problem(Bucket, Error, b.id, "the bucket's directory is a %s of bucket %d", typeName(n.typ), n.bucket)
	case b.removed != (n.nlink == 0):
		c.problem(Bucket, Error, b.id, "the bucket's record and its directory do not agree whether the bucket was removed")
	}
}
