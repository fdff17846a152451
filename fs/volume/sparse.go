package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// A data record is deleted with its last block. Until then it takes up the space
// of all, however few are in use: overwriting or cutting files here and there
// leaves many such records, which the store cannot know. Merging beside writers
// (merge.go) bounds that to once what is alive; here they are looked for and
// rewritten until little is left.

// thoroughPart and idlePart say from which part of its blocks on, one in so
// many, a record with dead blocks is rewritten: on request, and by itself.
const (
	thoroughPart = 64
	idlePart     = 20
)

// sparse reports whether so many dead of all blocks of a record are too many.
func sparse(live, blocks, part int) bool { return (blocks-live)*part >= blocks }

// Merged tells what MergeSparse did.
type Merged struct {
	Files  int   // in which there was something to rewrite
	Bytes  int64 // rewritten
	Locked int   // files left alone because their key cannot be used
	// NoSpace is set if it ended for want of space.
	NoSpace bool
	// Next is where to go on, 0 if nothing is left.
	Next uint64
}

// MergeSparse rewrites the blocks of sparse data records, of all files from the
// inode number from on, until about budget bytes were rewritten. Their records
// are dead once that is committed. It goes on beside everything else; ctx ends it
// between two steps.
func (v *Volume) MergeSparse(ctx context.Context, from uint64, budget int64, progress store.Progress) (m Merged, err error) {
	if err := v.writable(); err != nil {
		return m, err
	}
	var done int64
	err = v.eachInode(ctx, from, func(ino uint64) error {
		if progress != nil {
			progress(done, max(done, v.inodes.Load()), "merging files")
		}
		done++
		if m.Bytes >= budget {
			m.Next = ino
			return errStop
		}
		if err := v.mergeInode(ctx, ino, thoroughPart, &m); err != nil {
			return err
		}
		if m.NoSpace {
			return errStop
		}
		return nil
	})
	return m, err
}

// eachInode calls fn with the number of each stored inode from from on, until
// fn returns an error. That is returned unless it is errStop.
func (v *Volume) eachInode(ctx context.Context, from uint64, fn func(ino uint64) error) error {
	key := record.InodeKey(from)
	for {
		keys, err := v.someKeys(record.Prefix(record.KindInode), key)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			if err := ctx.Err(); err != nil {
				return err
			}
			parsed, err := record.ParseKey(k)
			if err != nil {
				return err
			}
			if err := fn(parsed.ID); err != nil {
				if errors.Is(err, errStop) {
					return nil
				}
				return err
			}
		}
		key = append(append([]byte(nil), keys[len(keys)-1]...), 0)
	}
}

