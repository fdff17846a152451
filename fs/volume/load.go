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
	plain, err := v.get(record.InodeKey(ino))
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrStale
	}
	if err != nil {
		return nil, damaged(record.KindInode, ino, err)
	}
	r, err := record.DecodeInode(plain)
	if err != nil {
		return nil, damaged(record.KindInode, ino, err)
	}
	return r, nil
}

// Peek returns the attributes of an inode without bringing it into memory, and
// the customer master key it depends on. Listings use it.
func (v *Volume) Peek(ino uint64) (record.Attr, string, error) {
	if n := v.table.pin(ino); n != nil {
		defer v.Unpin(n)
		a := n.Stat()
		n.Told.Store(a.Blocks)
		return a, n.keyID, nil
	}
	r, err := v.readInode(ino)
	if err != nil {
		return record.Attr{}, "", err
	}
	key := ""
	if r.IsRegular() {
		env, err := crypto.ParseEnvelope(r.Envelope)
		if err != nil {
			return r.Attr, "", damaged(record.KindInode, ino, fmt.Errorf("envelope: %w", err))
		}
		key = cmkID(env)
	}
	return r.Attr, key, nil
}
