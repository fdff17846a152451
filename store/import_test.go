package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
)

// scanned is a record as Scan shows it.
type scanned struct {
	version uint64
	value   string
}

// scan reads all records, a few at a time.
func scan(t *testing.T, v *View) map[string]scanned {
	t.Helper()
	all := make(map[string]scanned)
	last := ""
	var from []byte
	for more := true; more; {
		more = false
		n := 0
		err := v.Scan(from, func(i Item) error {
			if n++; n > 7 {
				from, more = bytes.Clone(i.Key()), true
				return ErrStop
			}
			return i.Value(func(value []byte) error {
				if int(i.Size()) != len(value) || string(i.Key()) <= last {
					t.Errorf("%q after %q: size %d of %d bytes", i.Key(), last, i.Size(), len(value))
				}
				last = string(i.Key())
				all[last] = scanned{i.Version(), string(value)}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func sameRecords(t *testing.T, got, want map[string]scanned) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for key, w := range want {
		if g := got[key]; g != w {
			t.Errorf("%q is of version %d with %d bytes, want version %d with %d", key, g.version, len(g.value), w.version, len(w.value))
		}
	}
}

// fill commits records of all sizes, some of them again and some removed.
func fill(t *testing.T, db *DB, round int) {
	t.Helper()
	for i := range 60 {
		var b Batch
		for j := range 5 {
			n := (i*7 + j*3 + round*11) % 90
			key := fmt.Appendf(nil, "k%03d", n)
			if (i+j+round)%4 == 0 {
				b.Delete(key)
			} else {
				b.Put(key, bytes.Repeat([]byte{byte(i), byte(round)}, []int{0, 20, 2000, 6000, 40_000}[(i+j)%5]))
			}
		}
		mustCommit(t, db, &b)
	}
}

func TestScanIsASnapshot(t *testing.T) {
	db := newDB(t)
	fill(t, db, 0)
	v := db.View()
	defer v.Release()
	want := scan(t, v)
	for round := range 3 {
		fill(t, db, round+1)
		if err := db.Reclaim(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		sameRecords(t, scan(t, v), want)
	}
	mine := errors.New("mine")
	if err := v.Scan(nil, func(Item) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("its own error: %v", err)
	}
	if err := v.Scan(nil, func(i Item) error { return i.Value(func([]byte) error { return mine }) }); !errors.Is(err, mine) {
		t.Errorf("its own error about a value: %v", err)
	}
}

func TestImport(t *testing.T) {
	source := newDB(t)
	dir := newStore(t)
	target := openDB(t, dir, testOptions())
	for round := range 3 {
		fill(t, source, round)
		v := source.View()
		want := scan(t, v)
		v.Release()
		importer, err := target.Importer()
		if err != nil {
			t.Fatal(err)
		}
		view := target.View()
		for key, have := range scan(t, view) {
			switch w, ok := want[key]; {
			case !ok:
				err = importer.Delete([]byte(key), source.Committed())
			case w.version > have.version:
				err = importer.Put([]byte(key), w.version, []byte(w.value))
			}
			if err != nil {
				t.Fatal(err)
			}
			if ok := want[key]; ok.version > 0 {
				delete(want, key)
			}
		}
		for key, w := range want {
			if err := importer.Put([]byte(key), w.version, []byte(w.value)); err != nil {
				t.Fatal(err)
			}
		}
		view.Release()
		if err := importer.Flush(); err != nil {
			t.Fatal(err)
		}
		v, view = source.View(), target.View()
		sameRecords(t, scan(t, view), scan(t, v))
		if target.Committed() != source.Committed() {
			t.Errorf("at version %d, want %d", target.Committed(), source.Committed())
		}
		v.Release()
		view.Release()
	}
	// It is a database like any other then.
	if err := errors.Join(target.Close(), dir.WriteFile(HeaderFile, []byte("{}")), dir.FinishCreate(), dir.Close()); err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDir(dir.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	target = openDB(t, dir, testOptions())
	if target.Committed() != source.Committed() {
		t.Errorf("opened at version %d, want %d", target.Committed(), source.Committed())
	}
	if _, err := target.Importer(); !errors.Is(err, ErrNotNew) {
		t.Errorf("import into a store: %v", err)
	}
	fill(t, target, 3)
	fill(t, source, 3)
	if err := target.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	v, view := source.View(), target.View()
	sameRecords(t, scan(t, view), scan(t, v))
	v.Release()
	view.Release()
}

func TestImportRefuses(t *testing.T) {
	db := newDB(t)
	importer, err := db.Importer()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		err  error
		want error
	}{
		"an empty key":    {importer.Put(nil, 1, nil), ErrInvalidKey},
		"a reserved key":  {importer.Put([]byte{reservedPrefix, 'v'}, 1, nil), ErrInvalidKey},
		"version 0":       {importer.Put([]byte("k"), 0, nil), ErrInvalidKey},
		"a huge value":    {importer.Put([]byte("k"), 1, make([]byte, db.MaxLogBytes()+1)), ErrTooBig},
		"nothing is fine": {importer.Flush(), nil},
	} {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v", name, test.err)
		}
	}
}

func TestAbandon(t *testing.T) {
	d := newStore(t)
	path := d.Path()
	db := openDB(t, d, testOptions())
	fill(t, db, 0)
	if err := d.WriteFile(KeystoreA, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := d.Abandon(); !errors.Is(err, ErrBusy) {
		t.Errorf("with the database open: %v", err)
	}
	if err := errors.Join(db.Close(), d.Abandon(), d.Close()); err != nil {
		t.Fatal(err)
	}
	if c, err := survey(path); err != nil || len(c.has) != 2 || !c.unfinished() {
		t.Errorf("left: %v, %v", c.has, err)
	}
	// It can be started over, and a store is not abandoned.
	d, err := CreateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.WriteFile(HeaderFile, []byte("{}")), d.FinishCreate()); err != nil {
		t.Fatal(err)
	}
	if names, err := d.Files(); err != nil || len(names) != 1 || names[0] != HeaderFile {
		t.Errorf("files: %v, %v", names, err)
	}
	if err := d.Abandon(); err == nil {
		t.Error("a finished store was abandoned")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Abandon(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
