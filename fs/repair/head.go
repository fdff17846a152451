package repair

import (
	"errors"
	"maps"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// surveyHead reads the head, and its copy outside of the database, and makes of
// them the head that the repaired volume will have.
func (r *repairer) surveyHead() error {
	head, err := read(r, record.HeadKey(), record.DecodeHead)
	r.headFound = err == nil
	var saved *record.Head
	if r.HeadCopy != nil {
		if plain, openErr := r.records.Open(nil, record.HeadKey(), r.HeadCopy); openErr == nil {
			saved, _ = record.DecodeHead(plain) // as if there were none
		}
	}
	version := r.view.Version()
	switch {
	case r.headFound:
		r.head, r.stored = *head, *head
	case saved != nil:
		r.note(Made, 0, "the head record (%s), from its copy", why(err))
		r.head = *saved
	default:
		r.note(Made, 0, "the head record (%s), which names the newest keystore and volume header that there are", why(err))
		r.head = record.Head{Keystore: r.Keystore, Header: r.Header}
	}
	rolledBack := false
	if r.headFound && head.Version != version {
		rolledBack = true
		r.note(Counted, 0, "the head is of version %d, the store at %d: records were put back or lost, and what is there is taken as it is", head.Version, version)
	}
	if saved != nil {
		switch {
		case saved.Version > version:
			rolledBack = true
			r.note(Counted, 0, "the store is at version %d, but was at %d when the volume was last unmounted: the changes between are lost", version, saved.Version)
		case r.headFound && saved.Version == head.Version && *saved != *head:
			rolledBack = true
			r.note(Counted, 0, "the head is not the one that the volume was unmounted with, though of the same version %d", saved.Version)
		}
		r.head.NextInode = max(r.head.NextInode, saved.NextInode)
		r.head.NextRecord = max(r.head.NextRecord, saved.NextRecord)
	}
	if !r.headFound || rolledBack {
		r.head.Lineage = newLineage()
	}
	r.surveySettings(saved)
	return nil
}

// surveySettings reads the settings. Those that cannot be told to be the current
// ones do not decide how new buckets are encrypted.
func (r *repairer) surveySettings(saved *record.Head) {
	s, err := read(r, record.SettingsKey(), record.DecodeSettings)
	if err == nil {
		_, err = crypto.ParsePolicy(s.DefaultPolicy)
	}
	if err == nil && (r.headFound || saved != nil) && s.Version == r.head.Settings && !r.tooNew(s.Version) {
		return
	}
	r.settings = &record.Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}.String(), Region: r.Region}
	cause := "they are not of the version that the head names"
	switch {
	case err != nil:
		cause = why(err)
	default:
		r.settings.Region = s.Region
		if !r.headFound {
			cause = "without the head it cannot be told whether they are the current ones"
		}
	}
	if r.settings.Region == "" {
		r.settings.Region = kms.DefaultRegion
	}
	r.note(Made, 0, "the settings (%s): the default policy of new buckets is %s, the region %s", cause, r.settings.DefaultPolicy, r.settings.Region)
}

// surveyPending reads the pending records. A repair deletes all of them with its
// first transaction, as what they list is what no map names.
func (r *repairer) surveyPending() error {
	versions := make(map[uint64]bool)
	wrong := 0
	err := r.keys(record.Prefix(record.KindPending), func(k record.Key, raw []byte) error {
		r.pendingKeys = append(r.pendingKeys, raw)
		p, err := read(r, raw, record.DecodePending)
		if err != nil || p.Version <= r.head.Epoch || p.Version > r.head.Version || versions[p.Version] || k.ID >= r.head.NextRecord {
			wrong++
		}
		if err == nil {
			versions[p.Version] = true
			for _, d := range p.Data {
				r.pending[d] = true
			}
		}
		return r.tick(0, 0, "pending records")
	})
	if wrong > 0 || r.headFound && uint64(len(versions)) != r.head.Version-r.head.Epoch {
		r.note(Dropped, 0, "the pending records, which are not those that there should be")
	}
	return err
}

// surveyOrphans reads the orphan records.
func (r *repairer) surveyOrphans() error {
	return r.keys(record.Prefix(record.KindOrphan), func(k record.Key, raw []byte) error {
		o, err := read(r, raw, record.DecodeOrphan)
		found := orphan{good: err == nil && !r.tooNew(o.Version)}
		if err == nil {
			found.below = o.Below
		}
		r.orphans[k.ID] = found
		return r.tick(0, 0, "orphan records")
	})
}

