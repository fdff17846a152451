package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// journalEntries makes n entries from version first on.
func journalEntries(first uint64, n int) []journalEntry {
	var all []journalEntry
	for i := range n {
		e := journalEntry{version: first + uint64(i)}
		for k := range i % 4 {
			e.changes = append(e.changes,
				batchEntry{key: fmt.Appendf(nil, "key %d", k), value: bytes.Repeat([]byte{byte(i)}, 300*i)},
				batchEntry{key: fmt.Appendf(nil, "gone %d", k), del: true})
		}
		all = append(all, e)
	}
	return all
}

// journalFileOf returns the contents of a journal file with these entries, and
// where each ends.
func journalFileOf(t testing.TB, entries []journalEntry) (data []byte, ends []int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	j, err := makeJournalFile(path, minJournalFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := j.append(e.version, e.changes); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, j.end)
	}
	if err := j.f.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return data, ends
}

func sameEntries(a, b []journalEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].version != b[i].version || len(a[i].changes) != len(b[i].changes) {
			return false
		}
		for k, c := range a[i].changes {
			if d := b[i].changes[k]; !bytes.Equal(c.key, d.key) || !bytes.Equal(c.value, d.value) || c.del != d.del {
				return false
			}
		}
	}
	return true
}

// TestTornJournal: whatever is missing of the last entry, those before it are
// read, and what an earlier use of the file left is not.
func TestTornJournal(t *testing.T) {
	entries := journalEntries(7, 12)
	data, ends := journalFileOf(t, entries)
	got, err := parseJournal(data)
	if err != nil || !sameEntries(got, entries) {
		t.Fatalf("%d entries, %v", len(got), err)
	}
	last := len(entries) - 1
	for at := ends[last-1]; at < ends[last]-journalSector; at += 97 {
		torn := bytes.Clone(data)
		clear(torn[at:])
		if got, err := parseJournal(torn); err != nil || !sameEntries(got, entries[:last]) {
			t.Fatalf("cut at %d: %d entries, %v", at, len(got), err)
		}
	}
	// The file is used again: its first entries are in the place of others.
	older, _ := journalFileOf(t, journalEntries(1, 20))
	if len(older) < len(data) {
		t.Fatal("the older file is too short")
	}
	reused := bytes.Clone(older)
	copy(reused, data[:ends[3]])
	if got, err := parseJournal(reused); err != nil || !sameEntries(got, entries[:4]) {
		t.Fatalf("used again: %d entries, %v", len(got), err)
	}
	// Its first entry did not get there.
	copy(reused, data[:journalSector])
	copy(reused[journalSector:], older[journalSector:])
	if got, err := parseJournal(reused); err != nil || len(got) != 0 {
		t.Fatalf("only the header: %d entries, %v", len(got), err)
	}
}

// TestDamagedJournal: a bit that flipped before the last entry would lose
// acknowledged commits.
func TestDamagedJournal(t *testing.T) {
	entries := journalEntries(7, 12)
	data, ends := journalFileOf(t, entries)
	for i, end := range ends[:len(ends)-1] {
		damaged := bytes.Clone(data)
		damaged[end-journalSector] ^= 4
		if got, err := parseJournal(damaged); !errors.Is(err, ErrDamaged) {
			t.Errorf("a bit of entry %d: %d entries, %v", i, len(got), err)
		}
	}
}

func TestJournalMustContinueTheDatabase(t *testing.T) {
	entries := journalEntries(5, 4) // 5 to 8
	for version, want := range map[uint64]int{4: 4, 6: 2, 8: 0, 20: 0} {
		if got, err := after(entries, version); err != nil || len(got) != want {
			t.Errorf("after %d: %d entries, %v", version, len(got), err)
		}
	}
	if _, err := after(entries, 3); !errors.Is(err, ErrDamaged) {
		t.Errorf("a commit is missing: %v", err)
	}
	if _, err := after(append(journalEntries(5, 2), journalEntries(9, 1)...), 4); !errors.Is(err, ErrDamaged) {
		t.Errorf("commits are missing in between: %v", err)
	}
}

