package check

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/fs/volume/volumetest"
	"ssefs/kms"
)

// worker does random things to a volume. It does not care what works: that the
// results are right is tested elsewhere, here they must only be consistent.
type worker struct {
	*testVolume
	r    *rand.Rand
	dirs []uint64
	open []*volume.Inode
}

const names = 6 // in each directory, so that they are often hit

func (w *worker) dir() uint64       { return w.dirs[w.r.IntN(len(w.dirs))] }
func (w *worker) name() string      { return fmt.Sprintf("n%d", w.r.IntN(names)) }
func (w *worker) chance(n int) bool { return w.r.IntN(n) == 0 }

// fine fails the test for errors that no sequence of operations may give.
func (w *worker) fine(err error) {
	w.Helper()
	if errors.Is(err, volume.ErrDamaged) || errors.Is(err, volume.ErrReadOnly) {
		w.Error(err)
	}
}

// any returns a random inode, pinned, or nil.
func (w *worker) any() *volume.Inode {
	if len(w.open) > 0 && w.chance(4) {
		n := w.open[w.r.IntN(len(w.open))]
		again, err := w.V.Inode(n.Ino)
		if err != nil {
			w.Error(err)
		}
		return again
	}
	n, err := w.V.Lookup(w.dir(), w.name())
	w.fine(err)
	return n
}

// offset is a place in a file, near its start more often than far away.
func (w *worker) offset() uint64 {
	switch w.r.IntN(4) {
	case 0:
		return w.r.Uint64N(8 << 10)
	case 1:
		return w.r.Uint64N(4 << 20)
	case 2:
		return w.r.Uint64N(200) << 20
	}
	return w.r.Uint64N(200<<20) &^ 4095
}

func (w *worker) step() {
	ctx := context.Background()
	switch w.r.IntN(30) {
	case 0, 1, 2:
		n, err := w.V.Create(ctx, w.dir(), w.name(), fileNode())
		w.fine(err)
		if n != nil {
			w.V.Unpin(n)
		}
	case 3:
		n, err := w.V.Create(ctx, w.dir(), w.name(), volume.NewNode{Mode: record.TypeDir | 0o755})
		w.fine(err)
		if n != nil {
			w.dirs = append(w.dirs, n.Ino)
			w.V.Unpin(n)
		}
	case 4:
		n, err := w.V.Create(ctx, w.dir(), w.name(), volume.NewNode{Mode: record.TypeLink | 0o777, Target: "anywhere"})
		w.fine(err)
		if n != nil {
			w.V.Unpin(n)
		}
	case 5:
		w.fine(w.V.Unlink(w.dir(), w.name()))
	case 6:
		w.rmdir()
	case 7:
		w.fine(w.V.Rename(w.dir(), w.name(), w.dir(), w.name(), volume.RenameMode(w.r.IntN(3))))
	case 8:
		if n := w.any(); n != nil {
			if a := n.Stat(); !a.IsDir() { // which the kernel refuses by itself
				w.fine(w.V.Link(n, w.dir(), w.name()))
			}
			w.V.Unpin(n)
		}
	case 9:
		if n := w.any(); n != nil {
			name := fmt.Sprintf("user.%d", w.r.IntN(3))
			if w.chance(3) {
				w.fine(w.V.RemoveXattr(n, name))
			} else {
				w.fine(w.V.SetXattr(n, name, volumetest.Noise(1, w.r.IntN(300)), volume.XattrAny))
			}
			w.V.Unpin(n)
		}
	case 10:
		w.handles()
	default:
		w.contents()
	}
}

func (w *worker) rmdir() {
	d, name := w.dir(), w.name()
	n, err := w.V.Lookup(d, name)
	w.fine(err)
	if n == nil {
		return
	}
	defer w.V.Unpin(n)
	err = w.V.Rmdir(d, name)
	w.fine(err)
	if err == nil {
		for i, ino := range w.dirs {
			if ino == n.Ino {
				w.dirs = append(w.dirs[:i], w.dirs[i+1:]...)
				return
			}
		}
	}
}

