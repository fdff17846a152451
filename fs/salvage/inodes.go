package salvage

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// inode is what is remembered of an inode.
type inode struct {
	ino    uint64
	bucket uint64
	typ    uint8 // mode >> 12; 0 if the record cannot be read
	flags  uint8
}

// Flags of an inode.
const (
	flagCopied   = 1 << iota // it is in the copy, or its loss was noted
	flagNamed                // an entry of a directory that the root does not reach names it
	flagUnlinked             // its link count is 0: it was removed
	flagKept                 // it has more names, and lies in the directory for those
)

// table holds the inodes in the order of their numbers.
type table struct{ list []inode }

func (t *table) find(ino uint64) *inode {
	i, ok := slices.BinarySearchFunc(t.list, ino, func(n inode, ino uint64) int { return cmp.Compare(n.ino, ino) })
	if !ok {
		return nil
	}
	return &t.list[i]
}

// insert adds inodes without a record.
func (t *table) insert(more []uint64) {
	for _, ino := range more {
		t.list = append(t.list, inode{ino: ino})
	}
	slices.SortFunc(t.list, func(a, b inode) int { return cmp.Compare(a.ino, b.ino) })
}

// bucket is a bucket record, and what was found of its inodes.
type bucket struct {
	record *record.Bucket // nil if it is missing or cannot be read
	found  uint64
	set    crypto.SetHash
	name   string // of its directory in the copy; "" as long as there is none
}

func (s *salvager) bucket(id uint64) *bucket {
	b := s.buckets[id]
	if b == nil {
		b = &bucket{}
		s.buckets[id] = b
	}
	return b
}

func (s *salvager) readBuckets() error {
	return s.keys(record.Prefix(record.KindBucket), func(k record.Key, raw []byte) error {
		if s.get(raw) != nil {
			return nil // noted when its inodes are there
		}
		if r, err := record.DecodeBucket(s.plain); err == nil {
			s.bucket(k.ID).record = r
		}
		return nil
	})
}

// readInodes looks at all inode records.
func (s *salvager) readInodes() error {
	total := int64(0)
	if s.head != nil {
		total = int64(s.head.Inodes)
	}
	return s.keys(record.Prefix(record.KindInode), func(k record.Key, _ []byte) error {
		n, err := s.inode(k.ID)
		st := inode{ino: k.ID}
		if err == nil {
			st.bucket, st.typ = n.Bucket, uint8(n.Mode>>12)
			if n.Nlink == 0 {
				st.flags |= flagUnlinked
			}
			b := s.bucket(n.Bucket)
			b.found++
			s.sets.Add(&b.set, record.InodeSet, record.VersionElement(k.ID, n.Version))
		}
		s.inodes.list = append(s.inodes.list, st)
		return s.tick(int64(len(s.inodes.list)), total, "inodes")
	})
}

// inode reads an inode record.
func (s *salvager) inode(ino uint64) (*record.Inode, error) {
	if err := s.get(record.InodeKey(ino)); err != nil {
		return nil, err
	}
	return record.DecodeInode(s.plain)
}

// judgeBuckets compares the inodes found with the sets that the buckets had.
func (s *salvager) judgeBuckets() {
	for _, id := range slices.Sorted(maps.Keys(s.buckets)) {
		b := s.buckets[id]
		switch {
		case b.record == nil:
			s.lose(Loss{Kind: BucketSet, Inode: id, Message: fmt.Sprintf("the record of bucket %d cannot be read: its policy is lost, and it cannot be told whether files are missing", id)})
		case b.found != b.record.Inodes:
			s.lose(Loss{Kind: BucketSet, Inode: id, Message: fmt.Sprintf("%d inodes of bucket %d are readable, it had %d", b.found, id, b.record.Inodes)})
		case b.set != crypto.SetHash(b.record.InodeSet):
			s.lose(Loss{Kind: BucketSet, Inode: id, Message: fmt.Sprintf("the inodes of bucket %d are not those that it had: at least one is older", id)})
		}
	}
}

// why says in a few words why a record cannot be used.
func why(err error) string {
	if errors.Is(err, store.ErrNotFound) {
		return "it is missing"
	}
	return err.Error()
}
