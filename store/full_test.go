package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mountTmpfs mounts a file system of the given size in bytes.
func mountTmpfs(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("these tests need the right to mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fillOptions are what the store would choose on a small file system.
func fillOptions() Options {
	return Options{MemTableSize: 2 << 20, ValueLogFileSize: 8 << 20, BallastSize: 6 << 20}
}

func fillKey(kind byte, i int) []byte { return fmt.Appendf(nil, "%c%06d", kind, i) }

// commitInTime commits, and again while a compaction takes up the space for it.
func commitInTime(db *DB, b *Batch) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		_, err := db.Commit(b)
		if !errors.Is(err, ErrFull) || time.Now().After(deadline) {
			return err
		}
	}
}

func TestFullFileSystem(t *testing.T) {
	for _, kind := range []string{"big", "small", "mixed", "squeezed"} {
		t.Run(kind, func(t *testing.T) {
			dir := mountTmpfs(t, 96<<20)
			out := runChild(t, "fill", kind+" "+filepath.Join(dir, "store"))
			t.Log(out)
		})
	}
}

// childFill fills a store until there is no space, and checks that everything
// but storing more goes on working: reading, deleting, reclaiming, reopening.
func childFill(arg string) error {
	kind, path, _ := strings.Cut(arg, " ")
	d, db, err := create(path, fillOptions())
	if err != nil {
		return err
	}
	value := func(i int) []byte {
		size := 64 << 10
		if kind == "small" || kind == "mixed" && i%4 != 0 {
			size = 4 << 10
		}
		v := make([]byte, size)
		_, _ = rand.Read(v)
		copy(v, fillKey('v', i))
		return v
	}
	const perCommit = 8
	commit := func(n int) (int, error) {
		for i := n; ; i += perCommit {
			var b Batch
			for j := range perCommit {
				b.Put(fillKey('k', i+j), value(i+j))
			}
			b.Put([]byte("count"), fillKey('c', i))
			if _, err := db.Commit(&b); err != nil {
				return i, err
			}
		}
	}
	check := func(from, n int) error {
		v := db.View()
		defer v.Release()
		for i := from; i < n; i++ {
			if err := v.Get(fillKey('k', i), func(val []byte) error {
				if !bytes.HasPrefix(val, fillKey('v', i)) {
					return fmt.Errorf("record %d has the wrong value", i)
				}
				return nil
			}); err != nil {
				return fmt.Errorf("reading record %d: %w", i, err)
			}
		}
		return nil
	}
	n, err := commit(0)
	if !errors.Is(err, ErrFull) {
		return fmt.Errorf("filling ended with %w", err)
	}
	space, err := db.Space()
	if err != nil {
		return err
	}
	fmt.Printf("full at %d records, %+v\n", n, space)
	if kind == "squeezed" {
		// Somebody else takes what is left.
		if err := squeeze(filepath.Join(filepath.Dir(path), "other")); err != nil {
			return err
		}
	}
	if err := check(0, n); err != nil {
		return err
	}
	// The small files beside the database.
	if err := d.WriteFile(KeystoreA, make([]byte, 100_000)); err != nil {
		return err
	}
	// Reopening a full store.
	if err := closeBoth(d, db); err != nil {
		return fmt.Errorf("closing when full: %w", err)
	}
	if d, db, err = create(path, fillOptions()); err != nil {
		return fmt.Errorf("opening when full: %w", err)
	}
	if err := check(0, n); err != nil {
		return err
	}
	// Deleting goes on, all of it if need be.
	deleted := n * 3 / 4 / perCommit * perCommit
	for i := 0; i < deleted; i += perCommit {
		var b Batch
		b.UseReserve()
		for j := range perCommit {
			b.Delete(fillKey('k', i+j))
		}
		b.Put([]byte("count"), fillKey('c', i))
		if err := commitInTime(db, &b); err != nil {
			return fmt.Errorf("deleting record %d of %d: %w", i, n, err)
		}
	}
	for range 3 { // what is reclaimed makes room for reclaiming more
		if err := db.Reclaim(context.Background(), nil); err != nil {
			return fmt.Errorf("reclaiming: %w", err)
		}
	}
	lsm, vlog := db.Size()
	after, err := db.Space()
	if err != nil {
		return err
	}
	fmt.Printf("after deleting %d: lsm %d vlog %d, %+v\n", deleted, lsm, vlog, after)
	if err := check(deleted, n); err != nil {
		return err
	}
	if kind != "squeezed" && after.Free < 10<<20 {
		return fmt.Errorf("only %d bytes came back", after.Free)
	}
	if kind != "squeezed" {
		// And so does storing.
		more, err := commit(n)
		if !errors.Is(err, ErrFull) {
			return fmt.Errorf("filling again ended with %w", err)
		}
		if more-n < n/4 {
			return fmt.Errorf("only %d records could be stored after deleting %d of %d", more-n, deleted, n)
		}
		n = more
	}
	if err := check(deleted, n); err != nil {
		return err
	}
	return closeBoth(d, db)
}

