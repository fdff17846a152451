package volume

import (
	"bytes"
	"fmt"
	"slices"

	"ssefs/fs/record"
)

// resumeDeletions queues what earlier mounts left to be deleted: orphans, and
// data records that are still pending, whose map was never stored.
func (v *Volume) resumeDeletions() error {
	view := v.db.View()
	defer view.Release()
	var data, pending [][]byte // keys to be deleted
	// Each transaction since the last whole epoch has stored one pending record,
	// and that epoch deleted all before it: any other was put there.
	missing := make(map[uint64]bool)
	for n := v.head.Epoch + 1; n <= v.head.Version; n++ {
		missing[n] = true
	}
	err := view.Iterate(record.Prefix(record.KindPending), nil, func(key, value []byte) error {
		plain, err := v.records.Open(nil, key, value)
		if err != nil {
			return damaged(record.KindPending, 0, err)
		}
		p, err := record.DecodePending(plain)
		if err != nil {
			return damaged(record.KindPending, 0, err)
		}
		if !missing[p.Version] {
			return damaged(record.KindPending, 0, fmt.Errorf("record of version %d after epoch %d was stored", p.Version, v.head.Epoch))
		}
		delete(missing, p.Version)
		for _, d := range p.Data {
			data = append(data, record.DataKey(d.Inode, d.Record), record.PackKey(d.Inode, d.Record))
		}
		pending = append(pending, bytes.Clone(key))
		return nil
	})
	if err != nil {
		return err
	}
	// The pending records go last and together. What is committed before keeps the
	// epoch that they follow, so that after a crash in between they still count.
	v.resuming.Store(true)
	for keys := range slices.Chunk(data, reclaimBatch) {
		if err := v.removeKeys(keys, func() {}); err != nil {
			return err
		}
	}
	if err := v.removeKeys(pending, func() { v.resuming.Store(false) }); err != nil {
		return err
	}
	return view.Iterate(record.Prefix(record.KindOrphan), nil, func(key, value []byte) error {
		k, err := record.ParseKey(key)
		if err != nil {
			return damaged(record.KindOrphan, 0, err)
		}
		plain, err := v.records.Open(nil, key, value)
		if err != nil {
			return damaged(record.KindOrphan, k.ID, err)
		}
		o, err := record.DecodeOrphan(plain)
		if err != nil {
			return damaged(record.KindOrphan, k.ID, err)
		}
		return v.resumeOrphan(k.ID, o)
	})
}

// removeKeys deletes records in one bracket, in which it also calls also.
func (v *Volume) removeKeys(keys [][]byte, also func()) error {
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	for _, k := range keys {
		e.remove(k, v.now())
	}
	also()
	return nil
}

func (v *Volume) resumeOrphan(ino uint64, o *record.Orphan) error {
	n, err := v.inode(ino)
	if err != nil {
		return damaged(record.KindOrphan, ino, err)
	}
	n.mu.RLock()
	named := n.Nlink > 0
	n.mu.RUnlock()
	if o.Below == 0 && named {
		// Not one of ours: the epoch that gave the inode a name deleted its record.
		v.log.Error("an old orphan record was put back and is ignored; run ssefs fsck", "path", v.PathOf(n))
		v.Unpin(n)
		return nil
	}
	if o.Below == 0 {
		v.inodes.Add(-1)
		v.Unpin(n)
	} else {
		n.mu.Lock()
		n.sweep, n.sweepPinned = o.Below, true
		n.mu.Unlock()
	}
	v.reclaimLater(ino, o.Below)
	return nil
}
