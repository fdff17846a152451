package backup

import (
	"bytes"
	"context"
	"fmt"

	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/store"
)

// Chain puts the backups of a chain into a new store, the full one first.
type Chain struct {
	db  *store.DB
	key *crypto.Key
	// Progress is told how many bytes of the records of a backup have come of how many. It may be replaced, not by nil.
	Progress func(done, total uint64)
	last     *archive.Statement
}

// NewChain returns a Chain for an empty database. key is the volume's backup key.
func NewChain(db *store.DB, key *crypto.Key) *Chain {
	return &Chain{db: db, key: key, Progress: func(uint64, uint64) {}}
}

// Last returns the statement of the last backup that was applied.
func (c *Chain) Last() *archive.Statement { return c.last }

// Apply puts a backup into the store. When it returns without an error the store
// has exactly the records that whoever has the key stored in the volume.
func (c *Chain) Apply(ctx context.Context, r *archive.Reader) error {
	if err := checkBase(r.Begin(), c.last); err != nil {
		return err
	}
	importer, err := c.db.Importer()
	if err != nil {
		return err
	}
	a := &application{ctx: ctx, begin: r.Begin(), db: c.db, importer: importer, progress: c.Progress}
	s, err := r.Read(a)
	if err != nil {
		return err
	}
	if err := importer.Flush(); err != nil {
		return err
	}
	if err := s.Check(c.key); err != nil {
		return err
	}
	if got := c.db.Committed(); got != s.Version {
		return fmt.Errorf("%w: it is of version %d, its newest record of version %d", archive.ErrDamaged, s.Version, got)
	}
	c.last = s
	return nil
}

// application is a Visitor that puts a backup into a store.
type application struct {
	ctx      context.Context
	begin    archive.Begin
	db       *store.DB
	importer *store.Importer
	progress func(done, total uint64)
	done     uint64
	total    uint64

	// The records that the store has, of which a few are looked up at a time: while
	// they are passed, those that are not listed any more are deleted.
	have   []archive.Entry
	from   []byte // where those go on, nil if nowhere
	opened bool
}

// lookAhead is how many records of the store are looked up at a time.
const lookAhead = 4096

// Listed implements archive.Visitor.
func (a *application) Listed(e archive.Entry) error {
	follows := a.begin.Follows(e)
	if follows {
		a.total += e.Size
	}
	if a.begin.Base == nil {
		return nil // the store is empty
	}
	have, err := a.skipTo(e.Key)
	if err != nil || follows {
		return err
	}
	if have == nil || !have.Same(e) {
		return fmt.Errorf("%w: the backups before do not have a record that is not in this one", ErrBase)
	}
	return nil
}

// skipTo deletes the records of the store below key, and returns the one under it
// or nil.
func (a *application) skipTo(key []byte) (*archive.Entry, error) {
	for {
		if len(a.have) == 0 {
			more, err := a.look()
			if err != nil || !more {
				return nil, err
			}
		}
		first := &a.have[0]
		order := bytes.Compare(first.Key, key)
		if key != nil && order > 0 {
			return nil, nil
		}
		a.have = a.have[1:]
		if key != nil && order == 0 {
			return first, nil
		}
		if err := a.importer.Delete(first.Key, a.begin.Version); err != nil {
			return nil, err
		}
	}
}

// look looks up the next records of the store, and tells whether there are any.
func (a *application) look() (bool, error) {
	if a.opened && a.from == nil {
		return false, nil
	}
	if err := a.ctx.Err(); err != nil {
		return false, err
	}
	a.opened = true
	from := a.from
	a.from, a.have = nil, nil
	// What was deleted so far lies before from.
	view := a.db.View()
	defer view.Release()
	err := view.Scan(from, func(i store.Item) error {
		if len(a.have) == lookAhead {
			a.from = bytes.Clone(i.Key())
			return store.ErrStop
		}
		return i.Value(func(value []byte) error {
			e := entry(i, value)
			e.Key = bytes.Clone(e.Key)
			a.have = append(a.have, e)
			return nil
		})
	})
	return len(a.have) > 0, err
}

// ListingEnds implements archive.Visitor.
func (a *application) ListingEnds() error {
	if a.begin.Base == nil {
		return nil
	}
	_, err := a.skipTo(nil)
	return err
}

// Record implements archive.Visitor.
func (a *application) Record(e archive.Entry, value []byte) error {
	if err := a.ctx.Err(); err != nil {
		return err
	}
	a.done += e.Size
	a.progress(a.done, a.total)
	return a.importer.Put(e.Key, e.Version, value)
}
