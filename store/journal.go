package store

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// The journal makes small commits durable with one write and one sync of a file
// that does not change its size: see overlay for what becomes of them. FORMAT.md,
// section 10.5, has its bytes.
//
// It is two files of one size that take turns. Each is filled with zeros and
// synced before it is used, since writing to space that was only allocated makes
// a file system log that it is in use now, which halves the speed (3,000 and
// 6,400 writes with fdatasync a second on ext4).

const (
	journalMagic = "ssefsjn1"
	// journalSector is what entries are aligned to: no write touches a sector that
	// holds an entry which is durable already.
	journalSector = 512
	// journalHeader is the size of what a file begins with: magic, generation and
	// checksum.
	journalHeader         = 8 + generationSize + checksumSize
	generationSize        = 16
	commitHeaderSize      = 4 + 4 + 8 // length of the payload, number of changes, version
	journalPut       byte = 1
	journalDel       byte = 2
)

// Bounds of what the journal takes.
const (
	maxJournalFile = 4 << 20
	minJournalFile = 256 << 10
	// journalShare is how many of the two files a file system must hold.
	journalShare = 256
	// journalEntryLimit is the most that a commit may hold to go through the
	// journal. Larger ones would be written twice for a sync that is a small part
	// of what they cost.
	journalEntryLimit = 512 << 10
)

// journalNames are the names of the two files in the store directory.
func journalNames() []string { return []string{"journal.a", "journal.b"} }

// journalEntry is a commit as the journal holds it.
type journalEntry struct {
	version uint64
	changes []batchEntry
}

// medium is what a journal is written to.
type medium interface {
	io.WriterAt
	io.Closer
	// Datasync makes durable what was written.
	Datasync() error
}

// journalFile is one of the two files. Guarded by DB.journalMu.
type journalFile struct {
	f          medium
	size       int64
	end        int64                // where the next entry goes; 0: the file starts over
	generation [generationSize]byte // of all entries, so that older ones are not taken for it
	buf        []byte
}

// makeJournalFile makes a file of zeros, durably but for its name.
func makeJournalFile(path string, size int64) (_ *journalFile, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, filePerm)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(path))
		}
	}()
	zeros := make([]byte, 64<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return &journalFile{f: datasyncFile{f}, size: size}, nil
}

// restart has the next entry begin the file anew. What the file holds must be
// durable in Badger.
func (j *journalFile) restart() { j.end = 0 }

// room is how many bytes of payload the next entry may have.
func (j *journalFile) room() int64 {
	return j.size - max(j.end, journalSector) - commitHeaderSize - checksumSize
}

// append writes an entry behind the others and makes it durable.
func (j *journalFile) append(version uint64, changes []batchEntry) error {
	if j.end == 0 {
		if err := j.begin(); err != nil {
			return err
		}
	}
	j.buf = appendJournalEntry(j.buf[:0], j.generation, version, changes)
	if j.end+int64(len(j.buf)) > j.size {
		return fmt.Errorf("store: journal: %d bytes at %d do not fit", len(j.buf), j.end)
	}
	return j.write(j.buf)
}

// begin gives the file a new generation. That is durable before the first entry is
// written: with the generation before, what is left of that would seem to be
// damaged where the entry lies.
func (j *journalFile) begin() error {
	if _, err := rand.Read(j.generation[:]); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return j.write(appendJournalHeader(nil, j.generation))
}

// write puts what comes next into the file, durably.
func (j *journalFile) write(b []byte) error {
	if _, err := j.f.WriteAt(b, j.end); err != nil {
		return fmt.Errorf("store: journal: %w", err)
	}
	if err := j.f.Datasync(); err != nil {
		return fmt.Errorf("store: journal: %w", err)
	}
	j.end += int64(len(b))
	return nil
}

// datasyncFile is a medium.
type datasyncFile struct{ *os.File }

// Datasync is fdatasync(2).
func (f datasyncFile) Datasync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// payloadSize is how many bytes a change takes in an entry.
func (e batchEntry) payloadSize() int64 {
	n := int64(1 + 2 + len(e.key))
	if !e.del {
		n += int64(4 + len(e.value))
	}
	return n
}

func appendJournalHeader(buf []byte, generation [generationSize]byte) []byte {
	start := len(buf)
	buf = append(buf, journalMagic...)
	buf = append(buf, generation[:]...)
	buf = binary.BigEndian.AppendUint32(buf, crc32.Checksum(buf[start:], castagnoli()))
	return padSector(buf, start)
}

func appendJournalEntry(buf []byte, generation [generationSize]byte, version uint64, changes []batchEntry) []byte {
	start := len(buf)
	buf = binary.BigEndian.AppendUint32(buf, 0)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(changes)))
	buf = binary.BigEndian.AppendUint64(buf, version)
	for _, e := range changes {
		kind := journalPut
		if e.del {
			kind = journalDel
		}
		buf = append(buf, kind)
		buf = binary.BigEndian.AppendUint16(buf, uint16(len(e.key)))
		buf = append(buf, e.key...)
		if !e.del {
			buf = binary.BigEndian.AppendUint32(buf, uint32(len(e.value)))
			buf = append(buf, e.value...)
		}
	}
	binary.BigEndian.PutUint32(buf[start:], uint32(len(buf)-start-commitHeaderSize))
	buf = binary.BigEndian.AppendUint32(buf, entryChecksum(generation, buf[start:]))
	return padSector(buf, start)
}

