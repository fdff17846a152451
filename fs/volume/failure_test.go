package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ssefs/fs/record"
	"ssefs/store"
)

// breakStore makes the next commit fail, as a dying disk does, while reads go
// on: Badger's files stay mapped, but where they were is nothing any more.
func (x *testVolume) breakStore() {
	x.Helper()
	db := filepath.Join(x.path, "db")
	x.must(os.Rename(db, db+".away"))
	x.Cleanup(func() { x.must(os.Rename(db+".away", db)) })
}

// TestFailedStore: after a commit that failed the drive is read-only, says so,
// and goes on to show what it showed before, stored or not.
func TestFailedStore(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{Logger: quiet(), CachedInodes: 64})
	stored := x.newFile("/b/stored")
	x.write(stored, 0, noise(1, 300_000))
	for i := range 2000 { // more than are cached
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/old%d", i)))
	}
	x.must(x.v.Sync())
	x.v.commitMu.Lock() // the background must not find out yet
	x.breakStore()
	dirty := x.newFile("/b/dirty")
	x.write(dirty, 0, noise(2, 3<<20))
	b, made := x.inode("/b"), 0
	for ; made < 1500; made++ { // until the background finds out
		if made == 100 {
			x.v.commitMu.Unlock()
		}
		n, err := x.v.Create(context.Background(), b, fmt.Sprintf("new%d", made), NewNode{Mode: record.TypeFile})
		if err != nil {
			break
		}
		x.v.Unpin(n)
	}
	if made < 100 {
		x.v.commitMu.Unlock()
		t.Fatalf("only %d files were made", made)
	}
	err := x.v.SyncInode(dirty)
	var failed *FailedError
	if !errors.As(err, &failed) {
		t.Fatalf("fsync: %v, want a FailedError", err)
	}
	for _, n := range []*Inode{stored, dirty} {
		if err := x.v.SyncInode(n); !errors.As(err, &failed) {
			t.Errorf("fsync after the failure: %v", err)
		}
	}
	x.wantContents(stored, noise(1, 300_000))
	x.wantContents(dirty, noise(2, 3<<20))
	if got := len(x.list("/b")); got != 2002+made {
		t.Errorf("%d names are listed, want %d", got, 2002+made)
	}
	for i := range 2000 {
		x.v.Unpin(x.resolve(fmt.Sprintf("/b/old%d", i)))
	}
	for i := range made {
		x.v.Unpin(x.resolve(fmt.Sprintf("/b/new%d", i)))
	}
	size, mode := uint64(3), uint32(0)
	for what, err := range map[string]error{
		"write":    x.v.Write(stored, 0, []byte("x")),
		"truncate": x.v.SetAttr(stored, Change{Size: &size}),
		"chmod":    x.v.SetAttr(stored, Change{Mode: &mode}),
		"unlink":   x.v.Unlink(b, "stored"),
		"rename":   x.v.Rename(b, "stored", b, "x", RenameReplace),
		"link":     x.v.Link(stored, b, "x"),
		"xattr":    x.v.SetXattr(stored, "user.x", nil, XattrAny),
		"punch":    x.v.Allocate(stored, 0, 100, AllocatePunch),
		"sync":     x.v.Sync(),
		"keystore": x.v.RecordKeystore(9),
	} {
		if !errors.As(err, &failed) {
			t.Errorf("%s: %v, want a FailedError", what, err)
		}
	}
	if _, err := x.v.Create(context.Background(), b, "x", NewNode{Mode: record.TypeFile}); !errors.As(err, &failed) {
		t.Errorf("create: %v, want a FailedError", err)
	}
	x.v.Unpin(stored)
	x.v.Unpin(dirty)
	if err := x.v.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	x.v = nil
}

// TestFailureReleasesWriters: writers that wait for memory when the store fails
// are told.
func TestFailureReleasesWriters(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{Logger: quiet(), DirtyMemory: 1})
	n := x.newFile("/b/f")
	x.must(x.v.Sync())
	x.breakStore()
	var failed *FailedError
	for i := 0; ; i++ {
		err := x.v.WriteBack(n, uint64(i)<<20, noise(1, 1<<20))
		if errors.As(err, &failed) {
			break
		}
		if err != nil || i > 100 {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	x.v.Unpin(n)
	x.abandon()
}

// TestClosedDatabase: the database is closed underneath. Everything fails with
// an error, nothing panics.
func TestClosedDatabase(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{Logger: quiet()})
	n := x.newFile("/b/f")
	x.write(n, 0, noise(1, 100_000))
	x.must(x.v.Sync())
	x.must(x.db.Close())
	if _, err := x.v.Read(n, make([]byte, 10), 0); err == nil {
		t.Error("a read from a closed database was answered")
	}
	if err := x.v.Write(n, 4096, noise(1, 4096)); err != nil {
		t.Logf("write: %v", err)
	}
	if err := x.v.Sync(); !errors.Is(err, store.ErrClosed) {
		t.Errorf("sync: %v, want store.ErrClosed", err)
	}
	if _, err := x.v.Lookup(RootInode, "none"); err == nil || errors.Is(err, ErrNotExist) {
		t.Errorf("lookup: %v", err)
	}
	x.v.Unpin(n)
	x.abandon()
}

