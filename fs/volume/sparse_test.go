package volume

import (
	"context"
	"fmt"
	"math"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
)

// storedBlocks returns how many blocks the data records of an inode have.
func (x *testVolume) storedBlocks(ino uint64) (blocks int) {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	x.must(view.IterateKeys(record.Prefix(record.KindData, ino), nil, func(_ []byte, size int64) error {
		n, _, err := crypto.RecordGeometry(int(size))
		blocks += n
		return err
	}))
	return blocks
}

// scatter overwrites single blocks of a file all over it, in several commits, and
// returns what it holds then.
func (x *testVolume) scatter(n *Inode, size int) []byte {
	x.Helper()
	want := noise(n.Ino, size)
	x.write(n, 0, want)
	x.must(x.v.Sync())
	for i := range 8 {
		for off := i * 5 * crypto.BlockSize; off+crypto.BlockSize <= size; off += 13 * crypto.BlockSize {
			b := noise(uint64(i*size+off), crypto.BlockSize)
			copy(want[off:], b)
			x.write(n, uint64(off), b)
		}
		x.must(x.v.Sync())
	}
	return want
}

// TestMergeSparse: records with dead blocks are rewritten until next to nothing
// is left of these, and the contents stay.
func TestMergeSparse(t *testing.T) {
	x := newTestVolume(t, Options{})
	const size = 6<<20 + 1000
	const files = 3
	var want [files][]byte
	var inodes [files]uint64
	for i := range files {
		n := x.newFile(fmt.Sprintf("/b/%d", i))
		want[i], inodes[i] = x.scatter(n, size), n.Ino
		x.v.Unpin(n)
	}
	const blocks = (size + crypto.BlockSize - 1) / crypto.BlockSize
	before := x.storedBlocks(inodes[0])
	if before < blocks*11/10 {
		t.Fatalf("%d blocks are stored for %d: nothing is sparse", before, blocks)
	}
	x.reopen() // no key is in memory
	var all Merged
	for from := uint64(1); from != 0; {
		m, err := x.v.MergeSparse(context.Background(), from, 1<<20, nil)
		x.must(err)
		all.Files, all.Bytes, from = all.Files+m.Files, all.Bytes+m.Bytes, m.Next
	}
	x.must(x.v.Sync())
	if all.Files != files || all.Bytes == 0 {
		t.Errorf("merged: %+v", all)
	}
	for i, ino := range inodes {
		if got := x.storedBlocks(ino); got > blocks*102/100 {
			t.Errorf("file %d: %d of %d blocks are stored, after %d", i, got, blocks, before)
		}
		n := x.file(fmt.Sprintf("/b/%d", i))
		x.wantContents(n, want[i])
		x.v.Unpin(n)
	}
	m, err := x.v.MergeSparse(context.Background(), 1, math.MaxInt64, nil)
	x.must(err)
	if m.Bytes > files*size/50 {
		t.Errorf("the second time %d bytes were rewritten", m.Bytes)
	}
}

// TestTidy: the tidier finds what this mount has left, and what earlier ones did.
func TestTidy(t *testing.T) {
	for name, between := range map[string]func(*testVolume){"same mount": func(*testVolume) {}, "later mount": (*testVolume).reopen} {
		t.Run(name, func(t *testing.T) {
			x := newTestVolume(t, Options{})
			const size = 24 << 20
			n := x.newFile("/b/a")
			want := x.scatter(n, size)
			x.v.Unpin(n)
			ino := n.Ino
			between(x)
			x.must(x.db.Reclaim(context.Background(), nil))
			x.must(x.v.tidy(context.Background()))
			_, err := x.v.tidyAll(context.Background())
			x.must(err)
			if got := x.storedBlocks(ino); got > size/crypto.BlockSize*107/100 {
				t.Errorf("%d blocks are stored for %d", got, size/crypto.BlockSize)
			}
			n = x.file("/b/a")
			x.wantContents(n, want)
			x.v.Unpin(n)
		})
	}
}

// TestMergeSparseLocked: a file whose key cannot be used is left alone, and the
// others are not.
func TestMergeSparseLocked(t *testing.T) {
	x := newTestVolume(t, Options{})
	x.mkdir("/k", "KMS")
	for _, p := range []string{"/k/a", "/b/a"} {
		n := x.newFile(p)
		x.scatter(n, 2<<20)
		x.v.Unpin(n)
	}
	key := x.resolve("/k/a").keyID
	x.v.Unpin(x.resolve("/k/a"))
	x.reopen()
	x.must(x.kms.Disable(context.Background(), kms.By{Managed: true}, key))
	m, err := x.v.MergeSparse(context.Background(), 1, math.MaxInt64, nil)
	x.must(err)
	if m.Files != 1 || m.Locked != 1 {
		t.Errorf("merged: %+v", m)
	}
	x.must(x.kms.Enable(context.Background(), kms.By{Managed: true}, key))
}

// TestMergeSparseStops with its context.
func TestMergeSparseStops(t *testing.T) {
	x := newTestVolume(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := x.v.MergeSparse(ctx, 1, math.MaxInt64, nil); err == nil {
		t.Error("it went on")
	}
	if _, err := x.v.FinishDeletions(ctx); err != nil {
		t.Errorf("nothing is to be deleted: %v", err)
	}
}