// maySparse reports whether an inode may have sparse records, without bringing
// it into memory.
func (v *Volume) maySparse(ino uint64, part int) (bool, error) {
	if n := v.table.pin(ino); n != nil {
		defer v.Unpin(n)
		return n.IsRegular(), nil
	}
	r, err := v.readInode(ino)
	if errors.Is(err, ErrStale) {
		return false, nil
	}
	if err != nil || !r.IsRegular() || r.Nlink == 0 {
		return false, err
	}
	if r.Map.Height > 0 {
		return true, nil
	}
	for _, l := range r.Map.Leaves {
		if slices.ContainsFunc(l.Leaf.Recs, func(r extent.Rec) bool { return r.Shared }) || len(sparseBlocks(l.Leaf, 0, part)) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// mergeInode rewrites the blocks of the sparse records of an inode.
func (v *Volume) mergeInode(ctx context.Context, ino uint64, part int, m *Merged) error {
	v.waste.forget(ino)
	if may, err := v.maySparse(ino, part); err != nil || !may {
		return err
	}
	n, err := v.Inode(ino)
	if errors.Is(err, ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.Unpin(n)
	before := m.Bytes
	err = v.mergeLeaves(ctx, n, part, m)
	if err == nil {
		err = v.mergePacks(ctx, n, part, m)
	}
	if m.Bytes > before {
		m.Files++
	}
	switch {
	case errors.Is(err, errLocked):
		m.Locked++
		v.log.Debug("sparse records of a file stay as they are", "inode", ino, "err", err)
		return nil
	case errors.Is(err, ErrNoSpace):
		m.NoSpace = true
		return nil
	}
	return err
}

// errLocked is the error of a file whose key cannot be used.
var errLocked = errors.New("its key cannot be used")

// mergeLeaves rewrites the sparse records that belong to one leaf.
func (v *Volume) mergeLeaves(ctx context.Context, n *Inode, part int, m *Merged) error {
	for index := uint64(0); ; index++ {
		n.mu.Lock()
		i, ok, err := n.fmap.nextLeaf(v, n.Ino, index)
		var blocks []uint64
		if ok && err == nil {
			index = i
			var leaf *leafNode
			if leaf, err = n.fmap.leaf(v, n.Ino, i); leaf != nil {
				blocks = sparseBlocks(&leaf.Leaf, i, part)
			}
		}
		n.mu.Unlock()
		if err != nil || !ok {
			return err
		}
		if err := v.rewrite(ctx, n, blocks, m, func(leaf *extent.Leaf, r *extent.Rec) bool {
			return !r.Shared && sparse(liveBlocks(leaf, r.ID), int(r.Blocks), part)
		}); err != nil {
			return err
		}
	}
}

// sparseBlocks returns the logical blocks of a leaf that lie in sparse records
// of its own.
func sparseBlocks(l *extent.Leaf, index uint64, part int) (blocks []uint64) {
	live := blocksByRecord(l)
	for _, r := range l.Runs {
		rec := &l.Recs[r.Rec]
		if rec.Shared || !sparse(live[r.Rec], int(rec.Blocks), part) {
			continue
		}
		for b := r.Start; b < r.Start+r.Count; b++ {
			blocks = append(blocks, index*leafBlocks+uint64(b))
		}
	}
	return blocks
}

// liveBlocks returns how many blocks of a record a leaf names.
func liveBlocks(l *extent.Leaf, id uint64) (live int) {
	for _, r := range l.Runs {
		if l.Recs[r.Rec].ID == id {
			live += int(r.Count)
		}
	}
	return live
}

// mergePacks rewrites the sparse records that leaves share.
func (v *Volume) mergePacks(ctx context.Context, n *Inode, part int, m *Merged) error {
	var from []byte
	for {
		keys, err := v.someKeys(record.Prefix(record.KindPack, n.Ino), from)
		if err != nil || len(keys) == 0 {
			return err
		}
		for _, k := range keys {
			plain, err := v.get(k)
			if errors.Is(err, store.ErrNotFound) {
				continue // gone meanwhile
			}
			if err != nil {
				return damaged(record.KindPack, n.Ino, err)
			}
			p, err := record.DecodePack(plain)
			if err != nil {
				return damaged(record.KindPack, n.Ino, err)
			}
			if !sparse(int(p.Live), len(p.Logical), part) {
				continue
			}
			parsed, err := record.ParseKey(k)
			if err != nil {
				return err
			}
			if err := v.rewrite(ctx, n, p.Logical, m, func(_ *extent.Leaf, r *extent.Rec) bool {
				return r.ID == parsed.Sub
			}); err != nil {
				return err
			}
		}
		from = append(append([]byte(nil), keys[len(keys)-1]...), 0)
	}
}

// rewrite makes blocks dirty as they are, if they still lie in a record of
// which chosen says so. There are at most as many as a leaf has.
func (v *Volume) rewrite(ctx context.Context, n *Inode, blocks []uint64, m *Merged, chosen func(*extent.Leaf, *extent.Rec) bool) error {
	if len(blocks) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := v.Open(ctx, n, kms.Drive()); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", errLocked, err)
	}
	s, err := v.stock(len(blocks))
	if err != nil {
		return err
	}
	dirty, err := v.redirty(n, s, blocks, chosen)
	s.release()
	m.Bytes += int64(dirty) * crypto.BlockSize
	if err != nil {
		return err
	}
	n.mu.RLock()
	all := n.content.dirty
	n.mu.RUnlock()
	// The arena is for writers in the first place.
	if all >= writeBackBlocks || v.arena.used() > v.arena.total/mergeArenaPart {
		return v.SyncInode(n)
	}
	return nil
}

// redirty is rewrite with a stock of memory, and returns how many blocks it
// made dirty.
func (v *Volume) redirty(n *Inode, s *spare, blocks []uint64, chosen func(*extent.Leaf, *extent.Rec) bool) (dirty int, err error) {
	v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reaped || n.cipher.Load() == nil {
		return 0, nil
	}
	take := make([]uint64, 0, len(blocks))
	for _, logical := range blocks {
		leaf, err := n.fmap.leaf(v, n.Ino, logical/leafBlocks)
		if err != nil {
			return 0, err
		}
		if leaf == nil {
			continue
		}
		if rec, _, _, ok := leaf.Lookup(uint16(logical % leafBlocks)); ok && chosen(&leaf.Leaf, rec) {
			take = append(take, logical)
		}
	}
	for _, logical := range take {
		if v.dataWeight.Load() > v.limits.hard {
			return dirty, nil // the epoch is full: the rest another time
		}
		before := len(s.refs)
		if _, err := v.dirtyBlock(n, s, logical, keepOld); err != nil {
			return dirty, err
		}
		dirty += before - len(s.refs)
	}
	return dirty, nil
}
