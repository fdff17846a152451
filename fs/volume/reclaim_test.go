package volume

import (
	"errors"
	"fmt"
	"testing"

	"ssefs/fs/record"
)

// TestBigUnlink: a file of thousands of records is removed bit by bit, and
// nothing of it is left, its orphan record included.
func TestBigUnlink(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/big")
	for i := range 3000 { // its own leaf each: the map has nodes
		x.write(n, uint64(i)<<20, noise(uint64(i), 100))
	}
	x.must(x.v.Sync())
	ino := n.Ino
	x.v.Unpin(n)
	before := x.v.inodes.Load()
	x.must(x.v.Unlink(x.inode("/b"), "big"))
	x.must(x.v.Sync())
	x.eventually("the records are gone", func() bool {
		x.must(x.v.Sync())
		return x.records(record.KindInode, ino) == 0
	})
	for _, k := range []record.Kind{record.KindData, record.KindPack, record.KindMap, record.KindOrphan} {
		if got := x.records(k); got != 0 {
			t.Errorf("%d %s records are left", got, k)
		}
	}
	if got := x.v.inodes.Load(); got != before-1 {
		t.Errorf("the volume counts %d inodes, want %d", got, before-1)
	}
	x.reopen()
	x.reopen()
}

// TestManyOrphansAfterCrash: more unlinked open files than inodes are cached.
func TestManyOrphansAfterCrash(t *testing.T) {
	x := newTestVolume(t, Options{CachedInodes: 64})
	const files = 1500
	var open []*Inode
	for i := range files {
		n := x.newFile(fmt.Sprintf("/b/%d", i))
		n.Acquire()
		open = append(open, n)
		if i%100 == 0 {
			x.write(n, 0, noise(1, 300))
		}
	}
	b := x.inode("/b")
	for i := range files {
		x.must(x.v.Unlink(b, fmt.Sprint(i)))
	}
	x.must(x.v.Sync())
	if got := x.records(record.KindOrphan); got != files {
		t.Fatalf("%d orphan records, want %d", got, files)
	}
	_ = open
	x.crash()
	x.eventually("the orphans are gone", func() bool {
		x.must(x.v.Sync())
		return x.records(record.KindInode) == 2 && x.records(record.KindOrphan) == 0
	})
	x.reopen()
	if got := x.v.inodes.Load(); got != 2 {
		t.Errorf("the volume counts %d inodes, want 2", got)
	}
}

// sparse makes a file of so many leaves that cutting it leaves a sweep.
func (x *testVolume) sparse(n *Inode, leaves int) {
	x.Helper()
	for i := range leaves {
		x.write(n, uint64(i)<<20, noise(uint64(i), 100))
	}
}

// TestSweepAfterTruncate: what a truncate of many leaves leaves behind goes,
// and what is written over it meanwhile stays.
func TestSweepAfterTruncate(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	x.sparse(n, 400)
	x.must(x.v.Sync())
	for round := range 3 {
		x.truncate(n, 1000)
		x.sparse(n, 100+round)
		x.must(x.v.Sync())
	}
	x.truncate(n, 50<<20)
	want := 50
	x.eventually("the sweep is over", func() bool {
		x.must(x.v.Sync())
		return x.records(record.KindOrphan) == 0
	})
	x.clean()
	if b := n.Stat().Blocks; b != uint64(want) {
		t.Errorf("the file has %d blocks, want %d", b, want)
	}
	x.v.Unpin(n)
	x.reopen()
	n = x.file("/b/f")
	for i := range 50 {
		if i := differ(x.read(n, uint64(i)<<20, 100), noise(uint64(i), 100)); i >= 0 {
			t.Fatalf("leaf differs at %d", i)
		}
	}
	x.v.Unpin(n)
}

