package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// discardSlotSize is the size of an entry of Badger's DISCARD file: the number
// of a value log file and how many of its bytes compaction found dead, both
// big-endian, until an entry with number zero.
const discardSlotSize = 16

// discardTable is Badger's table of how much of each value log file is dead. It
// is a mapped file, which reading and writing the file sees and changes at once.
//
// Badger v4.9.6 collects the file with the most dead bytes and gives up if that
// happens to be the one being written, however much there is to gain elsewhere
// (issue 2334). Nor does it let anyone see the figures. So they are read here,
// and the file to collect is chosen by raising its figure above all others.
// Badger checks for itself what in the file is still alive, so that a wrong
// figure costs time and never data.
type discardTable struct{ f *os.File }

func openDiscardTable(path string) (discardTable, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return discardTable{}, fmt.Errorf("store: %w", err)
	}
	return discardTable{f}, nil
}

// read returns the dead bytes of each value log file that has any.
func (t discardTable) read() (map[uint32]int64, error) {
	dead := make(map[uint32]int64)
	_, err := t.scan(func(fid uint32, value int64, _ int64) bool {
		if value > 0 {
			dead[fid] = value
		}
		return true
	})
	return dead, err
}

// set changes the figure of a file. It reports false if the file has no entry:
// one cannot be added from outside.
func (t discardTable) set(fid uint32, value int64) (bool, error) {
	var at int64 = -1
	if _, err := t.scan(func(f uint32, _ int64, offset int64) bool {
		if f == fid {
			at = offset
		}
		return f != fid
	}); err != nil || at < 0 {
		return false, err
	}
	var buf [8]byte
	binary.BigEndian.PutUint64(buf[:], uint64(value))
	if _, err := t.f.WriteAt(buf[:], at+8); err != nil {
		return false, fmt.Errorf("store: discard statistics: %w", err)
	}
	// Badger sorts the table when a file enters it. If that happened just now
	// the wrong file may have got the figure.
	var slot [discardSlotSize]byte
	if _, err := t.f.ReadAt(slot[:], at); err != nil {
		return false, fmt.Errorf("store: discard statistics: %w", err)
	}
	return binary.BigEndian.Uint64(slot[:]) == uint64(fid), nil
}

// enter gives those of the files an entry that have none, as Badger makes one
// only when it finds something dead: what a power failure took away cannot be
// put back otherwise. It must be called before Badger opens the table, which
// then sorts it.
func (t discardTable) enter(fids []uint32) error {
	known := make(map[uint32]bool)
	entries, err := t.scan(func(fid uint32, _, _ int64) bool {
		known[fid] = true
		return true
	})
	if err != nil {
		return err
	}
	info, err := t.f.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	slots := int(info.Size() / discardSlotSize)
	for _, fid := range fids {
		if known[fid] || entries+1 >= slots { // one stays empty: the end
			continue
		}
		var slot [discardSlotSize]byte
		binary.BigEndian.PutUint64(slot[:], uint64(fid))
		if _, err := t.f.WriteAt(slot[:], int64(entries)*discardSlotSize); err != nil {
			return fmt.Errorf("store: discard statistics: %w", err)
		}
		entries++
	}
	return nil
}

// scan calls fn with each entry and its offset until fn returns false.
func (t discardTable) scan(fn func(fid uint32, value, offset int64) bool) (entries int, err error) {
	buf := make([]byte, 4096)
	for offset := int64(0); ; {
		n, err := t.f.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return entries, fmt.Errorf("store: discard statistics: %w", err)
		}
		for i := 0; i+discardSlotSize <= n; i += discardSlotSize {
			fid := binary.BigEndian.Uint64(buf[i:])
			if fid == 0 {
				return entries, nil
			}
			entries++
			if !fn(uint32(fid), int64(binary.BigEndian.Uint64(buf[i+8:])), offset+int64(i)) {
				return entries, nil
			}
		}
		if n < len(buf) {
			return entries, nil
		}
		offset += int64(n)
	}
}

// sync makes the figures durable. Badger does so only when it closes.
func (t discardTable) sync() error { return t.f.Sync() }

func (t discardTable) close() error { return t.f.Close() }
