package volume

import (
	"errors"
	"fmt"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// Inode returns an inode, pinned, reading it if it is not in memory. It
// returns ErrStale for one that is gone.
func (v *Volume) Inode(ino uint64) (*Inode, error) {
	n, err := v.inode(ino)
	if err != nil {
		return nil, err
	}
	n.mu.RLock()
	gone := n.reaped
	n.mu.RUnlock()
	if gone {
		v.Unpin(n)
		return nil, ErrStale
	}
	return n, nil
}

// inode is Inode, but also returns inodes that are being deleted.
func (v *Volume) inode(ino uint64) (*Inode, error) {
	for {
		if n := v.table.pin(ino); n != nil {
			return n, nil
		}
		changes := v.table.changes(ino)
		n, err := v.loadInode(ino)
		if err != nil {
			return nil, err
		}
		if n = v.table.addRead(n, changes); n != nil {
			return n, nil
		}
	}
}

// loadInode makes an inode of its record.
func (v *Volume) loadInode(ino uint64) (*Inode, error) {
	r, err := v.readInode(ino)
	if err != nil {
		return nil, err
	}
	n := &Inode{
		Ino: ino, fileType: r.Mode & record.TypeMask, Attr: r.Attr, xattrVersion: r.XattrVersion, target: r.Target, envelope: r.Envelope,
		parent: r.Parent, stored: r.Version, storedBlocks: r.Blocks,
		dir: directory{entries: r.Entries, subdirs: r.Subdirs, set: r.EntrySet},
	}
	if n.Nlink == 0 {
		// While somebody uses an inode without a name, it is in memory: this one
		// waits to be deleted.
		n.unlinked, n.orphanStored, n.reaped = true, true, true
	}
	if !n.IsDir() {
		n.parent = v.table.seenIn(ino)
	}
	if n.IsRegular() {
		n.fmap.load(&r.Map)
		n.content.size = n.Size
		env, err := crypto.ParseEnvelope(n.envelope)
		if err != nil {
			return nil, damaged(record.KindInode, ino, fmt.Errorf("envelope: %w", err))
		}
		n.keyID = cmkID(env)
	}
	return n, nil
}

// readInode reads an inode record, past the inodes in memory.
func (v *Volume) readInode(ino uint64) (*record.Inode, error) {
	view := v.db.View()
	defer view.Release()
	key := record.InodeKey(ino)
	var r *record.Inode
	err := view.Get(key, func(value []byte) (err error) {
		r, err = v.openInode(ino, key, value)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrStale
	case err != nil && !errors.Is(err, ErrDamaged):
		return nil, damaged(record.KindInode, ino, err)
	}
	return r, err
}

// openInode opens an inode record.
func (v *Volume) openInode(ino uint64, key, value []byte) (*record.Inode, error) {
	plain, err := v.records.Open(nil, key, value)
	if err != nil {
		return nil, damaged(record.KindInode, ino, err)
	}
	r, err := record.DecodeInode(plain)
	if err != nil {
		return nil, damaged(record.KindInode, ino, err)
	}
	return r, nil
}
