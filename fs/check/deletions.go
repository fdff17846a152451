package check

import (
	"cmp"
	"slices"

	"ssefs/fs/record"
)

// orphan is an orphan record. They come sorted by inode.
type orphan struct {
	ino   uint64
	below uint64
	seen  bool // its inode exists
}

// pendingData is a data record listed by a pending record. They are sorted.
type pendingData struct {
	ino, rec uint64
}

func (p pendingData) compare(q pendingData) int {
	return cmp.Or(cmp.Compare(p.ino, q.ino), cmp.Compare(p.rec, q.rec))
}

// loadDeletions reads what is waiting to be deleted: orphan and pending
// records. There are few of them, except after big removals.
func (c *checker) loadDeletions() error {
	err := c.each(record.Prefix(record.KindOrphan), func(it item) error {
		o, err := decode(c, it, record.DecodeOrphan)
		if err == nil {
			c.notNewer(o.Version, it.key)
			c.orphans = append(c.orphans, orphan{ino: it.key.ID, below: o.Below})
		}
		return c.count(it.key.Kind, 0)
	})
	if err != nil {
		return err
	}
	return c.loadPending()
}

// loadPending reads the pending records. Each transaction since the last whole
// epoch has stored one, and that epoch deleted all before it.
func (c *checker) loadPending() error {
	versions := make(map[uint64]bool)
	unreadable := uint64(0)
	err := c.each(record.Prefix(record.KindPending), func(it item) error {
		p, err := decode(c, it, record.DecodePending)
		switch {
		case err != nil:
			unreadable++
		case c.checkPending(it.key, p.Version, versions):
			for _, d := range p.Data {
				c.pending = append(c.pending, pendingData{d.Inode, d.Record})
			}
		}
		return c.count(it.key.Kind, 0)
	})
	slices.SortFunc(c.pending, pendingData.compare)
	if err != nil || c.head == nil {
		return err
	}
	if due, found := c.head.Version-c.head.Epoch, uint64(len(versions))+unreadable; found < due {
		c.problem(Pending, Error, 0, "%d of the pending records stored since the epoch of version %d are missing: what they list would never be deleted", due-found, c.head.Epoch)
	}
	return nil
}

// checkPending compares the number and version of a pending record with the
// head, and reports whether it is one that should be there.
func (c *checker) checkPending(k record.Key, version uint64, versions map[uint64]bool) bool {
	if c.head == nil {
		return true
	}
	switch {
	case version > c.head.Version:
		c.notNewer(version, k)
	case version <= c.head.Epoch:
		c.problem(Pending, Error, 0, "pending record %d, of version %d, was put back: the epoch of version %d deleted it", k.ID, version, c.head.Epoch)
	case versions[version]:
		c.problem(Pending, Error, 0, "pending record %d is not the only one of version %d", k.ID, version)
	default:
		if k.ID >= c.head.NextRecord {
			c.problem(Pending, Error, 0, "pending record %d is numbered past the volume's next number %d", k.ID, c.head.NextRecord)
		}
		versions[version] = true
		return true
	}
	return false
}

// decode opens and decodes a record, and notes if it cannot.
func decode[R any](c *checker, it item, fn func([]byte) (R, error)) (R, error) {
	err := c.open(it.raw, it.sealed)
	if err == nil {
		var r R
		if r, err = fn(c.plain); err == nil {
			return r, nil
		}
	}
	c.unreadable(it.key, err)
	var none R
	return none, err
}

// isPending reports whether a data record is listed as pending.
func (c *checker) isPending(ino, rec uint64) bool {
	if len(c.pending) == 0 {
		return false
	}
	_, ok := slices.BinarySearchFunc(c.pending, pendingData{ino, rec}, pendingData.compare)
	return ok
}

// orphanOf returns the orphan record of an inode, nil if there is none.
func (c *checker) orphanOf(ino uint64) *orphan {
	if len(c.orphans) == 0 {
		return nil
	}
	i, ok := slices.BinarySearchFunc(c.orphans, ino, func(o orphan, ino uint64) int { return cmp.Compare(o.ino, ino) })
	if !ok {
		return nil
	}
	return &c.orphans[i]
}
