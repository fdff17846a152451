package volume

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// KeyFiles says how many files of a bucket depend on a customer master key.
type KeyFiles struct {
	Bucket uint64
	Files  uint64
}

// CountKeyFiles counts the files whose data keys are wrapped under a customer
// master key, for each bucket that has any, in the order of their numbers. Files
// count that have a name, or are open without one. It sees what is durable: a
// caller that wants everything syncs before. It reads every inode record, one at
// a time, and holds up nobody; it gives up when ctx ends.
func (v *Volume) CountKeyFiles(ctx context.Context, keyID string) ([]KeyFiles, error) {
	counts := map[uint64]uint64{}
	view := v.db.View()
	defer view.Release()
	var plain []byte
	err := view.Iterate(record.Prefix(record.KindInode), nil, func(key, sealed []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, err := record.ParseKey(key)
		if err != nil {
			return damaged(record.KindInode, 0, err)
		}
		if plain, err = v.records.Open(plain[:0], key, sealed); err != nil {
			return damaged(record.KindInode, k.ID, err)
		}
		r, err := record.DecodeInode(plain)
		if err != nil {
			return damaged(record.KindInode, k.ID, err)
		}
		if !r.IsRegular() {
			return nil
		}
		env, err := crypto.ParseEnvelope(r.Envelope)
		if err != nil {
			return damaged(record.KindInode, k.ID, fmt.Errorf("envelope: %w", err))
		}
		if cmkID(env) == keyID {
			counts[r.Bucket]++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := make([]KeyFiles, 0, len(counts))
	for _, bucket := range slices.Sorted(maps.Keys(counts)) {
		list = append(list, KeyFiles{bucket, counts[bucket]})
	}
	return list, nil
}
