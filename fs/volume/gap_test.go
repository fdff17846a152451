package volume

import (
	"sync"
	"testing"

	"ssefs/crypto"
)

func TestGaps(t *testing.T) {
	const now = int64(1e12)
	n := &Inode{}
	write := func(start, end uint64, at int64) {
		n.written(start, end, at)
		n.Size = max(n.Size, end)
	}
	check := func(want bool, at int64, when string) {
		t.Helper()
		if n.settled(at) != want {
			t.Errorf("%s: settled is %v", when, !want)
		}
	}
	write(0, 100, now)
	check(true, now, "after a write at the end")
	write(300, 400, now)
	check(false, now, "with a gap")
	check(true, now+gapPatience, "with an old gap")
	write(100, 200, now)
	check(false, now, "with half a gap")
	write(200, 300, now)
	check(true, now, "without a gap")
	write(500, 600, now)
	write(700, 800, now)
	write(350, 900, now)
	check(true, now, "after a write over two gaps")
	for i := range uint64(2 * maxGaps) {
		write(1000*(i+1), 1000*(i+1)+1, now)
	}
	if len(n.content.gaps) > maxGaps {
		t.Errorf("%d gaps are remembered", len(n.content.gaps))
	}
}

// unsettled makes a file that the kernel has written the second and third MiB of,
// and not the first.
func (x *testVolume) unsettled(path string) *Inode {
	x.Helper()
	n := x.newFile(path)
	x.must(x.v.WriteBack(n, 1<<20, noise(2, 1<<20)))
	x.must(x.v.WriteBack(n, 2<<20, noise(3, 1<<20)))
	return n
}

// TestGapIsNotStored: whatever commits, the size of a file does not cover what is
// on its way; and it is not lost either.
func TestGapIsNotStored(t *testing.T) {
	for name, commit := range map[string]func(*testVolume, *Inode){
		"committer":    func(x *testVolume, _ *Inode) { x.must(x.v.commitDirty()) },
		"access times": func(x *testVolume, _ *Inode) { x.must(x.v.commitAtimes()) },
		"keystore":     func(x *testVolume, _ *Inode) { x.must(x.v.RecordKeystore(x.v.Keystore())) },
		"settings":     func(x *testVolume, _ *Inode) { x.must(x.v.SetSettings(x.v.Settings())) },
		"flusher":      func(x *testVolume, n *Inode) { x.must(x.v.writeBack(n)); x.must(x.v.commitDirty()) },
		"other's fsync": func(x *testVolume, _ *Inode) {
			o := x.newFile("/b/other")
			x.write(o, 0, []byte("x"))
			x.must(x.v.SyncInode(o))
			x.v.Unpin(o)
		},
		"full epoch": func(x *testVolume, _ *Inode) { x.must(x.v.relieve(x.v.epoch.seq)) },
		"must flush": func(x *testVolume, n *Inode) {
			n.mu.Lock()
			n.mustFlush = true // as after a truncate to nothing, before the writes
			n.mu.Unlock()
			x.must(x.v.commitDirty())
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTestVolume(t, Options{})
			n := x.unsettled("/b/f")
			commit(x, n)
			x.must(x.v.WriteBack(n, 0, noise(1, 1<<20)))
			x.v.Unpin(n)
			x.crash()
			if r, err := x.v.Resolve("/b/f"); err == nil { // nor need its name be there
				if size := r.Stat().Size; size != 0 {
					t.Errorf("%d bytes are stored before the first was written", size)
				}
				x.v.Unpin(r)
			}
		})
	}
}

// TestBeforeTheGap: what must go, goes as far as it is there.
func TestBeforeTheGap(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	x.must(x.v.WriteBack(n, 0, noise(1, 2<<20+5000)))
	x.must(x.v.WriteBack(n, 3<<20, noise(2, 1<<20)))
	x.must(x.v.writeBack(n))
	n.mu.RLock()
	dirty := n.content.dirty
	n.mu.RUnlock()
	if want := blocksOf(2<<20, 5000) + leafBlocks; dirty != want {
		t.Errorf("%d blocks are still dirty, want %d", dirty, want)
	}
	x.must(x.v.commitDirty())
	x.v.Unpin(n)
	x.crash()
	n = x.file("/b/f")
	x.wantContents(n, noise(1, 2<<20))
	x.v.Unpin(n)
}

