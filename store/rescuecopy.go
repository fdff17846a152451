package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/table"
)

// rescueCopy makes a database directory that Badger can open for reading from
// one that may be damaged.
type rescueCopy struct {
	from, to string
	// link makes a file of the one appear in the other, where it is not written to.
	link    func(from, to string) error
	losses  []Loss
	walSize int64
	tables  map[uint64]int // level of each table in the copy, by number
}

// lose notes what could not be used of a file.
func (c *rescueCopy) lose(file, format string, a ...any) {
	c.losses = append(c.losses, Loss{File: filepath.Join(nameDB, file), What: fmt.Sprintf(format, a...)})
}

func (c *rescueCopy) make() error {
	entries, err := os.ReadDir(c.from)
	if err != nil {
		return fmt.Errorf("%w: the database cannot be listed: %w", ErrDamaged, err)
	}
	if err := os.Mkdir(c.to, dirPerm); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	c.tables = make(map[uint64]int)
	var tables, wals []string
	for _, e := range entries {
		switch filepath.Ext(e.Name()) {
		case extTable:
			tables = append(tables, e.Name())
		case extWAL:
			wals = append(wals, e.Name())
		case extValueLog:
			if err := c.linkValueLog(e.Name()); err != nil {
				return err
			}
		}
	}
	if err := c.takeTables(tables); err != nil {
		return err
	}
	for _, name := range wals {
		if err := c.rebuildWAL(name); err != nil {
			return err
		}
	}
	return writeNew(filepath.Join(c.to, fileManifest), encodeManifest(c.tables))
}

// symlink is a link that leads out of the copy.
func symlink(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	return os.Symlink(from, to)
}

