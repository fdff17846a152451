package store

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/ristretto/v2/z"
)

// Badger v4.9.6 trusts its directory. It creates an empty database where the
// manifest is missing and deletes all tables; it leaves out tables whose index
// has a wrong checksum; it opens tables on goroutines whose panics nobody can
// recover, or ends the process; and it cannot open again what it leaves behind
// when it is killed between creating a log and giving it a size, or between
// emptying one and removing it. So the directory is looked over first.

const (
	fileManifest = "MANIFEST"
	fileDiscard  = "DISCARD"
	// fileKeyRegistry is for Badger's own encryption, which is not used.
	fileKeyRegistry = "KEYREGISTRY"
	keyRegistrySize = 28
)

// inspection is what an inspect found out about a database directory.
type inspection struct {
	walSize  int64  // size of the largest write-ahead log
	walBytes int64  // what is in the write-ahead logs, which is flushed at opening
	last     uint64 // the last commit
	mended   []string
}

// inspect looks over the database directory at path before Badger gets to see
// it. What a crash may leave is put right, anything else is ErrDamaged. With
// mayBeNew a directory that holds no database yet is fine.
// journaled is the last commit in the journal, see scanWAL.
func inspect(path string, mayBeNew bool, journaled uint64) (inspection, error) {
	var found inspection
	entries, err := os.ReadDir(path)
	if err != nil {
		return found, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	tables := make(map[string]bool)
	var wals []string
	manifest := false
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return found, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if !info.Mode().IsRegular() {
			return found, fmt.Errorf("%w: %s is no file", ErrDamaged, filepath.Join(path, e.Name()))
		}
		file := filepath.Join(path, e.Name())
		switch ext := filepath.Ext(e.Name()); {
		case e.Name() == fileManifest:
			manifest = true
		case e.Name() == fileDiscard:
			err = checkDiscardFile(file, info)
		case e.Name() == fileKeyRegistry:
			err = checkKeyRegistry(file, info)
		case ext == extTable:
			tables[e.Name()] = true
		case (ext == extValueLog || ext == extWAL) && info.Size() == 0:
			// Created and not yet used, or emptied and not yet removed.
			err = os.Remove(file)
		case ext == extWAL:
			found.walSize = max(found.walSize, info.Size())
			wals = append(wals, file)
		}
		if ext := filepath.Ext(e.Name()); err == nil && (ext == extValueLog || ext == extWAL) {
			var mended bool
			if mended, err = mendLogHeader(file, info.Size()); mended {
				found.mended = append(found.mended, e.Name())
			}
		}
		if err != nil {
			return found, fmt.Errorf("store: %w", err)
		}
	}
	if !manifest {
		if mayBeNew && len(tables) == 0 {
			return found, nil
		}
		return found, fmt.Errorf("%w: %s is missing", ErrDamaged, filepath.Join(path, fileManifest))
	}
	last, err := inspectTables(path, tables)
	if err != nil {
		return found, err
	}
	// In order of their numbers, which have at least five digits.
	slices.SortFunc(wals, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, wal := range wals {
		var end int64
		if last, end, err = scanWAL(wal, last, journaled); err != nil {
			return found, err
		}
		found.walBytes += end
	}
	found.last = last
	return found, inspectOrphans(path, tables, last)
}

// inspectOrphans looks at the tables that the manifest does not list, which
// Badger will remove. A crash leaves such: before a new table is listed what it
// holds is still elsewhere, and when it is unlisted it is so already. So if one
// holds something newer than the last commit then the manifest lost entries.
// Zeros, for instance, are valid entries that say nothing.
func inspectOrphans(path string, orphans map[string]bool, last uint64) error {
	for name := range orphans {
		// Half-written ones cannot be opened.
		if version, err := inspectTable(filepath.Join(path, name)); err == nil && version > last {
			return fmt.Errorf("%w: table %s of version %d is not in the manifest", ErrDamaged, name, version)
		}
	}
	return nil
}

// inspectTables checks that all tables of the manifest are there and can be
// opened, takes them out of present, and returns the highest version in them.
func inspectTables(path string, present map[string]bool) (last uint64, err error) {
	manifest, err := readManifest(filepath.Join(path, fileManifest))
	if err != nil {
		return 0, err
	}
	for id := range manifest.Tables {
		name := table.IDToFilename(id)
		if !present[name] {
			return 0, fmt.Errorf("%w: table %s is missing", ErrDamaged, name)
		}
		version, err := inspectTable(filepath.Join(path, name))
		switch {
		case errors.Is(err, ErrIO), errors.Is(err, ErrDamaged):
			return 0, fmt.Errorf("table %s: %w", name, err)
		case err != nil:
			return 0, fmt.Errorf("%w: table %s: %w", ErrDamaged, name, err)
		}
		delete(present, name)
		last = max(last, version)
	}
	return last, nil
}

func readManifest(path string) (m badger.Manifest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = guard(func() error {
		var err error
		m, _, err = badger.ReplayManifestFile(f, 0, badger.DefaultOptions(""))
		return err
	}, nil)
	if err != nil {
		return m, fmt.Errorf("%w: manifest: %w", ErrDamaged, err)
	}
	return m, nil
}

// inspectTable opens a table as Badger will, after checking what would make it
// end the process: lengths in the footer that point out of the file. It returns
// the highest version in the table.
func inspectTable(path string) (version uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Not mapped by Badger's own means, which sync when they close: that is a
	// device flush for each of possibly hundreds of tables.
	err = withMapped(path, func(data []byte) error {
		if err := checkFooter(data); err != nil {
			return err
		}
		t, err := table.OpenTable(&z.MmapFile{Data: data, Fd: f}, table.Options{})
		if err != nil {
			return err
		}
		version = t.MaxVersion()
		return nil
	})
	return version, err
}

// checkFooter checks the end of a table: index, its length, a checksum of the
// index, and that checksum's length.
func checkFooter(data []byte) error {
	pos := len(data)
	for _, part := range []string{"checksum", "index"} {
		if pos < 4 {
			return fmt.Errorf("no room for the length of the %s", part)
		}
		length := int(binary.BigEndian.Uint32(data[pos-4:]))
		pos -= 4
		if length > pos || length == 0 {
			return fmt.Errorf("%d bytes of %s do not fit", length, part)
		}
		pos -= length
	}
	return nil
}

// checkDiscardFile removes a table of discard statistics that Badger would trip
// over. It holds hints only.
func checkDiscardFile(path string, info fs.FileInfo) error {
	if info.Size() >= 4096 && info.Size()%discardSlotSize == 0 {
		return nil
	}
	return os.Remove(path)
}

// checkKeyRegistry removes a registry of encryption keys that is not one without
// keys, which Badger might trip over, or take much memory for.
func checkKeyRegistry(path string, info fs.FileInfo) error {
	if info.Size() != keyRegistrySize {
		return os.Remove(path)
	}
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: filepath.Dir(path), ReadOnly: true})
	if err != nil {
		return os.Remove(path)
	}
	return registry.Close()
}

// logKeySize is the size of the number of a key that a log begins with. There are
// no keys, so it is 0; Badger does not open a log with another.
const logKeySize = 8

// mendLogHeader puts right the beginning of a log, of which it is known what it has
// to be, and reports whether it was anything else. A write-ahead log must go on as
// one, though: Badger would take it for an empty one.
func mendLogHeader(path string, size int64) (mended bool, err error) {
	if size < fileHeaderSize {
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var header, want [logKeySize]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrIO, path, err)
	}
	if header == want {
		return false, nil
	}
	if filepath.Ext(path) == extWAL {
		begins := false
		if err := withMapped(path, func(data []byte) error {
			_, begins = parseEntry(data[fileHeaderSize:])
			return nil
		}); err != nil {
			return false, err
		}
		if !begins {
			return false, fmt.Errorf("%w: write-ahead log %s is something else", ErrDamaged, path)
		}
	}
	_, err = f.WriteAt(want[:], 0)
	return true, errors.Join(err, f.Sync())
}

// logNumber returns the number in the name of a log, and whether it is one.
func logNumber(name, ext string) (uint32, bool) {
	digits, ok := strings.CutSuffix(name, ext)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil
}
