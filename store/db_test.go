package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testOptions are small, so that rotation and compaction happen in tests.
func testOptions() Options {
	return Options{MemTableSize: 2 << 20, ValueLogFileSize: 4 << 20}
}

// newStore creates a store directory that is not finished.
func newStore(t testing.TB) *Dir {
	t.Helper()
	d, err := CreateDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func openDB(t testing.TB, d *Dir, opt Options) *DB {
	t.Helper()
	db, err := d.OpenDB(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("closing: %v", err)
		}
	})
	return db
}

func newDB(t testing.TB) *DB {
	t.Helper()
	return openDB(t, newStore(t), testOptions())
}

func mustCommit(t testing.TB, db *DB, b *Batch) uint64 {
	t.Helper()
	version, err := db.Commit(b)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// put commits one record.
func put(t testing.TB, db *DB, key string, value []byte) {
	t.Helper()
	var b Batch
	b.Put([]byte(key), value)
	mustCommit(t, db, &b)
}

// commitEach applies change to batches for each i below n, and commits them.
func commitEach(t testing.TB, db *DB, n int, change func(b *Batch, i int)) {
	t.Helper()
	maxBytes, maxEntries, _ := db.Limits()
	for i := 0; i < n; {
		var b Batch
		for i < n && b.LSMBytes() < maxBytes/2 && int64(b.Len()) < maxEntries/2 && b.LogBytes() < db.MaxLogBytes()/2 {
			change(&b, i)
			i++
		}
		mustCommit(t, db, &b)
	}
}

func get(v *View, key string) ([]byte, error) {
	var value []byte
	err := v.Get([]byte(key), func(b []byte) error {
		value = bytes.Clone(b)
		return nil
	})
	return value, err
}

func TestCommitAndGet(t *testing.T) {
	db := newDB(t)
	var b Batch
	want := map[string][]byte{"a": []byte("1"), "empty": nil}
	for _, size := range []int{1, 127, 128, 8191, 8192, 8193, 16383, 16384, 20_000, 1 << 20} {
		want[fmt.Sprintf("n%d", size)] = bytes.Repeat([]byte("x"), size)
	}
	for key, value := range want {
		b.Put([]byte(key), value)
	}
	if b.Len() != len(want) {
		t.Errorf("length %d", b.Len())
	}
	if v := mustCommit(t, db, &b); v != 1 || db.Committed() != 1 || db.NextVersion() != 2 || db.MaxVersion() != 1 {
		t.Fatalf("version %d, committed %d, max %d", v, db.Committed(), db.MaxVersion())
	}
	v := db.View()
	defer v.Release()
	for key, value := range want {
		if got, err := get(v, key); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%s: %d bytes, %v", key, len(got), err)
		}
	}
	if _, err := get(v, "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing key: %v", err)
	}
	n := 0
	if err := v.IterateKeys(nil, nil, func(key []byte, size int64) error {
		n++
		if int(size) != len(want[string(key)]) {
			t.Errorf("%s: size %d", key, size)
		}
		return nil
	}); err != nil || n != len(want) {
		t.Errorf("%d keys, %v", n, err)
	}
	myErr := errors.New("mine")
	if err := v.Get([]byte("a"), func([]byte) error { return myErr }); err != myErr {
		t.Errorf("the callback's error became %v", err)
	}
}