// TestSweepOfUnnamed: a file without a name is cut, and then given one. What
// was cut must go all the same.
func TestSweepOfUnnamed(t *testing.T) {
	for _, unlinkFirst := range []bool{true, false} {
		x := newTestVolume(t, Options{})
		n := x.newFile("/b/f")
		n.Acquire()
		x.sparse(n, 400)
		x.must(x.v.Sync())
		b := x.inode("/b")
		steps := []func(){
			func() { x.must(x.v.Unlink(b, "f")) },
			func() { x.truncate(n, 10<<20) },
		}
		if !unlinkFirst {
			steps[0], steps[1] = steps[1], steps[0]
		}
		for _, f := range steps {
			f()
		}
		x.must(x.v.Sync())
		x.must(x.v.Link(n, b, "again"))
		x.must(x.v.Sync())
		x.eventually("the sweep is over", func() bool {
			x.must(x.v.Sync())
			return x.records(record.KindOrphan) == 0
		})
		x.v.Release(n)
		x.reopen()
		if got := x.records(record.KindData); got > 11 {
			t.Errorf("%d data records are left of 10 MiB", got)
		}
	}
}

// TestUnlinkDuringSweep: nothing keeps a file in memory that was cut and then
// removed.
func TestUnlinkDuringSweep(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	ino := n.Ino
	x.sparse(n, 400)
	x.must(x.v.Sync())
	x.truncate(n, 0)
	x.v.Unpin(n)
	x.must(x.v.Unlink(x.inode("/b"), "f"))
	x.eventually("the file is gone", func() bool {
		x.must(x.v.Sync())
		return x.records(record.KindInode, ino) == 0 && x.records(record.KindOrphan) == 0
	})
	if n := x.v.table.pin(ino); n != nil {
		t.Errorf("the inode is still in memory with %d pins", n.pins-1)
		x.v.Unpin(n)
	}
}

// TestReclaimAcrossCrashes: a big deletion is taken up again after each crash
// in the middle of it, and the volume is sound all the time.
func TestReclaimAcrossCrashes(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	ino := n.Ino
	for i := range 2500 {
		x.write(n, uint64(i)<<20, noise(uint64(i), 100))
		x.write(n, uint64(i)<<20|1<<19, noise(uint64(i), 100))
		if i%3 == 0 {
			x.must(x.v.SyncInode(n)) // a record of its own
		}
	}
	keep := x.newFile("/b/keep")
	x.sparse(keep, 300)
	x.must(x.v.Sync())
	x.truncate(keep, 5<<20)
	x.v.Unpin(keep)
	x.v.Unpin(n)
	x.must(x.v.Unlink(x.inode("/b"), "f"))
	x.must(x.v.Sync())
	for range 4 {
		x.crash()
		x.must(x.v.Sync())
	}
	x.eventually("the file is gone", func() bool {
		x.must(x.v.Sync())
		return x.records(record.KindInode, ino) == 0 && x.records(record.KindOrphan) == 0
	})
	x.reopen()
	if got := x.records(record.KindData); got > 6 {
		t.Errorf("%d data records are left", got)
	}
}

// TestPendingAfterCrash: data that was stored ahead of its epoch is deleted by
// the mount after a crash.
func TestPendingAfterCrash(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	x.write(n, 0, noise(1, 5<<20))
	x.must(x.v.Sync())
	again := noise(2, 9<<20)
	x.v.commitMu.Lock() // no epoch may follow that names the data
	x.write(n, 1<<20, again)
	x.must(x.v.storeAhead(n, func() uint64 { return everything }))
	if x.records(record.KindPending) == 0 {
		t.Error("nothing is pending after an early flush")
	}
	crash := errors.New("crash")
	x.v.failure.Store(&crash)
	x.v.commitMu.Unlock()
	x.crash()
	x.must(x.v.Sync())
	if got := x.records(record.KindPending); got != 0 {
		t.Errorf("%d pending records are left", got)
	}
	if got := x.records(record.KindData); got != 5 {
		t.Errorf("%d data records, want 5", got)
	}
	x.clean()
	n = x.file("/b/f")
	x.wantContents(n, noise(1, 5<<20))
	x.v.Unpin(n)
}