// handles opens a file, with or without a name, or closes one.
func (w *worker) handles() {
	if len(w.open) > 5 {
		w.V.Release(w.open[0])
		w.open = w.open[1:]
		return
	}
	if w.chance(3) {
		n, err := w.V.CreateUnnamed(context.Background(), w.dir(), fileNode())
		w.fine(err)
		if n != nil {
			n.Acquire()
			w.open = append(w.open, n)
		}
		return
	}
	if n := w.any(); n != nil {
		n.Acquire()
		w.open = append(w.open, n)
	}
}

func (w *worker) contents() {
	n := w.any()
	if n == nil {
		return
	}
	defer w.V.Unpin(n)
	a := n.Stat()
	if !a.IsRegular() {
		return
	}
	if err := w.V.Open(context.Background(), n, kms.Drive()); err != nil {
		w.Error(err)
		return
	}
	switch w.r.IntN(12) {
	case 0:
		size := w.offset()
		w.fine(w.V.SetAttr(n, volume.Change{Size: &size}))
	case 1:
		w.fine(w.V.Allocate(n, w.offset(), 1+w.offset(), volume.AllocateMode(w.r.IntN(5))))
	case 2:
		w.fine(w.V.Write(n, w.offset(), volumetest.Noise(3, 1+w.r.IntN(1<<20))))
	case 3: // scattered, which makes packs and long maps
		at := w.offset()
		for i := range uint64(w.r.IntN(150)) {
			w.fine(w.V.Write(n, at+i*(300<<10), volumetest.Noise(4, 1+w.r.IntN(5000))))
		}
	case 4:
		w.fine(w.V.SyncInode(n))
	default:
		w.fine(w.V.Write(n, w.offset(), volumetest.Noise(5, 1+w.r.IntN(20_000))))
	}
}

// TestRandomWorkIsClean checks a volume again and again while random things
// are done to it, and across unmounting.
func TestRandomWorkIsClean(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			x := newVolume(t)
			w := &worker{testVolume: x, r: rand.New(rand.NewPCG(seed, 7))}
			for _, p := range []string{"none", "AES256", "KMS"} {
				x.mkdir("/"+p, p)
				w.dirs = append(w.dirs, x.Inode("/"+p))
			}
			for i := range 1000 {
				w.step()
				switch {
				case w.chance(150):
					for _, n := range w.open {
						w.V.Release(n)
					}
					w.open = nil
					x.Unmount()
					if x.clean(VerifyContents).Counts.Unnamed > 0 && testing.Verbose() {
						t.Logf("step %d: unmounted with deletions to do", i)
					}
					x.Mount()
				case w.chance(20):
					x.Sync()
					x.clean(SkipContents)
				case w.chance(20): // whatever was committed last
					x.clean(SkipContents)
				}
				if t.Failed() {
					t.Fatalf("in step %d", i)
				}
			}
			for _, n := range w.open {
				w.V.Release(n)
			}
			x.Sync()
			r := x.clean(VerifyContents)
			if r.Counts.Records["pack"] == 0 || r.Counts.Records["extent map"] == 0 || r.Counts.Inodes < 20 {
				t.Errorf("the work left too little to check: %+v", r.Counts)
			}
		})
	}
}

// TestConcurrentWorkIsClean checks what is committed while several workers are
// busy with the same directories.
func TestConcurrentWorkIsClean(t *testing.T) {
	x := newVolume(t)
	var buckets []uint64
	for _, p := range []string{"none", "AES256", "KMS"} {
		x.mkdir("/"+p, p)
		buckets = append(buckets, x.Inode("/"+p))
	}
	var wg sync.WaitGroup
	for i := range uint64(4) {
		w := &worker{testVolume: x, r: rand.New(rand.NewPCG(i, 8)), dirs: slices.Clone(buckets)}
		wg.Go(func() {
			for range 1000 {
				w.step()
			}
			for _, n := range w.open {
				w.V.Release(n)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-time.After(20 * time.Millisecond):
		}
		if r := x.check(SkipContents); !r.Clean() {
			t.Errorf("not clean:\n%s", lines(r))
			<-done
			return
		}
	}
	x.Sync()
	x.clean(VerifyContents)
	x.Unmount()
	x.clean(VerifyContents)
}
