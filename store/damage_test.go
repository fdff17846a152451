package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// settledStore makes a store that was closed cleanly, with several tables and
// value log files, and returns its path and the number of commits.
func settledStore(t *testing.T, commits int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := createPlain(path, crashOptions())
	if err != nil {
		t.Fatal(err)
	}
	for range commits {
		if _, err := commitNext(db); err != nil {
			t.Fatal(err)
		}
	}
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	return path
}

// crashedStore makes a store whose owner was killed after the given number of
// commits, by copying the files of an open one.
func crashedStore(t *testing.T, commits int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := createPlain(path, crashOptions())
	if err != nil {
		t.Fatal(err)
	}
	for range commits {
		if _, err := commitNext(db); err != nil {
			t.Fatal(err)
		}
	}
	crashed := path + ".crashed"
	copyStore(t, crashed, path)
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
	return crashed
}

func copyStore(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// files returns the database files with an extension, in order.
func files(t *testing.T, path, ext string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(path, nameDB, "*"+ext))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// edit changes a file.
func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tryOpen opens a store and checks its records.
func tryOpen(t *testing.T, path string) (committed uint64, err error) {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	db, err := d.OpenDB(crashOptions())
	if err != nil {
		return 0, err
	}
	// Some damage has Badger never close. What closes slowly must not be taken for
	// that, and write to the directory while it is being removed.
	db.patience = 5 * time.Second
	v := db.View()
	err = checkWindow(v)
	v.Release()
	return db.Committed(), errors.Join(err, db.Close())
}

func TestDamagedFilesAreNoticed(t *testing.T) {
	remove := func(t *testing.T, file string) {
		t.Helper()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	truncate := func(n int64) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			t.Helper()
			if err := os.Truncate(file, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill := func(from, to int, b byte) func(*testing.T, string) { // negative: from the end
		return func(t *testing.T, file string) {
			t.Helper()
			edit(t, file, func(data []byte) []byte {
				at := func(i int) int {
					if i < 0 {
						return len(data) + i
					}
					return i
				}
				for i := at(from); i < at(to-1)+1; i++ {
					data[i] = b
				}
				return data
			})
		}
	}
	for name, c := range map[string]struct {
		file   string
		damage func(*testing.T, string)
	}{
		"no manifest":                {fileManifest, remove},
		"empty manifest":             {fileManifest, truncate(0)},
		"manifest of zeros":          {fileManifest, fill(16, 28, 0)},
		"manifest with wrong lists":  {fileManifest, fill(20, 28, 0xA5)},
		"no table":                   {extTable, remove},
		"empty table":                {extTable, truncate(0)},
		"table of three bytes":       {extTable, truncate(3)},
		"table cut short":            {extTable, truncate(1000)},
		"table with no end":          {extTable, fill(-200, -1, 0)},
		"table with a huge checksum": {extTable, fill(-4, -1, 0xFF)},
		"table with a huge index":    {extTable, fill(-64, -4, 0x7F)},
		"table with another index": {extTable, func(t *testing.T, file string) {
			t.Helper()
			edit(t, file, func(data []byte) []byte {
				sum := len(data) - 4 - int(binary.BigEndian.Uint32(data[len(data)-4:])) // where the checksum starts
				size := int(binary.BigEndian.Uint32(data[sum-4:]))
				data[sum-4-size/2] ^= 1
				return data
			})
		}},
		"table of zeros":      {extTable, fill(0, 4000, 0)},
		"no value log":        {extValueLog, remove},
		"empty value log":     {extValueLog, truncate(0)},
		"value log cut short": {extValueLog, truncate(70_000)},
		"value log of zeros":  {extValueLog, fill(20, 60_000, 0)},
		"value log of ones":   {extValueLog, fill(20, 60_000, 0xFF)},
	} {
		t.Run(name, func(t *testing.T) {
			// Few enough commits for the first files to be in use.
			path := settledStore(t, 30)
			file := filepath.Join(path, nameDB, c.file)
			if c.file != fileManifest {
				file = files(t, path, c.file)[0]
			}
			c.damage(t, file)
			before, err := os.ReadDir(filepath.Join(path, nameDB))
			if err != nil {
				t.Fatal(err)
			}
			_, err = tryOpen(t, path)
			// Contents are for callers to verify, which checkWindow did.
			contents := strings.HasSuffix(name, "of zeros") || strings.HasSuffix(name, "of ones")
			if err == nil || !contents && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrIO) {
				t.Errorf("opening: %v", err)
			}
			// Nothing was deleted that might be of use in a rescue.
			for _, e := range before {
				if filepath.Ext(e.Name()) != extTable {
					continue
				}
				if _, err := os.Lstat(filepath.Join(path, nameDB, e.Name())); err != nil {
					t.Errorf("%s was removed", e.Name())
				}
			}
		})
	}
}

func TestDatabaseGone(t *testing.T) {
	path := settledStore(t, 3)
	if err := os.RemoveAll(filepath.Join(path, nameDB)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryOpen(t, path); !errors.Is(err, ErrDamaged) {
		t.Errorf("opening: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(path, nameDB)); err == nil {
		t.Error("an empty database was made")
	}
}

// TestLeftoversOfCrashes: what Badger leaves when it is killed between two steps
// and cannot open itself.
func TestLeftoversOfCrashes(t *testing.T) {
	path := crashedStore(t, 30)
	db := filepath.Join(path, nameDB)
	for _, name := range []string{"00099.mem", "000099.vlog", "MANIFEST-REWRITE", "REWRITE-KEYREGISTRY", "000099.sst"} {
		touch(t, filepath.Join(db, name))
	}
	if err := os.WriteFile(filepath.Join(db, fileDiscard), []byte{1, 2, 3}, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := tryOpen(t, path); err != nil || n != 30 {
		t.Errorf("%d, %v", n, err)
	}
}

// TestDamagedKeyRegistry: what has no meaning here keeps no store from opening.
func TestDamagedKeyRegistry(t *testing.T) {
	path := settledStore(t, 10)
	file := filepath.Join(path, nameDB, fileKeyRegistry)
	whole, err := os.ReadFile(file)
	if err != nil || len(whole) != keyRegistrySize {
		t.Fatalf("%d bytes, %v", len(whole), err)
	}
	flipped := bytes.Clone(whole)
	flipped[20] ^= 1
	for _, data := range [][]byte{{}, whole[:20], flipped, append(bytes.Clone(whole), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0)} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := tryOpen(t, path); err != nil || n != 10 {
			t.Errorf("with a registry of %d bytes: %d commits, %v", len(data), n, err)
		}
	}
}

// lastCommit returns the offset of the last transaction in a write-ahead log and
// the end of the log.
func lastCommit(t *testing.T, data []byte) (start, end int64) {
	t.Helper()
	var pos int64 = fileHeaderSize
	var ends []int64
	end, err := scanEntries(data, func(e logEntry) error {
		pos += e.size
		if e.meta&bitFinTxn != 0 {
			ends = append(ends, pos)
		}
		return nil
	})
	if err != nil || len(ends) < 3 {
		t.Fatalf("%d commits in the log, %v", len(ends), err)
	}
	return ends[len(ends)-2], end
}

func TestTornCommit(t *testing.T) {
	pristine := crashedStore(t, 30)
	for name, tear := range map[string]func(data []byte, start, end int64) []byte{
		"zeros": func(data []byte, start, end int64) []byte {
			clear(data[start+10 : end])
			return data
		},
		"its first half": func(data []byte, start, end int64) []byte {
			clear(data[start : (start+end)/2])
			return data
		},
		"a bit": func(data []byte, start, _ int64) []byte {
			data[start+30] ^= 1
			return data
		},
		"all of it": func(data []byte, start, end int64) []byte {
			clear(data[start:end])
			return data
		},
		"cut off": func(data []byte, start, _ int64) []byte { return data[:start+20] },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			copyStore(t, path, pristine)
			wals := files(t, path, extWAL)
			wals = slices.DeleteFunc(wals, func(f string) bool {
				info, err := os.Stat(f)
				return err != nil || info.Size() == 0
			})
			edit(t, wals[len(wals)-1], func(data []byte) []byte {
				start, end := lastCommit(t, data)
				return tear(data, start, end)
			})
			if n, err := tryOpen(t, path); err != nil || n != 29 {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// TestLostCommits: damage in a write-ahead log that a crash cannot have done.
func TestLostCommits(t *testing.T) {
	pristine := crashedStore(t, 30)
	for name, damage := range map[string]func(t *testing.T, wal string){
		"a bit": func(t *testing.T, wal string) {
			edit(t, wal, func(data []byte) []byte {
				start, _ := lastCommit(t, data)
				data[start-100] ^= 1
				return data
			})
		},
		"zeros": func(t *testing.T, wal string) {
			edit(t, wal, func(data []byte) []byte {
				start, _ := lastCommit(t, data)
				clear(data[start-5000 : start-200])
				return data
			})
		},
		"a commit cut out": func(t *testing.T, wal string) {
			edit(t, wal, func(data []byte) []byte {
				var from, to int64
				pos, n := int64(fileHeaderSize), 0
				if _, err := scanEntries(data, func(e logEntry) error {
					pos += e.size
					if e.meta&bitFinTxn != 0 {
						if n++; n == 1 {
							from = pos
						} else if n == 2 {
							to = pos
						}
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
				return append(data[:from], data[to:]...)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			copyStore(t, path, pristine)
			wals := slices.DeleteFunc(files(t, path, extWAL), func(f string) bool {
				info, err := os.Stat(f)
				return err != nil || info.Size() == 0
			})
			damage(t, wals[0])
			if n, err := tryOpen(t, path); !errors.Is(err, ErrDamaged) {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

// TestUnreadablePages: a mapped file that is cut off under the reader is what a
// failing disk looks like. The child survives it.
func TestUnreadablePages(t *testing.T) {
	t.Log(runChild(t, "unreadable", filepath.Join(t.TempDir(), "store")))
}

func childUnreadable(path string) error {
	d, db, err := createPlain(path, crashOptions())
	if err != nil {
		return err
	}
	db.patience = 500 * time.Millisecond
	for range 60 {
		if _, err := commitNext(db); err != nil {
			return err
		}
	}
	vlogs, err := filepath.Glob(filepath.Join(path, nameDB, "*"+extValueLog))
	if err != nil {
		return err
	}
	slices.Sort(vlogs)
	for _, f := range vlogs[:len(vlogs)-1] {
		if err := os.Truncate(f, 0); err != nil {
			return err
		}
	}
	v := db.View()
	faults := 0
	for i := v.Version() - window + 1; i <= v.Version(); i++ {
		err := v.Get(crashKey(i), func(value []byte) error {
			if !bytes.Equal(value, crashValue(i)) {
				return fmt.Errorf("record %d has a wrong value", i)
			}
			return nil
		})
		switch {
		case errors.Is(err, ErrIO):
			faults++
		case err != nil:
			return err
		}
	}
	if faults == 0 {
		return errors.New("no read failed")
	}
	if err := v.Iterate([]byte("r"), nil, func(_, value []byte) error {
		_ = bytes.Count(value, []byte{1})
		return nil
	}); !errors.Is(err, ErrIO) {
		return fmt.Errorf("iterating: %w", err)
	}
	v.Release()
	// What is not affected goes on.
	if _, err := commitNext(db); err != nil {
		return err
	}
	err = db.Close()
	fmt.Printf("%d reads failed, closing: %v\n", faults, err)
	// What could not be closed stays locked.
	if dirErr := d.Close(); (err != nil) != errors.Is(dirErr, ErrBusy) {
		return fmt.Errorf("closing the directory after %w: %w", err, dirErr)
	}
	return nil
}

// TestDamagedValueLogIsNotCollected: Badger's garbage collection takes damage for
// the end of a file, and would remove what lies behind.
func TestDamagedValueLogIsNotCollected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	d, db, err := createPlain(path, crashOptions())
	if err != nil {
		t.Fatal(err)
	}
	put := func(i int) {
		var b Batch
		b.Put(crashKey(uint64(i)), binary.BigEndian.AppendUint64(make([]byte, 50_000), uint64(i)))
		mustCommit(t, db, &b)
	}
	for i := range 120 {
		put(i)
	}
	for i := range 115 { // of the first file, all but every tenth
		if i%10 != 0 {
			var b Batch
			b.Delete(crashKey(uint64(i)))
			mustCommit(t, db, &b)
		}
	}
	first := files(t, path, extValueLog)[0]
	edit(t, first, func(data []byte) []byte {
		data[60_000] ^= 1 // in the second record, a dead one
		return data
	})
	// WriteFile kept the inode, so Badger sees the damage.
	if err := db.Reclaim(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("the damaged file is gone: %v", err)
	}
	if left := len(files(t, path, extValueLog)); left > 3 {
		t.Errorf("%d files are left, the others were not collected", left)
	}
	v := db.View()
	for i := 0; i < 120; i += 10 {
		if err := v.Get(crashKey(uint64(i)), func([]byte) error { return nil }); err != nil {
			t.Errorf("record %d: %v", i, err)
		}
	}
	v.Release()
	if err := closeBoth(d, db); err != nil {
		t.Fatal(err)
	}
}