// TestJournalIsRemovedAtClose: a store that was closed is as if there were no
// journals.
func TestJournalIsRemovedAtClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "a", []byte("1"))
	for _, name := range journalNames() {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm() != filePerm || info.Size() != db.opt.JournalSize {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	for _, name := range journalNames() {
		if _, err := os.Stat(filepath.Join(path, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// killed makes a store with n small commits, all of which are in the journal
// alone, and one before them that is not.
func killed(t *testing.T, n int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	var big Batch
	big.Put([]byte("big"), make([]byte, journalEntryLimit))
	big.Put([]byte("changed"), []byte("old"))
	big.Put([]byte("deleted"), []byte("old"))
	mustCommit(t, db, &big)
	db.journalMu.Lock() // keeps the checkpointer away
	for i := range n {
		b := Batch{}
		b.Put([]byte("changed"), fmt.Appendf(nil, "new %d", i))
		b.Put(fmt.Appendf(nil, "key %d", i), []byte{byte(i)})
		b.Delete([]byte("deleted"))
		version := db.committed.Load() + 1
		if ok, err := db.commitToJournal(&b, b.size(db.opt.InlineValue), version); !ok || err != nil {
			t.Fatal(ok, err)
		}
		db.committed.Store(version)
		db.publish()
	}
	copyStore(t, path+".killed", path)
	db.journalMu.Unlock()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	return path + ".killed"
}

// checkKilled looks at what killed made.
func checkKilled(t *testing.T, db *DB, n int) {
	t.Helper()
	v := db.View()
	defer v.Release()
	if v.Version() != uint64(n)+1 {
		t.Errorf("at version %d", v.Version())
	}
	if got, err := get(v, "changed"); err != nil || string(got) != fmt.Sprintf("new %d", n-1) {
		t.Errorf("changed: %q, %v", got, err)
	}
	if got, err := get(v, "deleted"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %q, %v", got, err)
	}
	keys := 0
	if err := v.IterateKeys([]byte("key "), nil, func([]byte, int64) error { keys++; return nil }); err != nil || keys != n {
		t.Errorf("%d keys, %v", keys, err)
	}
}

func TestCommitsOfTheJournalAreTakenUp(t *testing.T) {
	const n = 9
	path := killed(t, n)
	for _, access := range []Access{ReadOnly, ReadOnly, ReadWrite, ReadWrite} {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		opt := testOptions()
		opt.Access = access
		db, err := d.OpenDB(opt)
		if err != nil {
			t.Fatal(err)
		}
		checkKilled(t, db, n)
		if err := closeBoth(d, db); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOlderJournalPutBack: the files of an earlier crash do not continue the
// database, and what they hold is in it already.
func TestOlderJournalPutBack(t *testing.T) {
	const n = 9
	path := killed(t, n)
	saved := make(map[string][]byte)
	for _, name := range journalNames() {
		data, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		saved[name] = data
	}
	for range 2 {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		db, err := d.OpenDB(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		checkKilled(t, db, n)
		if err := closeBoth(d, db); err != nil {
			t.Fatal(err)
		}
		for name, data := range saved {
			if err := os.WriteFile(filepath.Join(path, name), data, filePerm); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestJournalFails: the commit in question and all others go to Badger, and
// nothing is lost.
func TestJournalFails(t *testing.T) {
	db := newDB(t)
	db.StartJournal()
	put(t, db, "a", []byte("1"))
	put(t, db, "b", []byte("1"))
	db.journalMu.Lock()
	if db.journal.active == nil {
		t.Error("nothing is in the journal")
	}
	for _, j := range db.journal.files {
		if err := j.f.Close(); err != nil {
			t.Error(err)
		}
		f, err := os.Open(os.DevNull) // cannot be written to
		if err != nil {
			t.Fatal(err)
		}
		j.f = datasyncFile{f}
	}
	db.journalMu.Unlock()
	put(t, db, "b", []byte("2"))
	if db.applied.Load() != db.Committed() {
		t.Errorf("commit %d, and only %d is in the tables", db.Committed(), db.applied.Load())
	}
	put(t, db, "c", []byte("3"))
	v := db.View()
	defer v.Release()
	for key, want := range map[string]string{"a": "1", "b": "2", "c": "3"} {
		if got, err := get(v, key); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
}

// TestCheckpointFails: what is in the journal stays readable, and is there after
// the next opening.
func TestCheckpointFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	db.commitFault = func(func() error) error { return boom }
	put(t, db, "a", []byte("1"))
	var big Batch
	big.Put([]byte("b"), make([]byte, journalEntryLimit))
	if _, err := db.Commit(&big); !errors.Is(err, boom) && !errors.Is(err, ErrFailed) {
		t.Fatalf("the failing commit: %v", err)
	}
	if _, err := db.Commit(&Batch{}); !errors.Is(err, ErrFailed) {
		t.Errorf("the commit after it: %v", err)
	}
	v := db.View()
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("%q, %v", got, err)
	}
	v.Release()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	if d, db, err = create(path, testOptions()); err != nil {
		t.Fatal(err)
	}
	v = db.View()
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("after opening again: %q, %v", got, err)
	}
	v.Release()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

// TestCloseWhileACheckpointIsAwaited: reclaiming and commits wait for one that
// nobody makes any more.
func TestCloseWhileACheckpointIsAwaited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "a", []byte("1"))
	db.stop() // the checkpointer is gone
	db.background.Wait()
	db.journalMu.Lock()
	err = db.freeze()
	db.journalMu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	var big Batch
	big.Put([]byte("b"), make([]byte, journalEntryLimit))
	ended := make(chan error, 2)
	go func() {
		_, err := db.Commit(&big)
		ended <- err
	}()
	go func() { ended <- db.Reclaim(t.Context(), nil) }()
	for waiting := false; !waiting; { // until both are where they wait, or came too late
		time.Sleep(time.Millisecond)
		waiting = db.journalMu.TryLock()
	}
	db.closed.Store(true)
	db.journal.done.Broadcast()
	db.journalMu.Unlock()
	for range 2 {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("what waited: %v", err)
		}
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	if d, db, err = create(path, testOptions()); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("after opening again: %q, %v", got, err)
	}
	v.Release()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

func FuzzJournal(f *testing.F) {
	data, ends := journalFileOf(f, journalEntries(3, 6))
	f.Add(data[:ends[5]])
	f.Add(data[:ends[2]])
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseJournal(data)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		for i, e := range entries {
			if i > 0 && e.version != entries[i-1].version+1 {
				t.Fatalf("version %d follows %d", e.version, entries[i-1].version)
			}
			for _, c := range e.changes {
				if checkKey(c.key) != nil || c.del && c.value != nil {
					t.Fatalf("change %+v", c)
				}
			}
		}
	})
}

// TestMendedJournal: what continues the database is taken up, the rest is kept
// and told.
func TestMendedJournal(t *testing.T) {
	const n = 9
	for name, c := range map[string]struct {
		damage func(data []byte) []byte
		left   int // small commits
	}{
		"whole":           {func(data []byte) []byte { return data }, n},
		"third entry":     {func(data []byte) []byte { data[3*journalSector+40] ^= 1; return data }, 2},
		"header":          {func(data []byte) []byte { clear(data[:journalSector]); return data }, 0},
		"first entry":     {func(data []byte) []byte { data[journalSector+40] ^= 1; return data }, 0},
		"shorter":         {func(data []byte) []byte { return data[:4*journalSector] }, 3},
		"garbage instead": {func(data []byte) []byte { return bytes.Repeat([]byte("x"), len(data)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := killed(t, n)
			edit(t, filepath.Join(path, journalNames()[0]), c.damage)
			d, err := OpenDir(path)
			if err != nil {
				t.Fatal(err)
			}
			_, openErr := d.OpenDB(testOptions())
			if openErr != nil && !errors.Is(openErr, ErrDamaged) {
				t.Fatal(openErr)
			}
			if openErr == nil { // as torn as a crash may leave it
				if err := d.db.Close(); err != nil {
					t.Fatal(err)
				}
			}
			losses, _, err := d.MendDatabase(t.Context())
			if err != nil || (len(losses) > 0) != (openErr != nil) {
				t.Fatalf("opening: %v; mending: %v, %v", openErr, losses, err)
			}
			db, err := d.OpenDB(testOptions())
			if err != nil {
				t.Fatal(err)
			}
			if got := db.Committed(); got != uint64(c.left)+1 {
				t.Errorf("at commit %d, want %d", got, c.left+1)
			}
			if c.left > 0 {
				checkKilled(t, db, c.left)
			}
			if err := closeBoth(d, db); err != nil {
				t.Fatal(err)
			}
			if kept, err := filepath.Glob(filepath.Join(path, "journal.a.damaged")); err != nil || (len(kept) == 1) != (len(losses) > 0) {
				t.Errorf("kept %v, %v", kept, err)
			}
		})
	}
}
