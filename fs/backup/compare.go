package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"ssefs/fs/archive"
)

// Comparison is a Visitor that reads an incremental backup, and fails if it and
// its base do not give the store. It calls what it is made with for progress.
type Comparison struct {
	begin    archive.Begin
	base     *archive.Listing // nil for a full backup
	at       archive.Entry    // of the base: not passed yet
	atEnd    bool
	progress func(done, total uint64)
	done     uint64
	total    uint64
}

// Compare returns a Comparison of the backup that begins with b. base is nil for
// a full one. progress is told how many bytes of records have come of how many.
func Compare(b archive.Begin, base *archive.Listing, progress func(done, total uint64)) (*Comparison, error) {
	c := &Comparison{begin: b, base: base, progress: progress, atEnd: base == nil}
	var s *archive.Statement
	if base != nil {
		s = &base.Statement
	}
	if err := checkBase(b, s); err != nil {
		return nil, err
	}
	if base == nil {
		return c, nil
	}
	return c, c.advance()
}

// advance goes to the next entry of the base.
func (c *Comparison) advance() (err error) {
	c.at, err = c.base.Next()
	if errors.Is(err, io.EOF) {
		c.atEnd = true
		return nil
	}
	return err
}

// Listed implements archive.Visitor.
func (c *Comparison) Listed(e archive.Entry) error {
	if c.begin.Follows(e) {
		c.total += e.Size
		return nil
	}
	for !c.atEnd && bytes.Compare(c.at.Key, e.Key) < 0 {
		if err := c.advance(); err != nil {
			return err
		}
	}
	if c.atEnd || !c.at.Same(e) {
		return fmt.Errorf("%w: the store went on from another state; make a full backup", ErrBase)
	}
	return nil
}

// ListingEnds implements archive.Visitor. The rest of the base's listing is read, since only the whole is known to be
// what its backup says.
func (c *Comparison) ListingEnds() error {
	for !c.atEnd {
		if err := c.advance(); err != nil {
			return err
		}
	}
	return nil
}

// Record implements archive.Visitor.
func (c *Comparison) Record(e archive.Entry, _ []byte) error {
	c.done += e.Size
	c.progress(c.done, c.total)
	return nil
}
