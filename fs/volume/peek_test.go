package volume

import (
	"errors"
	"fmt"
	"testing"

	"ssefs/fs/record"
)

// listAttrs lists a directory with attributes, page by page, and stops a page
// short now and then.
func (x *testVolume) listAttrs(d *Inode, page int) map[string]Listed {
	x.Helper()
	r := newRand(x)
	found := make(map[string]Listed)
	l := x.v.NewListing(d)
	for after, more := uint64(0), true; more; {
		more = false
		room := page
		fits := func(record.Entry) bool { room--; return room >= 0 }
		x.must(l.ReadAttrs(x.v, after, fits, func(e *Listed) bool {
			if more && r.IntN(50) == 0 {
				return false
			}
			if _, ok := found[e.Name]; ok {
				x.Errorf("%s was listed twice", e.Name)
			}
			found[e.Name] = *e
			after, more = e.Cookie, true
			return true
		}))
	}
	return found
}

// TestReadAttrs compares what a listing says of inodes with what they say, in
// memory and not, near each other and far apart.
func TestReadAttrs(t *testing.T) {
	x := newTestVolume(t, Options{CachedInodes: 20})
	r := newRand(t)
	d := x.resolve("/b")
	x.mkdir("/other")
	for i := range 400 {
		for range r.IntN(2 + i/50) { // numbers that are not in the directory
			x.v.Unpin(x.newFile(fmt.Sprintf("/other/%d-%d", i, r.Uint64())))
		}
		n := x.newFile(fmt.Sprintf("/b/%d", i))
		x.write(n, 0, noise(uint64(i), i))
		if i%10 == 0 {
			x.must(x.v.Link(n, d.Ino, fmt.Sprintf("link%d", i)))
		}
		x.v.Unpin(n)
	}
	x.v.Unpin(d)
	x.reopen()
	d = x.resolve("/b")
	defer x.v.Unpin(d)
	for range 3 {
		for range 40 { // in memory, and changed
			n := x.file(fmt.Sprintf("/b/%d", r.IntN(400)))
			x.truncate(n, r.Uint64N(1000))
			x.v.Unpin(n)
		}
		found := x.listAttrs(d, 1+r.IntN(300))
		if len(found) != 440 {
			t.Fatalf("%d entries are listed", len(found))
		}
		for name, e := range found {
			n, err := x.v.Inode(e.Inode)
			x.must(err)
			if a := n.Stat(); e.Err != nil || e.Attr != a || e.KeyID != n.keyID {
				t.Errorf("%s: listed as %+v, %q, %v, is %+v, %q", name, e.Attr, e.KeyID, e.Err, a, n.keyID)
			}
			x.v.Unpin(n)
		}
		x.must(x.v.Sync())
	}
}

// TestReadAttrsOfDamaged: what is missing or damaged is told of each inode alone.
func TestReadAttrsOfDamaged(t *testing.T) {
	x := newTestVolume(t, Options{Logger: quiet()})
	for i := range 100 {
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/%d", i)))
	}
	gone, damaged := x.inode("/b/50"), x.inode("/b/60")
	last := x.inode("/b/99")
	x.reopen()
	x.v.commitMu.Lock()
	bt := newBatch()
	bt.Delete(record.InodeKey(gone))
	bt.Delete(record.InodeKey(last))
	bt.Put(record.InodeKey(damaged), []byte("no record at all"))
	head := x.v.head
	head.Version = x.db.NextVersion()
	x.v.put(bt, record.HeadKey(), head.Append(nil))
	x.must(x.v.commitBatch(bt))
	x.v.head = head
	x.v.commitMu.Unlock()
	d := x.resolve("/b")
	for name, e := range x.listAttrs(d, 1000) {
		switch e.Inode {
		case gone, last:
			if !errors.Is(e.Err, ErrStale) {
				t.Errorf("%s is missing: %v", name, e.Err)
			}
		case damaged:
			if !errors.Is(e.Err, ErrDamaged) {
				t.Errorf("%s is damaged: %v", name, e.Err)
			}
		default:
			if e.Err != nil || e.Attr.Mode == 0 {
				t.Errorf("%s: %+v, %v", name, e.Attr, e.Err)
			}
		}
	}
	x.v.Unpin(d)
	x.abandon()
}