// TestFsyncBehindCommitter: an fsync whose file the committer takes along, with a
// hole in it, is not lost.
func TestFsyncBehindCommitter(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.unsettled("/b/f")
	x.v.commitMu.Lock() // as a commit that is going on
	done := make(chan error, 1)
	go func() { done <- x.v.SyncInode(n) }()
	x.eventually("the fsync waits", func() bool {
		x.v.wantMu.Lock()
		defer x.v.wantMu.Unlock()
		return len(x.v.wanted) > 0
	})
	x.must(x.v.commit(x.v.takeSettled)) // the committer comes first
	x.v.commitMu.Unlock()
	x.must(<-done)
	x.v.Unpin(n)
	x.crash()
	n = x.file("/b/f")
	x.wantContents(n, append(make([]byte, 1<<20), append(noise(2, 1<<20), noise(3, 1<<20)...)...))
	x.v.Unpin(n)
}

// TestGapDoesNotBlock: when epochs are full of a file that lacks a write, the
// write is let through.
func TestGapDoesNotBlock(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{DirtyMemory: minDirtyMemory})
	x.v.limits.soft, x.v.limits.hard = 1, 2
	n := x.newFile("/b/f")
	x.must(x.v.SyncInode(n))
	x.must(x.v.WriteBack(n, 1<<20, noise(2, 1<<20)))
	other := make(chan error, 1)
	go func() { other <- x.v.admit() }()
	x.must(x.v.WriteBack(n, 0, noise(1, 1<<20)))
	x.must(<-other)
	x.v.Unpin(n)
	x.reopen()
	n = x.file("/b/f")
	x.wantContents(n, append(noise(1, 1<<20), noise(2, 1<<20)...))
	x.v.Unpin(n)
}

// TestGapGetsMemory: a write that a file lacks gets memory though all of it is
// dirty behind that write.
func TestGapGetsMemory(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{DirtyMemory: minDirtyMemory})
	n := x.newFile("/b/f")
	total := uint64(x.v.arena.total) * crypto.BlockSize
	var wg sync.WaitGroup
	var want []byte
	first := byteRange{0, leafBytes}
	n.expect(first) // it has come in, and waits
	for off := uint64(leafBytes); off < 2*total; off += leafBytes {
		wg.Go(func() {
			if err := x.v.WriteBack(n, off, noise(off, leafBytes)); err != nil {
				t.Error(err)
			}
		})
	}
	x.eventually("memory is short", func() bool {
		x.v.arena.mu.Lock()
		defer x.v.arena.mu.Unlock()
		return x.v.arena.waiting > 0
	})
	n.arrived(first)
	if err := x.v.WriteBack(n, 0, noise(0, leafBytes)); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for off := uint64(0); off < 2*total; off += leafBytes {
		want = append(want, noise(off, leafBytes)...)
	}
	x.v.Unpin(n)
	x.reopen()
	n = x.file("/b/f")
	x.wantContents(n, want)
	x.v.Unpin(n)
}

// TestSizeBehindAGap: a file that was made longer while a gap before its end
// waits to be filled keeps that length, though nothing of it is dirty.
func TestSizeBehindAGap(t *testing.T) {
	const size = 6 << 20
	for name, before := range map[string]func(*testVolume, *Inode){
		"all is stored": func(x *testVolume, n *Inode) { x.must(x.v.SyncInode(n)) },
		"dirty before the gap": func(x *testVolume, n *Inode) {
			x.must(x.v.SyncInode(n))
			x.must(x.v.WriteBack(n, 0, noise(3, 1<<20)))
		},
		"punched behind it": func(x *testVolume, n *Inode) { x.must(x.v.Allocate(n, 3<<20, 1<<20, AllocatePunch)) },
	} {
		for how, mode := range map[string]AllocateMode{"extended": AllocateExtend, "zeroed": AllocateZero} {
			for end, stop := range map[string]func(*testVolume){
				"synced and killed": func(x *testVolume) { x.must(x.v.Sync()); x.crash() },
				"closed":            func(x *testVolume) { x.reopen() },
			} {
				t.Run(name+", "+how+", "+end, func(t *testing.T) {
					x := newTestVolume(t, Options{})
					n := x.newFile("/b/f")
					x.must(x.v.WriteBack(n, 0, noise(1, 1<<20)))
					x.must(x.v.WriteBack(n, 3<<20, noise(2, 1<<20)))
					before(x, n)
					x.must(x.v.Allocate(n, 5<<20, 1<<20, mode))
					n.mu.RLock()
					if n.settled(x.v.now()) {
						t.Error("no gap waits to be filled: the test proves nothing")
					}
					n.mu.RUnlock()
					x.must(x.v.commitDirty())
					x.v.Unpin(n)
					stop(x)
					n = x.file("/b/f")
					if got := n.Stat().Size; got != size {
						t.Errorf("size is %d, want %d", got, size)
					}
					x.v.Unpin(n)
				})
			}
		}
	}
}
