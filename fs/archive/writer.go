package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"ssefs/crypto"
)

// fullFrame is the size in bytes from which a frame is written.
const fullFrame = 1 << 20

// Writer writes a backup: its files, then the listing, then the records, then the
// end. List and Record only gather; Flush writes, and has to be called when Full
// says so.
type Writer struct {
	w      io.Writer
	digest hash.Hash
	list   hash.Hash
	s      Statement
	buf    []byte // the frame being made, empty or with its head
	last   []byte // key of the last entry or record
	stage  kind   // of the last frame
	name   string // of the last file
	files  int    // bytes of files so far
}

// NewWriter begins a backup.
func NewWriter(w io.Writer, b Begin) (*Writer, error) {
	a := startWriter(w, b)
	if _, err := decodeBegin(b.append(nil)); err != nil {
		return nil, err
	}
	preface := binary.BigEndian.AppendUint16([]byte(magic), formatVersion)
	a.digest.Write(preface)
	if _, err := w.Write(preface); err != nil {
		return nil, err
	}
	a.buf = b.append(startFrame(nil, kindBegin))
	return a, a.Flush()
}

func startWriter(w io.Writer, b Begin) *Writer {
	return &Writer{w: w, digest: sha256.New(), list: sha256.New(), s: Statement{Begin: b}, stage: kindBegin}
}

// Full tells that Flush is due.
func (a *Writer) Full() bool { return len(a.buf) >= fullFrame }

// Flush writes what was gathered.
func (a *Writer) Flush() error {
	if len(a.buf) == 0 {
		return nil
	}
	if len(a.buf) > frameHead+maxBody {
		return fmt.Errorf("%w: %d bytes", ErrTooBig, len(a.buf))
	}
	a.buf = finishFrame(a.buf)
	a.digest.Write(a.buf)
	if kind(a.buf[0]) == kindListing {
		a.list.Write(a.buf)
	}
	_, err := a.w.Write(a.buf)
	a.buf = a.buf[:0]
	return err
}

// enter begins a part of the backup, or goes on with it.
func (a *Writer) enter(k kind) error {
	switch {
	case k < a.stage:
		return fmt.Errorf("archive: frame of kind %d after one of kind %d", k, a.stage)
	case k > a.stage:
		if err := a.Flush(); err != nil {
			return err
		}
		a.stage, a.last = k, a.last[:0]
	}
	return nil
}

// File adds a file. They come in the order of their names.
func (a *Writer) File(name string, contents []byte) error {
	size := 1 + len(name) + len(contents)
	if a.files += size; size > maxBody || a.files > maxFiles {
		return fmt.Errorf("%w: file %q of %d bytes", ErrTooBig, name, len(contents))
	}
	if name == "" || len(name) > maxName || name <= a.name {
		return fmt.Errorf("archive: file %q after %q", name, a.name)
	}
	if err := a.enter(kindFile); err != nil {
		return err
	}
	a.name = name
	a.buf = append(startFrame(a.buf, kindFile), byte(len(name)))
	a.buf = append(append(a.buf, name...), contents...)
	return a.Flush()
}

// ordered checks that a key comes after the one before.
func (a *Writer) ordered(key []byte) error {
	if len(key) == 0 || len(key) > maxKey || bytes.Compare(key, a.last) <= 0 {
		return fmt.Errorf("archive: key %x after %x", key, a.last)
	}
	return nil
}

// List adds a record of the store to the listing. They come in the order of their keys.
func (a *Writer) List(e Entry) error {
	if err := a.enter(kindListing); err != nil {
		return err
	}
	if err := a.ordered(e.Key); err != nil {
		return err
	}
	before := a.last
	if len(a.buf) == 0 {
		a.buf, before = startFrame(a.buf, kindListing), nil
	}
	a.buf = appendEntry(a.buf, before, e)
	a.last = append(a.last[:0], e.Key...)
	a.s.Listed++
	return nil
}

// Record adds a record. They come in the order of their keys.
func (a *Writer) Record(key []byte, version uint64, value []byte) error {
	if len(value) > maxBody-maxKey-fullFrame-64 {
		return fmt.Errorf("%w: a record of %d bytes", ErrTooBig, len(value))
	}
	if err := a.enter(kindRecords); err != nil {
		return err
	}
	if err := a.ordered(key); err != nil {
		return err
	}
	if len(a.buf) == 0 {
		a.buf = startFrame(a.buf, kindRecords)
	}
	a.buf = appendRecord(a.buf, key, version, value)
	a.last = append(a.last[:0], key...)
	a.s.Records++
	return nil
}

// End ends the backup and tags it with key.
func (a *Writer) End(key *crypto.Key) (*Statement, error) {
	if err := a.enter(kindEnd); err != nil {
		return nil, err
	}
	a.list.Sum(a.s.Listing[:0])
	a.digest.Sum(a.s.Digest[:0])
	var err error
	if a.s.Tag, err = crypto.TagBackup(key, a.s.tagged()); err != nil {
		return nil, err
	}
	a.buf = append(a.s.appendEnd(startFrame(a.buf, kindEnd)), a.s.Tag[:]...)
	return &a.s, a.Flush()
}
