package raw

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// entry is a transaction in a journal (FORMAT.md 10.5).
type entry struct {
	version uint64
	changes Changes
}

const (
	journalSector     = 512
	journalHeader     = 28 // with its checksum
	journalGeneration = 8  // where the generation begins, which ends where the checksum does
	entryHeader       = 16
)

// fold brings what is in the journals of a store into its database, and removes them.
func fold(store string, db *badger.DB) error {
	var entries []entry
	names := []string{filepath.Join(store, "journal.a"), filepath.Join(store, "journal.b")}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		entries = append(entries, parseJournal(b)...)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.version, b.version) })
	w := db.NewManagedWriteBatch()
	defer w.Cancel()
	last := db.MaxVersion()
	for _, e := range entries {
		if e.version <= last {
			continue
		}
		if err := apply(w, e.changes, e.version); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// parseJournal returns the transactions at the start of a journal.
func parseJournal(b []byte) []entry {
	if len(b) < journalSector || !bytes.HasPrefix(b, []byte("ssefsjn1")) {
		return nil
	}
	generation := b[journalGeneration : journalHeader-4]
	table := crc32.MakeTable(crc32.Castagnoli)
	var entries []entry
	for b = b[journalSector:]; len(b) > entryHeader+4; {
		length := int(binary.BigEndian.Uint32(b))
		end := entryHeader + length
		if length == 0 || end+4 > len(b) {
			break
		}
		sum := crc32.Update(crc32.Checksum(generation, table), table, b[:end])
		e := entry{version: binary.BigEndian.Uint64(b[8:])}
		if sum != binary.BigEndian.Uint32(b[end:]) || len(entries) > 0 && e.version != entries[len(entries)-1].version+1 {
			break
		}
		e.changes = parseChanges(b[entryHeader:end])
		entries = append(entries, e)
		b = b[min(len(b), (end+4+journalSector-1)/journalSector*journalSector):]
	}
	return entries
}

// parseChanges returns the changes of a transaction, whose checksum was right.
func parseChanges(b []byte) Changes {
	c := Changes{}
	take := func(n int) string {
		part := string(b[:n])
		b = b[n:]
		return part
	}
	for len(b) > 0 {
		put := take(1)[0] == 1
		key := take(int(binary.BigEndian.Uint16([]byte(take(2)))))
		if put {
			c.Put(key, take(int(binary.BigEndian.Uint32([]byte(take(4))))))
		} else {
			c.Remove(key)
		}
	}
	return c
}

// apply adds changes to a batch, under one timestamp.
func apply(w *badger.WriteBatch, changes Changes, version uint64) error {
	for key, value := range changes {
		var err error
		if value == nil {
			err = w.DeleteAt([]byte(key), version)
		} else {
			err = w.SetEntryAt(badger.NewEntry([]byte(key), []byte(*value)), version)
		}
		if err != nil {
			return fmt.Errorf("record %x: %w", key, err)
		}
	}
	return nil
}