// TestReadOnly: nothing changes on a read-only mount, orphans included.
func TestReadOnly(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	n.Acquire()
	x.write(n, 0, []byte("hello"))
	keep := x.newFile("/b/keep")
	x.write(keep, 0, []byte("keep"))
	x.v.Unpin(keep)
	x.must(x.v.Unlink(x.inode("/b"), "f"))
	x.must(x.v.Sync())
	x.abandon()
	x.o.ReadOnly = true
	x.open()
	version := x.db.Committed()
	keep = x.file("/b/keep")
	x.wantContents(keep, []byte("keep"))
	x.v.Accessed(keep)
	if err := x.v.Write(keep, 0, []byte("x")); !errors.Is(err, ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := x.v.Unlink(x.inode("/b"), "keep"); !errors.Is(err, ErrReadOnly) {
		t.Errorf("unlink: %v", err)
	}
	x.v.Unpin(keep)
	x.close()
	if got := x.db.Committed(); got != version {
		t.Errorf("the store went from version %d to %d", version, got)
	}
	x.o.ReadOnly = false
	x.open()
}

// TestDamage: records that are missing, or older than they should be, are
// errors that name the inode.
func TestDamage(t *testing.T) {
	for _, kind := range []record.Kind{record.KindData, record.KindMap, record.KindXattr, record.KindInode} {
		t.Run(kind.String(), func(t *testing.T) {
			x := newTestVolume(t, Options{Logger: quiet()})
			n := x.newFile("/b/f")
			for i := range 100 {
				x.write(n, uint64(i)<<20, []byte("data"))
			}
			x.must(x.v.SetXattr(n, "user.a", []byte("b"), XattrAny))
			x.must(x.v.Sync())
			ino := n.Ino
			old := x.snapshot(kind, ino)
			x.write(n, 0, []byte("new"))
			x.must(x.v.SetXattr(n, "user.a", []byte("c"), XattrAny))
			x.must(x.v.Sync())
			x.v.Unpin(n)
			for _, how := range []string{"older", "missing"} {
				if how == "older" && kind == record.KindInode {
					continue // found by fsck
				}
				x.abandon()
				x.replace(old, how == "missing")
				x.open()
				n, err := x.v.Resolve("/b/f")
				if err == nil {
					x.must(x.v.Open(context.Background(), n, kmsDrive()))
					if kind == record.KindXattr {
						_, err = x.v.Xattr(n, "user.a")
					} else {
						_, err = x.v.Read(n, make([]byte, 100<<20), 0)
					}
					x.v.Unpin(n)
				}
				var d *DamageError
				if kind == record.KindData && how == "older" {
					if err != nil { // the old record has another number: nothing was put back
						t.Errorf("%s: %v", how, err)
					}
				} else if !errors.Is(err, ErrDamaged) || !errors.As(err, &d) || d.Inode != ino {
					t.Errorf("%s: %v", how, err)
				}
			}
			x.abandon()
		})
	}
}

// snapshot returns the records of a kind of an inode, by key.
func (x *testVolume) snapshot(k record.Kind, ino uint64) map[string][]byte {
	x.Helper()
	m := make(map[string][]byte)
	view := x.db.View()
	defer view.Release()
	x.must(view.Iterate(record.Prefix(k, ino), nil, func(key, value []byte) error {
		m[string(key)] = append([]byte(nil), value...)
		return nil
	}))
	return m
}

// replace puts records back, or deletes them, in a commit with a good head.
func (x *testVolume) replace(m map[string][]byte, remove bool) {
	x.Helper()
	head, err := ReadHead(x.options())
	x.must(err)
	v, err := newVolume(x.options())
	x.must(err)
	defer func() { x.must(v.arena.release()) }()
	b := newBatch()
	for k, value := range m {
		if remove {
			b.Delete([]byte(k))
		} else {
			b.Put([]byte(k), value)
		}
	}
	head.Version = x.db.NextVersion()
	v.put(b, record.HeadKey(), head.Append(nil))
	_, err = x.db.Commit(b)
	x.must(err)
}

// TestFailedBigWrite: when the first of several transactions fails that store a
// file ahead of its epoch, the next is sealed already, and what is in memory
// stays there.
func TestFailedBigWrite(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{Logger: quiet(), DirtyMemory: 64 << 20})
	n := x.newFile("/b/big")
	contents := noise(1, aheadBytes+4*leafBytes)
	x.must(x.v.Sync())
	x.v.commitMu.Lock() // the background must not store it yet
	x.write(n, 0, contents)
	x.breakStore()
	x.v.commitMu.Unlock()
	var failed *FailedError
	if err := x.v.SyncInode(n); !errors.As(err, &failed) {
		t.Errorf("fsync: %v, want a FailedError", err)
	}
	x.wantContents(n, contents)
	x.v.Unpin(n)
	x.abandon()
}
