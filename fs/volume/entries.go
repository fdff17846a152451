package volume

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"ssefs/fs/record"
	"ssefs/store"
)

// entryChanges are entries of one directory that an epoch added, changed or
// removed.
type entryChanges struct {
	m map[record.NameHash]entryChange

	// Listings, which hold the directory's mutex shared, sort the hashes when
	// they need them.
	sortMu sync.Mutex
	sorted []record.NameHash // of m, nil when it must be made anew
}

// entryChange is the entry as it is now, or the fact that it is gone.
type entryChange struct {
	record.Entry
	removed bool
	// fresh says that the store and the closing epoch have no such entry, so
	// that removing it again leaves nothing to store.
	fresh bool
}

func (c *entryChanges) keys() []record.NameHash {
	c.sortMu.Lock()
	defer c.sortMu.Unlock()
	if c.sorted == nil {
		c.sorted = make([]record.NameHash, 0, len(c.m))
		for h := range c.m {
			c.sorted = append(c.sorted, h)
		}
		slices.SortFunc(c.sorted, func(a, b record.NameHash) int { return slices.Compare(a[:], b[:]) })
	}
	return c.sorted
}

// entry finds a name in a directory. The caller holds d.mu.
func (v *Volume) entry(d *Inode, h record.NameHash, name string) (record.Entry, error) {
	for _, c := range []*entryChanges{d.dir.pending, d.dir.closing} {
		if c == nil {
			continue
		}
		if ch, ok := c.m[h]; ok {
			if ch.removed {
				return record.Entry{}, ErrNotExist
			}
			return ch.Entry, nil
		}
	}
	if d.stored == 0 {
		return record.Entry{}, ErrNotExist // a new directory: all it has is above
	}
	plain, err := v.get(record.EntryKey(d.Ino, h))
	if errors.Is(err, store.ErrNotFound) {
		return record.Entry{}, ErrNotExist
	}
	if err != nil {
		return record.Entry{}, damaged(record.KindEntry, d.Ino, err)
	}
	e, err := record.DecodeEntry(plain)
	if err != nil {
		return e, damaged(record.KindEntry, d.Ino, err)
	}
	if e.Name != name {
		return e, damaged(record.KindEntry, d.Ino, fmt.Errorf("entry has another name than it was looked up by"))
	}
	return e, nil
}

// addEntry puts a name into a directory that does not have it. The caller
// holds d.mu and is in a bracket of e.
func (v *Volume) addEntry(e *epoch, d *Inode, h record.NameHash, ent record.Entry) {
	v.setEntry(e, d, h, ent, true)
	d.dir.entries++
	d.countSubdirs(0, ent.Type)
}

// replaceEntry makes a name that the directory has mean another inode.
func (v *Volume) replaceEntry(e *epoch, d *Inode, h record.NameHash, old, ent record.Entry) {
	v.sets.Remove(&d.dir.set, record.EntrySet, record.EntryElement(d.Ino, h, old))
	v.setEntry(e, d, h, ent, false)
	d.countSubdirs(old.Type, ent.Type)
}

// countSubdirs accounts for an entry of one type that became another.
func (n *Inode) countSubdirs(before, after uint32) {
	if before == record.TypeDir {
		n.dir.subdirs--
		n.Nlink--
	}
	if after == record.TypeDir {
		n.dir.subdirs++
		n.Nlink++
	}
}

func (v *Volume) setEntry(e *epoch, d *Inode, h record.NameHash, ent record.Entry, fresh bool) {
	c := d.dir.pending
	if c == nil {
		c = &entryChanges{m: make(map[record.NameHash]entryChange)}
		d.dir.pending = c
	}
	if old, ok := c.m[h]; ok {
		fresh = old.fresh
	} else {
		c.sorted = nil
	}
	c.m[h] = entryChange{Entry: ent, fresh: fresh}
	v.sets.Add(&d.dir.set, record.EntrySet, record.EntryElement(d.Ino, h, ent))
	e.weight.Add(entryWeight + int64(len(ent.Name)))
	v.touchDir(e, d)
}

// removeEntry takes a name out of a directory. The caller holds d.mu and is in
// a bracket of e.
func (v *Volume) removeEntry(e *epoch, d *Inode, h record.NameHash, old record.Entry) {
	c := d.dir.pending
	if c == nil {
		c = &entryChanges{m: make(map[record.NameHash]entryChange)}
		d.dir.pending = c
	}
	if ch, ok := c.m[h]; ok && ch.fresh {
		delete(c.m, h)
	} else {
		c.m[h] = entryChange{removed: true}
	}
	c.sorted = nil
	v.sets.Remove(&d.dir.set, record.EntrySet, record.EntryElement(d.Ino, h, old))
	e.weight.Add(deleteWeight)
	d.dir.entries--
	d.countSubdirs(old.Type, 0)
	v.touchDir(e, d)
}

func (v *Volume) touchDir(e *epoch, d *Inode) {
	d.dir.changes++
	d.Mtime = v.clock()
	d.Ctime = d.Mtime
	v.change(e, d)
}
