package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// fullLog returns a database whose background work the test does by hand, with a
// full value log file of n records k000000, k000001... that compaction is through
// with.
func fullLog(t *testing.T, path string) (d *Dir, db *DB, fid uint32, n int) {
	t.Helper()
	d, db, err := createPlain(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	db.stop()
	db.background.Wait()
	fid = db.vlog.fid
	for ; db.vlog.fid == fid; n++ {
		put(t, db, fmt.Sprintf("k%06d", n), make([]byte, 60_000))
	}
	for _, step := range []func() error{db.flush, db.flatten} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return d, db, fid, n
}

// deleteSome deletes one record of four, beginning with the one of the number
// first.
func deleteSome(t *testing.T, db *DB, first, n int) {
	t.Helper()
	for i := first; i < n; i += 4 {
		var b Batch
		b.Delete(fmt.Appendf(nil, "k%06d", i))
		mustCommit(t, db, &b)
	}
}

// checkDeleted compacts what is in tables, and wants the records to be gone that
// are i modulo 4 for one of the given i, and no others.
func checkDeleted(t *testing.T, db *DB, n int, gone ...int) {
	t.Helper()
	if err := db.flatten(); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	defer v.Release()
	for i := range n {
		want := false
		for _, g := range gone {
			want = want || i%4 == g
		}
		if _, err := get(v, fmt.Sprintf("k%06d", i)); errors.Is(err, ErrNotFound) != want || err != nil && !want {
			t.Errorf("record %d, deleted %v: %v", i, want, err)
		}
	}
}

// reopen closes and opens, which makes a table of what was in memory.
func reopen(t *testing.T, d *Dir, db *DB) *DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, d, testOptions())
	db.stop()
	db.background.Wait()
	return db
}

// TestDeletedStaysDeleted: Badger moves values that were deleted, before the
// collection or while it goes on, and then forgets that they were.
func TestDeletedStaysDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, fid, n := fullLog(t, path)
	t.Cleanup(func() { _ = d.Close() })
	deleteSome(t, db, 0, n)
	db = reopen(t, d, db)
	during := db.badger.rewriting
	db.badger.rewriting = func() {
		deleteSome(t, db, 1, n)
		during()
	}
	info, err := os.Stat(db.vlog.path(fid))
	if err != nil {
		t.Fatal(err)
	}
	if done, err := db.collectFile(valueFile{fid: fid, size: info.Size()}, 0); err != nil || !done {
		t.Fatalf("collected: %v, %v", done, err)
	}
	if _, err := os.Stat(filepath.Join(path, nameMoving)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the list is still there: %v", err)
	}
	checkDeleted(t, db, n, 0, 1)
	db = reopen(t, d, db)
	checkDeleted(t, db, n, 0, 1)
}

// TestDeletedStaysDeletedAfterCrash ends the process between the collection and
// the writing of the deletions.
func TestDeletedStaysDeletedAfterCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, fid, n := fullLog(t, path)
	t.Cleanup(func() { _ = d.Close() })
	deleteSome(t, db, 0, n)
	db = reopen(t, d, db)
	view := db.View()
	list, _, err := db.movables(fid)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.writeFile(nameMoving, appendMoving(nil, list)); err != nil {
		t.Fatal(err)
	}
	deleteSome(t, db, 1, n)
	if done, err := db.rewrite(fid); err != nil || !done {
		t.Fatalf("collected: %v, %v", done, err)
	}
	// What was deleted before may be forgotten already, what was deleted since not:
	// the View.
	if err := db.flatten(); err != nil {
		t.Fatal(err)
	}
	copyStore(t, path+".killed", path)
	copyStore(t, path+".unlisted", path)
	view.Release()

	killed, err := OpenDir(path + ".killed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = killed.Close() })
	checkDeleted(t, openDB(t, killed, testOptions()), n, 0, 1)

	// Without the list they come back: it is needed.
	if err := os.Remove(filepath.Join(path+".unlisted", nameMoving)); err != nil {
		t.Fatal(err)
	}
	unlisted, err := OpenDir(path + ".unlisted")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unlisted.Close() })
	v := openDB(t, unlisted, testOptions()).View()
	defer v.Release()
	if _, err := get(v, "k000000"); err != nil {
		t.Logf("Badger keeps deletions without help now: %v", err)
	}
}

// TestPutAgain: what has a newer value than the deletion in the list stays.
func TestPutAgain(t *testing.T) {
	db := quietDB(t)
	put(t, db, "k", []byte("old"))
	var b Batch
	b.Delete([]byte("k"))
	deleted := mustCommit(t, db, &b)
	put(t, db, "k", []byte("new"))
	for _, list := range [][]movable{{{[]byte("k"), deleted}}, {{[]byte("k"), 0}}, {{[]byte("none"), deleted}}} {
		if err := db.dir.writeFile(nameMoving, appendMoving(nil, list)); err != nil {
			t.Fatal(err)
		}
		if err := db.finishMoving(); err != nil {
			t.Fatal(err)
		}
	}
	v := db.View()
	defer v.Release()
	if got, err := get(v, "k"); err != nil || string(got) != "new" {
		t.Errorf("k is %q, %v", got, err)
	}
}

// TestDamagedMovingList: it is not used, and the store can be.
func TestDamagedMovingList(t *testing.T) {
	db := quietDB(t)
	put(t, db, "k", []byte("value"))
	good := appendMoving(nil, []movable{{[]byte("k"), 1}})
	flipped := bytes.Clone(good)
	flipped[len(movingMagic)+6] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "magic": append([]byte("ssefsmv2"), good[8:]...), "flipped": flipped, "cut": good[:len(good)-1],
		"future":   appendMoving(nil, []movable{{[]byte("k"), 1 << 40}}),
		"reserved": appendMoving(nil, []movable{{markerKey(), 1}}),
	} {
		if err := db.dir.writeFile(nameMoving, b); err != nil {
			t.Fatal(err)
		}
		if err := db.finishMoving(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(db.dir.path, nameMoving)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the list is still there: %v", name, err)
		}
	}
	v := db.View()
	defer v.Release()
	if got, err := get(v, "k"); err != nil || string(got) != "value" {
		t.Errorf("k is %q, %v", got, err)
	}
}

// FuzzMovingList: what decodes has that one encoding.
func FuzzMovingList(f *testing.F) {
	for _, list := range [][]movable{nil, {{[]byte("k"), 1}, {[]byte("key"), 0}}} {
		b := appendMoving(nil, list)
		f.Add(b[:len(b)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sum := sha256.Sum256(b)
		b = append(b, sum[:]...)
		if list, err := parseMoving(b, 1<<40); err == nil && !bytes.Equal(appendMoving(nil, list), b) {
			t.Errorf("%x decodes to %v", b, list)
		}
	})
}
