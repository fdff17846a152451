package volume

import (
	"errors"
	"fmt"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// Listing reads a directory from front to back. Entries come in the order of
// their hashes, so that entries that come and go meanwhile neither hide nor
// repeat others. A Listing that went from the start to the end of a directory
// that did not change has seen its whole set of entries, and checks it. It is
// not safe for concurrent use.
type Listing struct {
	d *Inode

	whole   bool // everything since the start was seen by this listing
	next    uint64
	resume  *record.NameHash // the first entry with cookie next that was refused
	changes uint64
	set     crypto.SetHash

	page []Listed // of ReadAttrs, to be used again
}

// NewListing starts a listing of a directory.
func (v *Volume) NewListing(d *Inode) *Listing { return &Listing{d: d} }

// errStop ends a walk over the store.
var errStop = errors.New("stop")

// Read calls fn for the entries after a cookie, with each entry's own cookie,
// until fn returns false or the directory ends. Cookie 0 is the start. Should
// two names have hashes with the same cookie, a listing that stops between them
// remembers where to go on.
func (l *Listing) Read(v *Volume, after uint64, fn func(e record.Entry, cookie uint64) bool) error {
	l.d.mu.RLock()
	defer l.d.mu.RUnlock()
	return l.read(v, after, fn)
}

// read is Read for a caller that holds the directory's lock.
func (l *Listing) read(v *Volume, after uint64, fn func(e record.Entry, cookie uint64) bool) error {
	d := l.d
	if !d.IsDir() {
		return ErrNotDir
	}
	if after == 0 {
		l.whole, l.changes, l.set = true, d.dir.changes, crypto.SetHash{}
	} else if after != l.next || l.changes != d.dir.changes {
		l.whole = false
	}
	from, ok := record.HashAfter(after)
	if !ok {
		return nil
	}
	if l.resume != nil && after == l.next {
		from = *l.resume
	}
	l.resume = nil
	done := true
	emit := func(h record.NameHash, e record.Entry) bool {
		if !fn(e, h.Cookie()) {
			done = false
			if h.Cookie() == l.next {
				l.resume = &h
			}
			return false
		}
		l.next = h.Cookie()
		if l.whole {
			v.sets.Add(&l.set, record.EntrySet, record.EntryElement(d.Ino, h, e))
		}
		return true
	}
	if err := v.mergeEntries(d, from, emit); err != nil {
		return err
	}
	if done && l.whole && l.set != d.dir.set {
		return damaged(record.KindEntry, d.Ino, errors.New("the entries of the directory are not those it had: some are missing, added or older"))
	}
	return nil
}

// Each calls fn for every entry from the start on, until it returns false.
func (l *Listing) Each(v *Volume, fn func(e record.Entry, cookie uint64) bool) error {
	return l.Read(v, 0, fn)
}

// mergeEntries walks the stored entries from a hash on together with the changes of
// the closing and the current epoch, which win. The caller holds d.mu.
func (v *Volume) mergeEntries(d *Inode, from record.NameHash, emit func(record.NameHash, record.Entry) bool) error {
	changed := changedFrom(d, from)
	lookup := func(h record.NameHash) (entryChange, bool) {
		for _, c := range []*entryChanges{d.dir.pending, d.dir.closing} {
			if c != nil {
				if ch, ok := c.m[h]; ok {
					return ch, true
				}
			}
		}
		return entryChange{}, false
	}
	// upTo emits the changed entries before h, and reports whether to go on.
	upTo := func(h *record.NameHash) bool {
		for len(changed) > 0 && (h == nil || slices.Compare(changed[0][:], h[:]) < 0) {
			c := changed[0]
			changed = changed[1:]
			if ch, _ := lookup(c); !ch.removed && !emit(c, ch.Entry) {
				return false
			}
		}
		return true
	}
	if d.stored != 0 {
		view := v.db.View()
		defer view.Release()
		prefix := record.Prefix(record.KindEntry, d.Ino)
		err := view.Iterate(prefix, record.EntryKey(d.Ino, from), func(key, value []byte) error {
			k, err := record.ParseKey(key)
			if err != nil {
				return damaged(record.KindEntry, d.Ino, err)
			}
			if !upTo(&k.Hash) {
				return errStop
			}
			if len(changed) > 0 && changed[0] == k.Hash {
				return nil // the change is emitted instead
			}
			plain, err := v.records.Open(nil, key, value)
			if err != nil {
				return damaged(record.KindEntry, d.Ino, fmt.Errorf("entry %x: %w", k.Hash, err))
			}
			e, err := record.DecodeEntry(plain)
			if err != nil {
				return damaged(record.KindEntry, d.Ino, err)
			}
			if !emit(k.Hash, e) {
				return errStop
			}
			return nil
		})
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	upTo(nil)
	return nil
}

// changedFrom returns the hashes of changed entries from one on, in order.
func changedFrom(d *Inode, from record.NameHash) []record.NameHash {
	var lists [][]record.NameHash
	for _, c := range []*entryChanges{d.dir.pending, d.dir.closing} {
		if c == nil || len(c.m) == 0 {
			continue
		}
		keys := c.keys()
		i, _ := slices.BinarySearchFunc(keys, from, func(a, b record.NameHash) int { return slices.Compare(a[:], b[:]) })
		lists = append(lists, keys[i:])
	}
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	all := append(slices.Clone(lists[0]), lists[1]...)
	slices.SortFunc(all, func(a, b record.NameHash) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(all)
}