// entryChecksum is the CRC-32C of the file's generation and the entry: what an
// earlier use of the file left has another.
func entryChecksum(generation [generationSize]byte, entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(generation[:], castagnoli()), castagnoli(), entry)
}

// padSector adds zeros up to the end of a sector, counted from start.
func padSector(buf []byte, start int) []byte {
	if rest := (len(buf) - start) % journalSector; rest != 0 {
		var zeros [journalSector]byte
		buf = append(buf, zeros[:journalSector-rest]...)
	}
	return buf
}

// parseJournal returns the entries of a journal file, in order. What follows the
// last whole one is what a crash left of the next, or of an earlier use, if no
// whole one of this use follows; else the file is damaged, and ErrDamaged comes
// with the entries.
func parseJournal(data []byte) ([]journalEntry, error) {
	if len(data) < journalSector || !bytes.HasPrefix(data, []byte(journalMagic)) ||
		crc32.Checksum(data[:journalHeader-checksumSize], castagnoli()) != binary.BigEndian.Uint32(data[journalHeader-checksumSize:]) {
		// Not used yet, or a crash came between the first entry and this sector. Of a
		// sector a crash leaves the old or the new.
		if first := data[:min(len(data), journalSector)]; !bytes.Equal(first, make([]byte, len(first))) {
			return nil, fmt.Errorf("%w: it does not begin as a journal does", ErrDamaged)
		}
		return nil, nil
	}
	var generation [generationSize]byte
	copy(generation[:], data[len(journalMagic):])
	var entries []journalEntry
	at := journalSector
	for at < len(data) {
		e, size, ok := parseJournalEntry(data[at:], generation)
		if !ok || len(entries) > 0 && e.version != entries[len(entries)-1].version+1 {
			break
		}
		entries = append(entries, e)
		at += size
	}
	for rest := at + journalSector; rest < len(data); rest += journalSector {
		if e, _, ok := parseJournalEntry(data[rest:], generation); ok {
			return entries, fmt.Errorf("%w: the journal is unreadable at offset %d, but commit %d follows", ErrDamaged, at, e.version)
		}
	}
	return entries, nil
}

// parseJournalEntry returns the entry at the start of data and the space it
// takes up.
func parseJournalEntry(data []byte, generation [generationSize]byte) (e journalEntry, size int, ok bool) {
	if len(data) < commitHeaderSize+checksumSize {
		return e, 0, false
	}
	length, count := int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:]))
	e.version = binary.BigEndian.Uint64(data[8:])
	end := commitHeaderSize + length
	if e.version == 0 || end+checksumSize > len(data) || count > length {
		return e, 0, false
	}
	if entryChecksum(generation, data[:end]) != binary.BigEndian.Uint32(data[end:]) {
		return e, 0, false
	}
	if e.changes, ok = parseChanges(data[commitHeaderSize:end], count); !ok {
		return e, 0, false
	}
	size = end + checksumSize
	if rest := size % journalSector; rest != 0 {
		size += journalSector - rest
	}
	return e, size, true
}

// parseChanges returns count changes, copied, if they are all that data holds.
func parseChanges(data []byte, count int) ([]batchEntry, bool) {
	changes := make([]batchEntry, 0, min(count, len(data)/4))
	take := func(n int) []byte {
		if n > len(data) {
			return nil
		}
		part := data[:n]
		data = data[n:]
		return part
	}
	for range count {
		head := take(3)
		if head == nil {
			return nil, false
		}
		c := batchEntry{del: head[0] == journalDel}
		if key := take(int(binary.BigEndian.Uint16(head[1:]))); checkKey(key) == nil {
			c.key = bytes.Clone(key)
		} else {
			return nil, false
		}
		switch head[0] {
		case journalDel:
		case journalPut:
			length := take(4)
			if length == nil {
				return nil, false
			}
			n := int(binary.BigEndian.Uint32(length))
			if n > len(data) {
				return nil, false
			}
			c.value = append(make([]byte, 0, n), take(n)...)
		default:
			return nil, false
		}
		changes = append(changes, c)
	}
	return changes, len(data) == 0
}

// readJournal returns the entries of both files of the store directory, by
// version, and what is wrong with a file by its name.
func readJournal(dir string) ([]journalEntry, map[string]error) {
	var all []journalEntry
	wrong := make(map[string]error)
	for _, name := range journalNames() {
		entries, err := readJournalFile(filepath.Join(dir, name))
		if err != nil {
			wrong[name] = err
		}
		all = append(all, entries...)
	}
	slices.SortStableFunc(all, func(a, b journalEntry) int { return cmp.Compare(a.version, b.version) })
	return all, wrong
}

// readJournalFile returns the entries of a file, of which there are none if it is
// missing.
func readJournalFile(path string) ([]journalEntry, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxJournalFile:
		return nil, fmt.Errorf("%w: %s is no journal", ErrDamaged, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrIO, err)
	}
	entries, err := parseJournal(data)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return entries, err
}

// lastVersion returns the version of the last of these entries, 0 for none.
func lastVersion(entries []journalEntry) uint64 {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].version
}

// after returns the entries that continue a database at the given version.
// Older ones are in it already.
func after(entries []journalEntry, version uint64) ([]journalEntry, error) {
	i := 0
	for i < len(entries) && entries[i].version <= version {
		i++
	}
	rest := entries[i:]
	for k, e := range rest {
		if e.version != version+1+uint64(k) {
			return nil, fmt.Errorf("%w: commit %d in the journal does not follow commit %d", ErrDamaged, e.version, version+uint64(k))
		}
	}
	return rest, nil
}
