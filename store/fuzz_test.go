package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fuzzFile has fn read what is made up as a file of the store.
func fuzzFile(f *testing.F, fn func(t *testing.T, path string, size int64)) {
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		fn(t, path, int64(len(b)))
	})
}

// seedFiles adds the database files of a store with an extension or name.
func seedFiles(f *testing.F, path, pattern string) {
	f.Helper()
	found, err := filepath.Glob(filepath.Join(path, nameDB, pattern))
	if err != nil || len(found) == 0 {
		f.Fatalf("no files like %s: %v", pattern, err)
	}
	for _, p := range found {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		b = bytes.TrimRight(b, "\x00")
		f.Add(b[:min(len(b), 64<<10)])
	}
}

// fuzzStore makes a small store: closed, or as if its owner had been killed.
func fuzzStore(f *testing.F) (closed, killed string) {
	f.Helper()
	closed = filepath.Join(f.TempDir(), "store")
	killed = closed + ".killed"
	d, db, err := create(closed, crashOptions())
	if err != nil {
		f.Fatal(err)
	}
	for range 5 {
		if _, err := commitNext(db); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.CopyFS(killed, os.DirFS(closed)); err != nil {
		f.Fatal(err)
	}
	if err := closeBoth(d, db); err != nil {
		f.Fatal(err)
	}
	return closed, killed
}

// FuzzScanWAL: whatever is in a write-ahead log, it is scanned to an end within
// it, or is damaged.
func FuzzScanWAL(f *testing.F) {
	_, killed := fuzzStore(f)
	seedFiles(f, killed, "*"+extWAL)
	f.Add([]byte{})
	fuzzFile(f, func(t *testing.T, path string, size int64) {
		last, end, err := scanWAL(path, 3, 0)
		switch {
		case err != nil && !errors.Is(err, ErrDamaged):
			t.Error(err)
		case err == nil && (last < 3 || end > max(size, fileHeaderSize)):
			t.Errorf("a log of %d bytes ends at %d, with commit %d", size, end, last)
		}
	})
}

// FuzzReadJournal: likewise for a journal; what it says that was committed
// follows one another.
func FuzzReadJournal(f *testing.F) {
	var generation [generationSize]byte
	b := appendJournalHeader(nil, generation)
	for version := range uint64(3) {
		b = appendJournalEntry(b, generation, version+4, []batchEntry{{key: []byte("Ikey"), value: []byte("value")}, {key: []byte("Xkey"), del: true}})
	}
	f.Add(b)
	f.Add(append(b, make([]byte, 4*journalSector)...))
	fuzzFile(f, func(t *testing.T, path string, _ int64) {
		entries, err := readJournalFile(path)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		for i := range entries {
			if i > 0 && entries[i].version != entries[i-1].version+1 {
				t.Errorf("commit %d follows %d", entries[i].version, entries[i-1].version)
			}
		}
	})
}

// FuzzInspectTable: a table is opened or refused, without a crash.
func FuzzInspectTable(f *testing.F) {
	closed, _ := fuzzStore(f)
	seedFiles(f, closed, "*"+extTable)
	fuzzFile(f, func(_ *testing.T, path string, _ int64) {
		_, _ = inspectTable(path) // any error will do
	})
}

// FuzzReadManifest: likewise for the manifest.
func FuzzReadManifest(f *testing.F) {
	closed, _ := fuzzStore(f)
	seedFiles(f, closed, fileManifest)
	fuzzFile(f, func(t *testing.T, path string, _ int64) {
		if _, err := readManifest(path); err != nil && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
}

// FuzzDiscardTable: a table of dead bytes names as many files as it has entries
// at most.
func FuzzDiscardTable(f *testing.F) {
	table := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 7), 1<<20)
	f.Add(table)
	f.Add(append(table, make([]byte, 4096)...))
	fuzzFile(f, func(t *testing.T, path string, size int64) {
		table, err := openDiscardTable(path)
		if err != nil {
			t.Fatal(err)
		}
		dead, err := table.read()
		if err = errors.Join(err, table.close()); err != nil || int64(len(dead)) > size/discardSlotSize {
			t.Errorf("%d files in %d bytes, %v", len(dead), size, err)
		}
	})
}

// FuzzOwnerInfo: what a lock file says is understood or an error.
func FuzzOwnerInfo(f *testing.F) {
	f.Add([]byte(`{"pid":1,"socket":"/run/x","mountpoint":"/mnt","closing":true}` + "\n"))
	f.Add([]byte("{}"))
	fuzzFile(f, func(t *testing.T, path string, _ int64) {
		file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = file.Close() }() // only read
		_, _ = readOwnerInfo(file)          // any error will do
	})
}
