package volume

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"ssefs/fs/record"
	"ssefs/store"
)

// An epoch must fit one transaction of the store whatever is done in it: a
// commit that the store refuses as too big turns the drive read-only. These
// tests do what makes epochs big, in stores with the smallest memtables, and
// every one ends with a check (and fails on what the volume logs).

func tinyStore() store.Options {
	return store.Options{MemTableSize: 4 << 20, ValueLogFileSize: 16 << 20, BallastSize: 1 << 20}
}

// TestEpochsOfLongNames: entries of the longest names, whose records are more
// than twice as long as an entry is estimated.
func TestEpochsOfLongNames(t *testing.T) {
	x := newTestVolumeOn(t, Options{}, tinyStore())
	b := x.inode("/b")
	long := strings.Repeat("n", record.MaxName-6)
	for i := range 2500 {
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/%s%06d", long, i)))
	}
	for i := range 2500 {
		x.must(x.v.Unlink(b, fmt.Sprintf("%s%06d", long, i)))
	}
	x.must(x.v.Sync())
}

// TestEpochsOfManyWriters: writers that were all let in before they make the
// epoch heavy.
func TestEpochsOfManyWriters(t *testing.T) {
	watchdog(t)
	x := newTestVolumeOn(t, Options{}, tinyStore())
	var wg sync.WaitGroup
	for w := range 48 {
		n := x.newFile(fmt.Sprintf("/b/%d", w))
		defer x.v.Unpin(n)
		wg.Go(func() {
			for i := range 60 {
				if err := x.v.Write(n, uint64(i*7919%512)<<12, noise(uint64(w), 3000)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	x.must(x.v.Sync())
}

// TestForgetBurst: the kernel forgets many removed files at once, or many
// descriptors of removed files are closed at once. Neither waits for admission.
func TestForgetBurst(t *testing.T) {
	const files = 4000
	for _, how := range []string{"forget", "release", "unmount"} {
		t.Run(how, func(t *testing.T) {
			x := newTestVolumeOn(t, Options{CachedInodes: 128}, tinyStore())
			b := x.inode("/b")
			inodes := make([]*Inode, files)
			for i := range inodes {
				n := x.newFile(fmt.Sprintf("/b/%d", i))
				if how == "release" {
					n.Acquire()
				} else {
					x.v.Remember(n)
				}
				x.must(x.v.Unlink(b, fmt.Sprint(i)))
				inodes[i] = n
				if how != "release" {
					x.v.Unpin(n)
				}
			}
			x.must(x.v.Sync())
			for _, n := range inodes {
				switch how {
				case "forget":
					x.v.Forget(n.Ino, 1)
				case "release":
					x.v.Release(n)
				}
			}
			x.reopen()
			x.must(x.v.Sync())
			if got := x.records(record.KindInode); got != 2 {
				t.Errorf("%d inodes are left, want the root and the bucket", got)
			}
		})
	}
}

// TestMountWithManyDeletions: what a mount finds to be deleted may be more than
// an epoch takes.
func TestMountWithManyDeletions(t *testing.T) {
	x := newTestVolumeOn(t, Options{}, tinyStore())
	n := x.newFile("/b/f")
	x.must(x.v.Sync()) // an epoch in between would have to know of the pending records
	for range 6 {      // 6000 data records that no map names yet
		first := x.v.nextRecord.Add(1000) - 1000
		x.v.commitMu.Lock()
		bt := newBatch()
		p := record.Pending{Version: x.db.NextVersion()}
		for k := range uint64(1000) {
			bt.Put(record.DataKey(n.Ino, first+k), noise(k, 40))
			p.Data = append(p.Data, record.DataRef{Inode: n.Ino, Record: first + k})
		}
		number := x.v.nextRecord.Add(1) - 1
		x.v.put(bt, record.PendingKey(number), p.Append(nil))
		head := x.v.head
		head.Version, head.NextRecord = p.Version, x.v.nextRecord.Load()
		x.v.put(bt, record.HeadKey(), head.Append(nil))
		x.must(x.v.commitBatch(bt))
		x.v.head = head
		x.v.commitMu.Unlock()
	}
	x.crash()
	x.must(x.v.Sync())
	if got := x.records(record.KindData) + x.records(record.KindPending); got != 0 {
		t.Errorf("%d records are left", got)
	}
}

// TestEpochsOfRandomWrites: small random writes all over a big file, whose old
// blocks lie in hundreds of packs, and every epoch as heavy as it may become.
func TestEpochsOfRandomWrites(t *testing.T) {
	watchdog(t)
	x := newTestVolumeOn(t, Options{}, tinyStore())
	r := newRand(t)
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	const blocks = 50_000 // of a file of 200 MB
	data := noise(1, 4096)
	for range 60 {
		x.v.commitMu.Lock()
		for x.v.epoch.weight.Load()+x.v.dataWeight.Load() < x.v.limits.hard {
			x.must(x.v.WriteBack(n, uint64(r.IntN(blocks))<<12, data))
			if x.v.arena.used() > x.v.arena.total*3/4 {
				x.must(x.v.storeAhead(n, func() uint64 { return everything }))
			}
		}
		x.v.commitMu.Unlock()
		x.must(x.v.Sync())
	}
}

// TestPunchOfFragments: punching a file of which every block is a record of its
// own takes a delete for each.
func TestPunchOfFragments(t *testing.T) {
	x := newTestVolumeOn(t, Options{}, tinyStore())
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	fragment(x, n, 64, 110)
	x.must(x.v.Sync())
	x.must(x.v.Allocate(n, 4096, 256<<20, AllocatePunch))
	x.must(x.v.Sync())
}

// fragment gives each of the leaves so many records of one block.
func fragment(x *testVolume, n *Inode, leaves, each int) {
	x.Helper()
	held := x.v.arena.take(nil, x.v.arena.total/2, nobodyPasses, func() {}) // nothing is merged while memory is short
	defer x.v.arena.give(held)
	data := noise(1, 4096)
	for i := range leaves {
		for k := range each {
			x.must(x.v.Write(n, uint64(i)<<20|uint64(k)<<13, data))
			x.v.commitMu.Lock()
			x.must(x.v.storeAhead(n, func() uint64 { return everything }))
			x.v.commitMu.Unlock()
		}
		x.must(x.v.Sync())
	}
}

// TestArenaExhaustion: more writers than the arena has room for.
func TestArenaExhaustion(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{DirtyMemory: 1})
	var wg sync.WaitGroup
	for w := range 16 {
		n := x.newFile(fmt.Sprintf("/b/%d", w))
		defer x.v.Unpin(n)
		data := noise(uint64(w), 1<<20)
		wg.Go(func() {
			for i := range 4 {
				if err := x.v.Write(n, uint64(i)<<20|uint64(w), data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	x.reopen()
	for w := range 16 {
		n := x.file(fmt.Sprintf("/b/%d", w))
		want := noise(uint64(w), 1<<20)
		for i := range 4 {
			if at := differ(x.read(n, uint64(i)<<20|uint64(w), 1<<20-w), want[:1<<20-w]); at >= 0 {
				t.Errorf("file %d differs in write %d at %d", w, i, at)
			}
		}
		x.v.Unpin(n)
	}
	if used := x.v.arena.used(); used != 0 {
		t.Errorf("%d blocks of the arena are lost", used)
	}
}

// TestEviction: far more inodes than are cached, changed in between.
func TestEviction(t *testing.T) {
	x := newTestVolume(t, Options{CachedInodes: 64})
	const files = 1500
	for i := range files {
		n := x.newFile(fmt.Sprintf("/b/%d", i))
		if i%10 == 0 {
			x.write(n, 0, noise(uint64(i), 500))
			x.must(x.v.SetXattr(n, "user.x", []byte(fmt.Sprint(i)), XattrAny))
		}
		x.v.Unpin(n)
	}
	x.must(x.v.Sync())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < files; i += 4 {
				n, err := x.v.Resolve(fmt.Sprintf("/b/%d", i))
				if err != nil {
					t.Error(err)
					return
				}
				mode := uint32(i % 0o777)
				if err := x.v.SetAttr(n, Change{Mode: &mode}); err != nil {
					t.Error(err)
				}
				x.v.Unpin(n)
			}
		})
	}
	wg.Wait()
	x.must(x.v.Sync())
	if inodes, _ := x.v.table.counts(); inodes > 64*17 {
		t.Errorf("%d inodes are in memory", inodes)
	}
	for i := range files {
		n := x.file(fmt.Sprintf("/b/%d", i))
		if m := n.Stat().Mode & 0o7777; m != uint32(i%0o777) {
			t.Fatalf("file %d has mode %#o, want %#o", i, m, i%0o777)
		}
		if i%10 == 0 {
			x.wantContents(n, noise(uint64(i), 500))
			if b, err := x.v.Xattr(n, "user.x"); err != nil || string(b) != fmt.Sprint(i) {
				t.Fatalf("file %d has xattr %q, %v", i, b, err)
			}
		}
		x.v.Unpin(n)
	}
}
