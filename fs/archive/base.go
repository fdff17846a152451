package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Listing is the statement and the listing of a backup that another is to be
// based on. Its records are not read.
type Listing struct {
	Statement
	r       *bufio.Reader
	hash    hash.Hash
	buf     []byte
	d       body
	before  []byte // key before in the frame, nil at its start
	last    []byte
	spare   []byte
	listed  uint64
	drained bool
}

// OpenListing reads the beginning and the end of a backup of the given size.
func OpenListing(r io.ReaderAt, size int64) (*Listing, error) {
	l := &Listing{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 1<<16), hash: sha256.New()}
	var err error
	if _, l.Begin, err = readBegin(l.r); err != nil {
		return nil, err
	}
	if size < int64(prefaceSize+frameHead+beginSize+frameTail+endFrame) {
		return nil, ErrTruncated
	}
	end, err := readFrame(io.NewSectionReader(r, size-endFrame, endFrame), nil)
	// What is in place of the end of a backup that was cut off is no frame.
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrTruncated) || err == nil && kind(end[0]) != kindEnd {
		return nil, fmt.Errorf("%w: it does not end as a backup does", ErrTruncated)
	}
	if err != nil {
		return nil, err
	}
	return l, l.decodeEnd(frameBody(end))
}

// Next returns the next entry, or io.EOF once the whole listing was found to be
// the one of the statement. The entry is valid until the call after the next.
func (l *Listing) Next() (Entry, error) {
	for len(l.d.b) == 0 {
		if l.drained {
			return Entry{}, io.EOF
		}
		if err := l.frame(); err != nil {
			return Entry{}, err
		}
	}
	e := l.d.entry(l.before, l.spare)
	if l.d.err == nil && string(e.Key) <= string(l.last) {
		l.d.fail("the listing is not in order")
	}
	if l.d.err != nil {
		return Entry{}, l.d.err
	}
	l.last, l.spare = e.Key, l.last
	l.before = l.last
	l.listed++
	return e, nil
}

// frame reads the next frame of the listing.
func (l *Listing) frame() error {
	for {
		head, err := l.r.Peek(frameHead)
		if err != nil {
			return cut(err)
		}
		switch k := kind(head[0]); {
		case k == kindFile:
			length := int64(binary.BigEndian.Uint32(head[1:]))
			if _, err := io.CopyN(io.Discard, l.r, frameHead+length+frameTail); err != nil {
				return cut(err)
			}
			continue
		case k > kindListing:
			l.drained = true
			if found := [32]byte(l.hash.Sum(nil)); found != l.Listing || l.listed != l.Listed {
				return fmt.Errorf("%w: its listing is another than its end says", ErrDamaged)
			}
			return nil
		}
		if l.buf, err = readFrame(l.r, l.buf); err != nil {
			return err
		}
		if kind(l.buf[0]) != kindListing || len(frameBody(l.buf)) == 0 {
			return fmt.Errorf("%w: frame of kind %d", ErrDamaged, l.buf[0])
		}
		l.hash.Write(l.buf)
		l.d, l.before = body{b: frameBody(l.buf)}, nil
		return nil
	}
}
