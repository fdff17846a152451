package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// Badger's logs, value log and write-ahead log alike, are a header of 20 bytes
// and then entries (memtable.go and structs.go in v4.9.6):
//
//	meta, user meta: 1 byte each
//	length of key, length of value, expiry: varints
//	key: the user's key and the inverted version, 8 bytes big-endian
//	value
//	CRC-32C of all of this: 4 bytes big-endian
//
// An entry with an empty key, in practice zeros, is the end.
const (
	fileHeaderSize = 20
	checksumSize   = 4

	bitDelete  byte = 1 << 0
	bitPointer byte = 1 << 1 // the value is in the value log
	bitTxn     byte = 1 << 6 // part of a transaction
	bitFinTxn  byte = 1 << 7 // its end
)

// logEntry is an entry of one of Badger's logs.
type logEntry struct {
	meta    byte
	key     []byte // without the version
	value   []byte
	version uint64
	size    int64 // of the whole entry
}

// castagnoli returns the polynomial of the checksums. The table behind it is
// made only once.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// entryHeader is what an entry begins with: lengths in bytes, and when it expires.
type entryHeader struct {
	size, key, value int
	expiry           uint64
}

// parseHeader returns the header of the entry at the start of data, if data has
// room for the entry.
func parseHeader(data []byte) (entryHeader, bool) {
	if len(data) < 2 {
		return entryHeader{}, false
	}
	pos := 2
	var fields [3]uint64
	for i := range fields {
		value, n := binary.Uvarint(data[pos:])
		if n <= 0 {
			return entryHeader{}, false
		}
		fields[i] = value
		pos += n
	}
	if fields[0] < versionSize || fields[0] > math.MaxUint16 || fields[1] > uint64(len(data)) {
		return entryHeader{}, false
	}
	h := entryHeader{size: pos, key: int(fields[0]), value: int(fields[1]), expiry: fields[2]}
	return h, h.size+h.key+h.value+checksumSize <= len(data)
}

// parseEntry returns the entry at the start of data and whether it has the right
// checksum. There is none, if damaged, if its size is zero.
func parseEntry(data []byte) (logEntry, bool) {
	h, ok := parseHeader(data)
	if !ok {
		return logEntry{}, false
	}
	end := h.size + h.key + h.value
	key := data[h.size : h.size+h.key]
	return logEntry{
		meta:    data[0],
		key:     key[:len(key)-versionSize],
		value:   data[h.size+h.key : end],
		version: math.MaxUint64 - binary.BigEndian.Uint64(key[len(key)-versionSize:]),
		size:    int64(end + checksumSize),
	}, crc32.Checksum(data[:end], castagnoli()) == binary.BigEndian.Uint32(data[end:])
}

// scanEntries calls fn with the entries of a log until it comes to something
// that is none, and returns that offset.
func scanEntries(data []byte, fn func(logEntry) error) (end int64, err error) {
	end = fileHeaderSize
	for end < int64(len(data)) {
		e, ok := parseEntry(data[end:])
		if !ok {
			break
		}
		if err := fn(e); err != nil {
			return end, err
		}
		end += e.size
	}
	return end, nil
}

// withMapped calls fn with the contents of a file, mapped for reading. Unreadable
// pages are ErrIO.
func withMapped(path string, fn func(data []byte) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if info.Size() == 0 {
		return fn(nil)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("store: mapping %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(data)) }()
	return guard(func() error { return fn(data) }, nil)
}

// scanWAL reads the write-ahead log at path, which continues after commit prev,
// and returns the last whole commit known then and where the log ends. journaled
// is the last commit in the journal: a transaction that holds several commits may
// be torn up to that one without anything being lost.
//
// Badger replays a log up to the first thing that is no valid entry and cuts off
// the rest. That is right if a crash tore the commit that was being written:
// commits are written and synced one after the other, so nothing of a later one
// can exist. If something newer does follow, or commits are missing in between,
// acknowledged ones would get lost silently, and that is ErrDamaged.
func scanWAL(path string, prev, journaled uint64) (last uint64, end int64, err error) {
	last = prev
	err = withMapped(path, func(data []byte) error {
		var open, before uint64 // version of the transaction being read, and of the one before it
		var err error
		end, err = scanEntries(data, func(e logEntry) error {
			switch {
			case e.meta&bitTxn != 0:
				if e.version != open {
					open, before = e.version, e.version-1
				}
				if bytes.Equal(e.key, joinKey()) && len(e.value) == 8 {
					before = binary.BigEndian.Uint64(e.value)
				}
			case e.meta&bitFinTxn != 0 && e.version == open:
				if before > last {
					return fmt.Errorf("%w: commit %d follows %d", ErrDamaged, open, last)
				}
				last = max(last, open)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return checkTail(data, min(end, int64(len(data))), max(last+1, journaled))
	})
	if err != nil {
		return last, end, fmt.Errorf("write-ahead log %s: %w", path, err)
	}
	return last, end, nil
}

const (
	// tailZeros is how many zeros end the search for entries after the end.
	tailZeros = 1 << 20
	// tailCommits is how far ahead the version of such an entry may be. File
	// contents that are not encrypted may look like a log themselves.
	tailCommits = 1 << 16
)

// checkTail looks past the end of a log for the end of a transaction that cannot
// be there if all that is wrong is that a transaction of version torn, at most,
// was torn.
func checkTail(data []byte, end int64, torn uint64) error {
	var zeros [4096]byte
	run := 0
	for pos := int(end); pos < len(data) && run < tailZeros; {
		page := data[pos:min(pos+len(zeros), len(data))]
		if bytes.Equal(page, zeros[:len(page)]) {
			pos += len(page)
			run += len(page)
			continue
		}
		run = 0
		for stop := pos + len(page); pos < stop; pos++ {
			// Rules out most positions: see what ends a transaction.
			if data[pos] != bitFinTxn || !bytes.HasPrefix(data[pos+1:], []byte{0, byte(len(badgerPrefix+"txn") + versionSize)}) {
				continue
			}
			e, ok := parseEntry(data[pos:])
			if ok && string(e.key) == badgerPrefix+"txn" && e.version > torn && e.version < torn+tailCommits {
				return fmt.Errorf("%w: unreadable at offset %d, but commit %d follows", ErrDamaged, end, e.version)
			}
		}
	}
	return nil
}
