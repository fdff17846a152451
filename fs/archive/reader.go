package archive

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// File is a file of the store beside its database.
type File struct {
	Name     string
	Contents []byte
}

// Visitor gets what is in a backup, in order. Slices are valid until a method
// returns.
type Visitor interface {
	// Listed gets each entry of the listing.
	Listed(e Entry) error
	// ListingEnds comes after the last one.
	ListingEnds() error
	// Record gets each record of the backup.
	Record(e Entry, value []byte) error
}

// Reader reads a backup from beginning to end. What it returns can only be
// trusted once the statement that comes last was checked with the key.
type Reader struct {
	r      io.Reader
	digest hash.Hash
	list   hash.Hash
	// promised and present are over the records that the listing says are in the
	// backup, and over those that are.
	promised, present hash.Hash
	toCome            uint64
	s                 Statement
	buf               []byte
	ahead             []byte // a frame that was read too early
	stage             kind
	last              []byte // key of the last entry or record
	spare             []byte // room for the next key
	encoded           []byte
}

// NewReader reads the beginning of a backup.
func NewReader(r io.Reader) (*Reader, error) {
	a := &Reader{r: r, digest: sha256.New(), list: sha256.New(), promised: sha256.New(), present: sha256.New(), stage: kindBegin}
	var err error
	if a.buf, a.s.Begin, err = readBegin(r); err != nil {
		return nil, err
	}
	a.digest.Write(a.buf)
	return a, nil
}

// Begin returns what the backup says first about itself.
func (a *Reader) Begin() Begin { return a.s.Begin }

// next reads the next frame.
func (a *Reader) next() ([]byte, error) {
	if a.ahead != nil {
		frame := a.ahead
		a.ahead = nil
		return frame, nil
	}
	frame, err := readFrame(a.r, a.buf)
	if err != nil {
		return nil, err
	}
	a.buf = frame
	k := kind(frame[0])
	if k < a.stage || k > kindEnd || k == kindBegin {
		return nil, fmt.Errorf("%w: frame of kind %d after one of kind %d", ErrDamaged, k, a.stage)
	}
	return frame, nil
}

// Files reads the files of the backup. It is called first, or not at all.
func (a *Reader) Files(fn func(File) error) error {
	var last string
	size := 0
	for {
		frame, err := a.next()
		if err != nil {
			return err
		}
		if kind(frame[0]) != kindFile {
			a.ahead = frame
			return nil
		}
		a.stage = kindFile
		a.digest.Write(frame)
		f, err := decodeFile(frameBody(frame))
		if err != nil {
			return err
		}
		if size += len(frameBody(frame)); size > maxFiles {
			return fmt.Errorf("%w: files of more than %d bytes", ErrDamaged, maxFiles)
		}
		if f.Name <= last {
			return fmt.Errorf("%w: file %q after %q", ErrDamaged, f.Name, last)
		}
		last = f.Name
		if err := fn(f); err != nil {
			return err
		}
	}
}

func decodeFile(b []byte) (File, error) {
	d := body{b: b}
	n := d.bytes(1, 1, "a file")
	if d.err != nil {
		return File{}, d.err
	}
	name := d.bytes(uint64(n[0]), maxName, "a name")
	if d.err == nil && len(name) == 0 {
		d.fail("a name")
	}
	return File{Name: string(name), Contents: bytes.Clone(d.b)}, d.err
}

// Read reads the rest of the backup and returns what it says about itself. Only
// a complete backup that is consistent in itself has a statement.
func (a *Reader) Read(v Visitor) (*Statement, error) {
	if a.stage == kindBegin {
		if err := a.Files(func(File) error { return nil }); err != nil {
			return nil, err
		}
	}
	a.stage = kindListing
	for {
		frame, err := a.next()
		if err != nil {
			return nil, err
		}
		k := kind(frame[0])
		if k > kindListing && a.stage == kindListing {
			if err := v.ListingEnds(); err != nil {
				return nil, err
			}
			a.last = a.last[:0]
		}
		a.stage = k
		switch k {
		case kindListing:
			err = a.listing(frame, v)
		case kindRecords:
			err = a.records(frame, v)
		case kindEnd:
			return a.end(frame)
		default:
			err = fmt.Errorf("%w: frame of kind %d", ErrDamaged, k)
		}
		if err != nil {
			return nil, err
		}
	}
}

// listing reads a frame of the listing.
func (a *Reader) listing(frame []byte, v Visitor) error {
	a.digest.Write(frame)
	a.list.Write(frame)
	return eachEntry(frameBody(frame), &a.last, &a.spare, func(e Entry) error {
		if e.Version > a.s.Version {
			return fmt.Errorf("%w: a record of version %d in a backup of version %d", ErrDamaged, e.Version, a.s.Version)
		}
		a.s.Listed++
		if a.s.Follows(e) {
			a.toCome++
			a.encoded = appendEntry(a.encoded[:0], nil, e)
			a.promised.Write(a.encoded)
		}
		return v.Listed(e)
	})
}

// Follows tells whether a record of the listing is in the backup itself, not in
// one that it is based on.
func (b *Begin) Follows(e Entry) bool { return b.Base == nil || e.Version > b.Base.Version }

// eachEntry decodes a frame of the listing. last is the key of the entry before,
// of another frame, and then the one of the last.
func eachEntry(b []byte, last, spare *[]byte, fn func(Entry) error) error {
	d := body{b: b}
	if len(b) == 0 {
		d.fail("an empty frame")
	}
	var before []byte
	for d.err == nil && len(d.b) > 0 {
		e := d.entry(before, *spare)
		if d.err == nil && bytes.Compare(e.Key, *last) <= 0 {
			d.fail("the listing is not in order")
		}
		if d.err != nil {
			break
		}
		*last, *spare = e.Key, *last
		before = *last
		if err := fn(e); err != nil {
			return err
		}
	}
	return d.err
}

// records reads a frame of records.
func (a *Reader) records(frame []byte, v Visitor) error {
	a.digest.Write(frame)
	d := body{b: frameBody(frame)}
	if len(d.b) == 0 {
		d.fail("an empty frame")
	}
	for d.err == nil && len(d.b) > 0 {
		e, value := d.record()
		if d.err == nil && bytes.Compare(e.Key, a.last) <= 0 {
			d.fail("the records are not in order")
		}
		if d.err != nil {
			break
		}
		a.last = append(a.last[:0], e.Key...)
		a.s.Records++
		a.encoded = appendEntry(a.encoded[:0], nil, e)
		a.present.Write(a.encoded)
		if err := v.Record(e, value); err != nil {
			return err
		}
	}
	return d.err
}

// end reads the end of the backup, and that nothing follows it.
func (a *Reader) end(frame []byte) (*Statement, error) {
	found := a.s
	a.list.Sum(found.Listing[:0])
	a.digest.Sum(found.Digest[:0])
	if err := a.s.decodeEnd(frameBody(frame)); err != nil {
		return nil, err
	}
	found.Tag = a.s.Tag
	var promised, present [32]byte
	a.promised.Sum(promised[:0])
	a.present.Sum(present[:0])
	switch {
	case found != a.s:
		return nil, fmt.Errorf("%w: its digest is another than its end says", ErrDamaged)
	case found.Records != a.toCome || promised != present:
		return nil, fmt.Errorf("%w: it does not have the records that it lists", ErrDamaged)
	}
	a.buf = nil // a chain of backups is long, maybe
	switch n, err := a.r.Read(make([]byte, 1)); {
	case n > 0:
		return nil, fmt.Errorf("%w: something follows its end", ErrDamaged)
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	return &a.s, nil
}