// surveyBuckets reads the bucket records.
func (r *repairer) surveyBuckets() error {
	err := r.keys(record.Prefix(record.KindBucket), func(k record.Key, raw []byte) error {
		b := r.bucket(k.ID)
		b.keyed = true
		rec, err := read(r, raw, record.DecodeBucket)
		if err != nil {
			b.wrong = true
			return nil
		}
		b.record, b.version, b.removed, b.direct, b.policy = rec, rec.Version, rec.Removed, rec.Direct, rec.Policy
		r.sets.Add(&r.bucketSet, record.BucketSet, record.VersionElement(k.ID, rec.Version))
		if r.tooNew(rec.Version) {
			b.wrong = true
			r.note(Counted, record.BucketDir(k.ID), "the bucket record is of version %d, the store at %d", rec.Version, r.view.Version())
		}
		return r.tick(0, 0, "bucket records")
	})
	if err == nil && r.headFound && r.bucketSet != crypto.SetHash(r.head.BucketSet) {
		r.note(Counted, 0, "the set hash of the buckets: one is missing, added or from another version")
	}
	return err
}

// settleBuckets compares the buckets with their inodes, and says what their
// records are to be.
func (r *repairer) settleBuckets() error {
	var inodes, blocks uint64
	for _, id := range slices.Sorted(maps.Keys(r.buckets)) {
		b := r.buckets[id]
		r.settleBucket(id, b)
		inodes, blocks = inodes+b.inodes, blocks+b.blocks
		if b.wrong {
			r.work = true
		}
	}
	if r.headFound && (r.head.Inodes != inodes || r.head.Blocks != blocks) {
		r.note(Counted, 0, "the head counts %d inodes and %d blocks, there are %d and %d", r.head.Inodes, r.head.Blocks, inodes, blocks)
	}
	for i := range r.inodes.list {
		if n := &r.inodes.list[i]; n.flags&flagUnreadable == 0 && n.ino >= r.head.NextInode {
			r.head.NextInode = n.ino + 1
			if r.headFound {
				r.note(Counted, n.ino, "the inode is numbered past the volume's next number")
			}
		}
	}
	r.head.NextInode = max(r.head.NextInode, record.RootInode+1)
	if !r.headFound {
		r.head.NextInode = max(r.head.NextInode, r.maxInode+1)
	}
	if r.headFound && r.maxRecord >= r.head.NextRecord {
		r.note(Counted, 0, "data record %d is in use, the volume's next number is %d", r.maxRecord, r.head.NextRecord)
	}
	r.head.NextRecord = max(r.head.NextRecord, r.maxRecord+1)
	return nil
}

func (r *repairer) settleBucket(id uint64, b *bucket) {
	ino := record.BucketDir(id)
	dir := r.inodes.find(ino)
	gone := dir == nil || dir.flags&(flagDead|flagUnreadable) != 0
	switch {
	case b.inodes == 0 && b.alive == 0:
		b.wrong = true
		r.note(Dropped, ino, "the record of bucket %d, which has no inodes", id)
		return
	case b.record == nil && id == record.RootBucket:
		b.wrong = true
		r.note(Made, ino, "the record of the root's bucket")
	case b.record == nil:
		b.wrong = true
		b.policy = crypto.Policy{Algorithm: crypto.AlgorithmAES256}.String()
		if b.sample.Algorithm == crypto.AlgorithmKMS {
			b.policy = b.sample.String() // as its newest file has it
		}
		b.removed = gone
		r.note(Made, ino, "the bucket's record is lost: its policy is %s from now on", b.policy)
	case b.record.Inodes != b.inodes:
		b.wrong = true
		r.note(Counted, ino, "%d inodes of the bucket are left, its record counts %d", b.inodes, b.record.Inodes)
	case crypto.SetHash(b.record.InodeSet) != b.set:
		b.wrong = true
		r.note(Counted, ino, "the inodes of the bucket are not those that it had: at least one was put back or exchanged, and is taken as it is")
	case b.record.Blocks != b.blocks:
		b.wrong = true
		r.note(Counted, ino, "the files of the bucket have %d blocks, its record counts %d", b.blocks, b.record.Blocks)
	}
	if id == record.RootBucket {
		return
	}
	if _, err := crypto.ParsePolicy(b.policy); err != nil {
		b.wrong = true
		b.policy = crypto.Policy{Algorithm: crypto.AlgorithmAES256}.String()
		r.note(Made, ino, "the policy of the bucket (%v) is %s from now on", err, b.policy)
	}
	if b.removed != gone {
		b.wrong, b.removed = true, gone
		r.note(Counted, ino, "whether the bucket was removed")
	}
}

// missing reports whether an error says that there is no such record.
func missing(err error) bool { return errors.Is(err, store.ErrNotFound) }