func TestEmptyAndDeletingCommitsCount(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, testOptions())
	put(t, db, "a", []byte("1"))
	mustCommit(t, db, &Batch{})
	var b Batch
	b.Delete([]byte("a"))
	b.Delete([]byte("was never there"))
	if v := mustCommit(t, db, &b); v != 3 {
		t.Errorf("version %d", v)
	}
	// Compaction forgets deletions, and must not forget versions with them.
	for range 2 {
		if err := db.Reclaim(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = openDB(t, d, testOptions())
		if db.Committed() != 3 {
			t.Errorf("committed %d", db.Committed())
		}
	}
	v := db.View()
	defer v.Release()
	if err := v.IterateKeys(nil, nil, func(key []byte, _ int64) error {
		t.Errorf("found %q", key)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestLastChangeOfAKeyCounts(t *testing.T) {
	db := newDB(t)
	var b Batch
	b.Put([]byte("a"), []byte("1"))
	b.Delete([]byte("a"))
	b.Delete([]byte("b"))
	b.Put([]byte("b"), []byte("2"))
	mustCommit(t, db, &b)
	v := db.View()
	defer v.Release()
	if _, err := get(v, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a: %v", err)
	}
	if got, err := get(v, "b"); err != nil || string(got) != "2" {
		t.Errorf("b: %q, %v", got, err)
	}
}

func TestInvalidKeys(t *testing.T) {
	db := newDB(t)
	v := db.View()
	defer v.Release()
	for _, key := range []string{"", strings.Repeat("k", MaxKeySize+1), "\xff", "\xffv", "!badger!x"} {
		var put, del Batch
		put.Put([]byte(key), nil)
		del.Delete([]byte(key))
		for _, b := range []*Batch{&put, &del} {
			if _, err := db.Commit(b); !errors.Is(err, ErrInvalidKey) {
				t.Errorf("committing %.10q: %v", key, err)
			}
		}
		if err := v.Get([]byte(key), nil); !errors.Is(err, ErrInvalidKey) {
			t.Errorf("getting %.10q: %v", key, err)
		}
	}
	put(t, db, strings.Repeat("k", MaxKeySize), nil)
	if db.Committed() != 1 {
		t.Errorf("committed %d", db.Committed())
	}
}

func TestIterate(t *testing.T) {
	db := newDB(t)
	var all []string
	for _, p := range []string{"a", "b", "c"} {
		for i := range 300 {
			all = append(all, fmt.Sprintf("%s%03d", p, i))
		}
	}
	// In several commits and in no order, with some overwritten and some deleted.
	for i := range len(all) {
		var b Batch
		key := all[i*7%len(all)]
		b.Put([]byte(key), []byte("old"))
		if i%3 == 0 {
			b.Put([]byte("b"+key), []byte("gone"))
		}
		mustCommit(t, db, &b)
	}
	for i := range len(all) {
		var b Batch
		b.Delete([]byte("b" + all[i]))
		b.Put([]byte(all[i]), []byte(all[i]))
		mustCommit(t, db, &b)
	}
	v := db.View()
	defer v.Release()
	for _, c := range []struct {
		prefix, from string
		want         []string
	}{
		{"", "", all},
		{"b", "", all[300:600]},
		{"b", "b100", all[400:600]},
		{"b", "b1005", all[401:600]},
		{"b", "a", all[300:600]},
		{"b", "c", nil},
		{"b29", "b295", all[595:600]},
		{"d", "", nil},
		{"", "c298", all[898:]},
	} {
		var got, keys []string
		if err := v.Iterate([]byte(c.prefix), []byte(c.from), func(key, value []byte) error {
			if !bytes.Equal(key, value) {
				return fmt.Errorf("value of %s is %s", key, value)
			}
			got = append(got, string(key))
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := v.IterateKeys([]byte(c.prefix), []byte(c.from), func(key []byte, _ int64) error {
			keys = append(keys, string(key))
			return nil
		}); err != nil {
			t.Error(err)
		}
		if !slices.Equal(got, c.want) || !slices.Equal(keys, c.want) {
			t.Errorf("%q from %q: %d and %d records in place of %d", c.prefix, c.from, len(got), len(keys), len(c.want))
		}
	}
	n := 0
	if err := v.Iterate(nil, nil, func(_, _ []byte) error {
		n++
		if n == 10 {
			return fmt.Errorf("enough: %w", ErrStop)
		}
		return nil
	}); err != nil || n != 10 {
		t.Errorf("stopped after %d, %v", n, err)
	}
}

func TestLimits(t *testing.T) {
	db := newDB(t)
	maxBytes, maxEntries, inline := db.Limits()
	if maxBytes < 200_000 || maxEntries < 1000 || inline != DefaultInlineValue {
		t.Fatalf("limits %d, %d, %d", maxBytes, maxEntries, inline)
	}
	// As much as fits of each kind is accepted, one more is refused.
	for name, add := range map[string]func(b *Batch, i int){
		"small": func(b *Batch, i int) { b.Put(fmt.Appendf(nil, "k%d", i), nil) },
		"inline": func(b *Batch, i int) {
			b.Put(fmt.Appendf(nil, "k%d", i), make([]byte, inline-1))
		},
		"outside": func(b *Batch, i int) {
			b.Put(fmt.Appendf(nil, "k%d", i), make([]byte, inline*3))
		},
		"deletes": func(b *Batch, i int) { b.Delete(fmt.Appendf(nil, "k%d", i)) },
	} {
		t.Run(name, func(t *testing.T) {
			var b, tooBig Batch
			for i := 0; ; i++ {
				add(&tooBig, i)
				if tooBig.LSMBytes() > maxBytes || int64(tooBig.Len()) >= maxEntries || tooBig.LogBytes() > db.MaxLogBytes() {
					break
				}
				add(&b, i)
			}
			before := db.Committed()
			mustCommit(t, db, &b)
			// Far enough over that no estimate is in the way.
			for i := range b.Len() / 8 {
				add(&tooBig, b.Len()+1+i)
			}
			if _, err := db.Commit(&tooBig); !errors.Is(err, ErrTooBig) {
				t.Errorf("%v", err)
			}
			if db.Committed() != before+1 {
				t.Errorf("committed %d", db.Committed())
			}
		})
	}
}

func TestFailedCommit(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		fault   func(commit func() error) error
		written bool
	}{
		"before": {func(func() error) error { return boom }, false},
		"after":  {func(commit func() error) error { return errors.Join(commit(), boom) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newStore(t)
			db := openDB(t, d, testOptions())
			put(t, db, "a", []byte("1"))
			db.commitFault = c.fault
			var b Batch
			b.Put([]byte("a"), []byte("2"))
			if _, err := db.Commit(&b); !errors.Is(err, boom) || errors.Is(err, ErrFailed) {
				t.Fatalf("the failing commit: %v", err)
			}
			db.commitFault = nil
			if _, err := db.Commit(&Batch{}); !errors.Is(err, ErrFailed) || !errors.Is(err, boom) {
				t.Errorf("the next commit: %v", err)
			}
			if err := db.Reclaim(context.Background(), nil); !errors.Is(err, ErrFailed) {
				t.Errorf("reclaiming: %v", err)
			}
			v := db.View()
			if got, err := get(v, "a"); err != nil || string(got) != "1" || v.Version() != 1 {
				t.Errorf("version %d: %q, %v", v.Version(), got, err)
			}
			v.Release()
			if got := db.MaxVersion(); db.Committed() != 1 || c.written != (got == 2) {
				t.Errorf("committed %d, max %d", db.Committed(), got)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = openDB(t, d, testOptions())
			want := "1"
			if c.written {
				want = "2"
			}
			v = db.View()
			defer v.Release()
			if got, err := get(v, "a"); err != nil || string(got) != want {
				t.Errorf("after reopening: %q, %v", got, err)
			}
			put(t, db, "a", nil)
		})
	}
}

// TestValueLogSyncFailureIsNoticed: all that Badger does about it is to log it, and
// then the commit goes no further. The power loss tests have it happen.
func TestValueLogSyncFailureIsNoticed(t *testing.T) {
	d := newStore(t)
	db, err := d.OpenDB(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	put(t, db, "a", []byte("1"))
	db.commitFault = func(func() error) error {
		db.badger.Errorf("Error while curlf sync: %v\n", errors.New("boom"))
		t.Error("the commit went on")
		return nil
	}
	var b Batch
	b.Put([]byte("a"), []byte("2"))
	if _, err := db.Commit(&b); !errors.Is(err, ErrIO) {
		t.Errorf("the commit: %v", err)
	}
	if _, err := db.Commit(&Batch{}); !errors.Is(err, ErrFailed) {
		t.Errorf("the next commit: %v", err)
	}
	if err := db.await(func() error { return nil }); !errors.Is(err, ErrIO) {
		t.Errorf("what waits for the writer later: %v", err)
	}
	v := db.View()
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("reading: %q, %v", got, err)
	}
	v.Release()
	if err := db.Close(); !errors.Is(err, ErrIO) {
		t.Errorf("closing: %v", err)
	}
	if err := db.bdb.Close(); err != nil { // here the writer is well
		t.Errorf("closing Badger: %v", err)
	}
}

func TestClose(t *testing.T) {
	d := newStore(t)
	db := openDB(t, d, testOptions())
	db.patience = 50 * time.Millisecond
	put(t, db, "a", []byte("1"))
	v := db.View()
	if err := db.Close(); !errors.Is(err, ErrBusy) {
		t.Errorf("closing with an open view: %v", err)
	}
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("reading in between: %q, %v", got, err)
	}
	if _, err := db.Commit(&Batch{}); !errors.Is(err, ErrClosed) {
		t.Errorf("committing: %v", err)
	}
	v.Release()
	if err := db.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
	if err := db.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closing twice: %v", err)
	}
	v = db.View()
	if _, err := get(v, "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("reading: %v", err)
	}
	v.Release()
	if err := db.Reclaim(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("reclaiming: %v", err)
	}
	if db.MaxVersion() != 1 {
		t.Errorf("max version %d", db.MaxVersion())
	}
}

func TestReadOnly(t *testing.T) {
	d := newStore(t)
	opt := testOptions()
	put(t, openDB(t, d, opt), "a", []byte("1"))
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	opt.Access = ReadOnly
	db := openDB(t, d, opt)
	v := db.View()
	defer v.Release()
	if got, err := get(v, "a"); err != nil || string(got) != "1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := db.Commit(&Batch{}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("committing: %v", err)
	}
	if err := db.Reclaim(context.Background(), nil); !errors.Is(err, ErrReadOnly) {
		t.Errorf("reclaiming: %v", err)
	}
}

// TestSmallerMemTable: a write-ahead log must fit into the memtable it is
// replayed into, whatever the options say now.
func TestSmallerMemTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := create(path, Options{MemTableSize: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	commitEach(t, db, 600, func(b *Batch, i int) {
		b.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 8000))
	})
	committed := db.Committed()
	crashed := filepath.Join(t.TempDir(), "crashed")
	copyStore(t, crashed, path)
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	if d, err = OpenDir(crashed); err != nil {
		t.Fatal(err)
	}
	db = openDB(t, d, Options{MemTableSize: 1 << 20})
	if db.Committed() != committed {
		t.Errorf("committed %d", db.Committed())
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	d := newStore(t)
	for _, opt := range []Options{
		{MemTableSize: 1},
		{MemTableSize: 1 << 30},
		{ValueLogFileSize: 1 << 30},
		{ValueLogFileSize: 1 << 20, MemTableSize: 32 << 20},
		{InlineValue: 10},
		{InlineValue: 1 << 20},
		{BallastSize: -1},
		{Access: 7},
	} {
		if db, err := d.OpenDB(opt); err == nil {
			t.Errorf("%+v was accepted", opt)
			_ = db.Close()
		}
	}
	db := openDB(t, d, DefaultOptions())
	if _, err := d.OpenDB(DefaultOptions()); !errors.Is(err, ErrBusy) {
		t.Errorf("opening twice: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
