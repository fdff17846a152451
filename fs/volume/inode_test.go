package volume

import (
	"fmt"
	"testing"
)

// TestStaleRead: a record that was read before somebody else changed the inode
// and let go of it does not become the inode.
func TestStaleRead(t *testing.T) {
	x := newTestVolume(t, Options{CachedInodes: 1})
	n := x.newFile("/b/f")
	ino := n.Ino
	x.v.Unpin(n)
	push := func() { // out of memory, by others of the same shard
		for i := range 64 * 40 {
			if k := x.v.nextInode.Load(); k%tableShards != ino%tableShards {
				x.v.nextInode.Add(1)
				continue
			}
			x.v.Unpin(x.newFile(fmt.Sprintf("/b/%d-%d", x.v.nextInode.Load(), i)))
		}
		x.must(x.v.Sync())
	}
	push()
	if n := x.v.table.pin(ino); n != nil {
		t.Fatal("the inode is still in memory")
	}
	changes := x.v.table.changes(ino)
	stale, err := x.v.loadInode(ino)
	x.must(err)
	n = x.resolve("/b/f")
	mode := uint32(0o600)
	x.must(x.v.SetAttr(n, Change{Mode: &mode}))
	x.must(x.v.Sync())
	x.v.Unpin(n)
	push()
	if n := x.v.table.addRead(stale, changes); n != nil {
		t.Errorf("the old record was taken, with mode %#o", n.Mode)
	}
	n = x.resolve("/b/f")
	if m := n.Stat().Mode & 0o7777; m != mode {
		t.Errorf("mode %#o", m)
	}
	x.v.Unpin(n)
}