// take links a file.
func (c *rescueCopy) take(name string) error {
	if err := c.link(filepath.Join(c.from, name), filepath.Join(c.to, name)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// linkValueLog links a value log file. Opened for reading none is written to, and
// a value that is not in it any more is an error when it is read.
func (c *rescueCopy) linkValueLog(name string) error {
	info, err := os.Stat(filepath.Join(c.from, name))
	switch {
	case err != nil:
		c.lose(name, "%v", err)
		return nil
	case !info.Mode().IsRegular():
		c.lose(name, "it is no file")
		return nil
	case info.Size() <= valueLogHeader:
		return nil // it holds nothing
	}
	header := make([]byte, logKeySize)
	f, err := os.Open(filepath.Join(c.from, name))
	if err == nil {
		_, err = f.ReadAt(header, 0)
		err = errors.Join(err, f.Close())
	}
	switch {
	case err != nil:
		c.lose(name, "%v", err)
		return nil
	case !bytes.Equal(header, make([]byte, logKeySize)):
		return c.copyMended(name)
	}
	return c.take(name)
}

// copyMended copies a value log file whose header is damaged, with one that is not.
func (c *rescueCopy) copyMended(name string) error {
	b, err := os.ReadFile(filepath.Join(c.from, name))
	if err != nil {
		c.lose(name, "%v", err)
		return nil
	}
	clear(b[:logKeySize])
	return writeNew(filepath.Join(c.to, name), b)
}

// takeTables decides which tables belong to the database, and takes them: those
// that the manifest lists, at their levels. Where it does not list what it must,
// all there are, at level 0, where the order of tables does not matter.
func (c *rescueCopy) takeTables(names []string) error {
	present := make(map[string]bool, len(names))
	versions := make(map[string]uint64)
	last := uint64(0)
	for _, name := range names {
		present[name] = true
		if version, err := inspectTable(filepath.Join(c.from, name)); err == nil {
			versions[name] = version
		}
	}
	manifest, err := readManifest(filepath.Join(c.from, fileManifest))
	if err != nil {
		c.lose(fileManifest, "%v; all tables are used, and removed records may be back", err)
	}
	for id := range manifest.Tables {
		name := table.IDToFilename(id)
		last = max(last, versions[name])
		if !present[name] {
			c.lose(name, "it is missing, with all records in it")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(present)) {
		id, ok := table.ParseFileID(name)
		if !ok {
			continue
		}
		listed, isListed := manifest.Tables[id]
		if !isListed && err == nil {
			if versions[name] <= last {
				continue // it was replaced, and a crash kept it from being removed
			}
			c.lose(fileManifest, "it does not list %s, which is used all the same; removed records may be back", name)
		}
		if err := c.takeTable(name, id, int(listed.Level)); err != nil {
			return err
		}
	}
	return nil
}

// takeTable links a table, or makes one of what can be read of it.
func (c *rescueCopy) takeTable(name string, id uint64, level int) error {
	path := filepath.Join(c.from, name)
	cause := verifyTable(path)
	if cause == nil {
		c.tables[id] = level
		return c.take(name)
	}
	rebuilt, found, err := rebuildTable(path)
	if err != nil {
		c.lose(name, "%v; nothing in it can be used: %v", cause, err)
		return nil
	}
	c.lose(name, "%v; %d records were found in it, some of which may not be whole", cause, found)
	if found == 0 {
		return nil
	}
	c.tables[id] = 0
	return writeNew(filepath.Join(c.to, name), rebuilt)
}

// rebuildWAL copies the entries of a write-ahead log, without what is not
// readable between them: Badger would leave out all that follows, and does not
// open a log for reading that has anything behind its last entry.
func (c *rescueCopy) rebuildWAL(name string) error {
	path := filepath.Join(c.from, name)
	var out []byte
	gaps, alien := 0, false
	err := withMapped(path, func(data []byte) error {
		if len(data) < fileHeaderSize {
			return nil
		}
		_, begins := parseEntry(data[fileHeaderSize:])
		alien = !begins && !bytes.Equal(data[:logKeySize], make([]byte, logKeySize))
		out = append(out, data[:fileHeaderSize]...)
		clear(out[:8]) // the number of a key; there are none
		gaps = eachEntry(data[fileHeaderSize:], func(e []byte) { out = appendLoose(out, e) })
		return nil
	})
	if err != nil && len(out) <= fileHeaderSize {
		c.lose(name, "%v", err)
		return nil
	}
	if err != nil {
		c.lose(name, "%v; what lies before that is used", err)
	}
	if gaps == 0 && alien {
		gaps = 1
	}
	if gaps > 0 {
		c.lose(name, "parts of it are not readable, with the newest changes in them")
	}
	if len(out) <= fileHeaderSize {
		return nil
	}
	c.walSize = max(c.walSize, int64(len(out)))
	return writeNew(filepath.Join(c.to, name), out)
}

// eachEntry calls fn with the entries of a log, wherever they are, and returns
// how often something lay between two of them.
func eachEntry(data []byte, fn func([]byte)) (gaps int) {
	inGap := false
	for pos := 0; pos < len(data); {
		var e logEntry
		ok := mayBeEntry(data[pos:])
		if ok {
			e, ok = parseEntry(data[pos:])
		}
		if ok {
			if inGap {
				gaps++
			}
			inGap = false
			fn(data[pos : pos+int(e.size)])
			pos += int(e.size)
			continue
		}
		inGap = true
		pos++
		for pos+8 <= len(data) && binary.LittleEndian.Uint64(data[pos:]) == 0 {
			pos += 8
		}
	}
	return gaps
}

// mayBeEntry tells whether what is at the start of data looks like an entry of a
// write-ahead log of ours. Working out a checksum at each place would take
// for ever.
func mayBeEntry(data []byte) bool {
	const known = bitDelete | bitPointer | bitTxn | bitFinTxn
	if len(data) < 2 || data[0]&^known != 0 || data[1] != 0 {
		return false
	}
	h, ok := parseHeader(data)
	return ok && h.expiry == 0 && h.key > versionSize && h.key <= MaxKeySize+versionSize && h.value <= maxInlineValue
}

// appendLoose appends an entry of a log as one that belongs to no transaction,
// whose other entries may be gone. The ends of transactions are left out.
func appendLoose(dst, entry []byte) []byte {
	if entry[0]&bitFinTxn != 0 {
		return dst
	}
	from := len(dst)
	dst = append(dst, entry[:len(entry)-checksumSize]...)
	dst[from] &^= bitTxn
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli()))
}

// encodeManifest makes a manifest that lists tables (manifest.go and
// badgerpb4.proto in Badger v4.9.6): a header, then length, checksum and a
// protobuf message ManifestChangeSet of ManifestChange {1: id, 3: level}.
func encodeManifest(tables map[uint64]int) []byte {
	var changes []byte
	for _, id := range slices.SortedFunc(maps.Keys(tables), cmp.Compare[uint64]) {
		change := binary.AppendUvarint([]byte{1 << 3}, id)
		change = binary.AppendUvarint(append(change, 3<<3), uint64(tables[id]))
		changes = binary.AppendUvarint(append(changes, 1<<3|2), uint64(len(change)))
		changes = append(changes, change...)
	}
	out := append([]byte("Bdgr"), 0, 0, 0, 8)
	out = binary.BigEndian.AppendUint32(out, uint32(len(changes)))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(changes, castagnoli()))
	return append(out, changes...)
}

// verifyTable checks that a table can be opened and that all its blocks have the
// right checksums.
func verifyTable(path string) error {
	if _, err := inspectTable(path); err != nil {
		return err
	}
	return withMapped(path, func(data []byte) error {
		blocks, err := indexedBlocks(data)
		if err != nil {
			return err
		}
		for _, b := range blocks {
			if !b.intact() {
				return errBlock
			}
		}
		return nil
	})
}

// errBlock is returned for a table of which a part is damaged.
var errBlock = errors.New("blocks of it have wrong checksums")