// squeeze writes a file until the file system is full.
func squeeze(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		if _, err := f.Write(buf); errors.Is(err, unix.ENOSPC) {
			return f.Close()
		} else if err != nil {
			return err
		}
	}
}

// smallStore makes a store with a few commits on a file system of 48 MiB of its
// own. It returns the store's path.
func smallStore(t *testing.T) (path string, d *Dir, db *DB) {
	t.Helper()
	path = filepath.Join(mountTmpfs(t, 48<<20), "store")
	d, db, err := create(path, fillOptions())
	if err != nil {
		t.Fatal(err)
	}
	commitEach(t, db, 300, func(b *Batch, i int) { b.Put(fillKey('k', i), make([]byte, 4<<10)) })
	return path, d, db
}

// closeWith checks that what was committed is there, and closes the store.
func closeWith(t *testing.T, d *Dir, db *DB, committed uint64) {
	t.Helper()
	if db.Committed() != committed {
		t.Errorf("committed %d of %d", db.Committed(), committed)
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWithoutSpace: closing flushes, which must not be tried without space.
func TestCloseWithoutSpace(t *testing.T) {
	path, d, db := smallStore(t)
	committed := db.Committed()
	db.commitMu.Lock()
	if err := db.ballast.drop(); err != nil {
		t.Fatal(err)
	}
	db.commitMu.Unlock()
	other := filepath.Join(filepath.Dir(path), "other")
	if err := squeeze(other); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := db.Close(); !errors.Is(err, ErrFull) {
			t.Fatalf("closing: %v", err)
		}
		if err := d.Close(); !errors.Is(err, ErrBusy) {
			t.Fatalf("closing the directory: %v", err)
		}
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	d, db, err := create(path, fillOptions())
	if err != nil {
		t.Fatal(err)
	}
	closeWith(t, d, db, committed)
}

// TestOpenWithoutSpace: opening flushes, too.
func TestOpenWithoutSpace(t *testing.T) {
	path, d, db := smallStore(t)
	committed := db.Committed()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(path, nameBallast)); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	other := filepath.Join(filepath.Dir(path), "other")
	if err := squeeze(other); err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenDB(fillOptions()); !errors.Is(err, ErrFull) {
		t.Fatalf("opening: %v", err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	db, err := d.OpenDB(fillOptions())
	if err != nil {
		t.Fatal(err)
	}
	closeWith(t, d, db, committed)
}

// TestFullDuringCompaction: what a compaction writes beside its input was
// counted when the space for it was held back, so it must not count again and
// have removals refused while it goes on.
func TestFullDuringCompaction(t *testing.T) {
	dir := mountTmpfs(t, 96<<20)
	path := filepath.Join(dir, "store")
	d, db, err := createPlain(path, fillOptions())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		var b Batch
		b.Put(fillKey('k', n), make([]byte, 4<<10))
		if _, err := db.Commit(&b); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	remove := func(i int) error {
		var b Batch
		b.UseReserve()
		b.Delete(fillKey('k', i))
		_, err := db.Commit(&b)
		return err
	}
	// Take all but half of what flushes and compactions may need.
	fsys, err := statFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	take := fsys.free + db.ballast.held() - db.floor.Load()/2
	occupy := func(name string) string {
		file := filepath.Join(db.path(), name)
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, take), f.Close()); err != nil {
			t.Fatal(err)
		}
		return file
	}
	db.commitMu.Lock()
	err = db.ballast.drop()
	db.commitMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	other := occupy("other")
	if err := remove(0); !errors.Is(err, ErrFull) {
		t.Errorf("removing beside somebody else's file: %v", err)
	}
	if err := os.Rename(other, filepath.Join(db.path(), "999999.sst")); err != nil {
		t.Fatal(err)
	}
	if err := remove(0); err != nil {
		t.Errorf("removing beside an unfinished table: %v", err)
	}
	if err := os.Remove(filepath.Join(db.path(), "999999.sst")); err != nil {
		t.Fatal(err)
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}
