package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/store"
)

// View is a snapshot of a store; *store.View is one.
type View interface {
	Version() uint64
	Scan(from []byte, fn func(store.Item) error) error
}

// Source is what a backup is made of.
type Source struct {
	Volume crypto.VolumeID
	Key    *crypto.Key // the volume's backup key
	View   View
	Files  []archive.File // in the order of their names
	// Base is the backup to be based on, nil for a full one. It must have been checked with the key.
	Base *archive.Statement
	Now  time.Time
}

// scanKeys bounds how many records one scan passes: while it runs, Badger keeps
// files that it does not need any more.
const scanKeys = 100_000

// Write writes a backup to w.
func Write(ctx context.Context, w io.Writer, s Source) error {
	begin := archive.Begin{Volume: s.Volume, Version: s.View.Version(), Made: s.Now}
	if s.Base != nil {
		if s.Base.Volume != s.Volume || s.Base.Version > begin.Version {
			return fmt.Errorf("%w: that is of volume %v at version %d, this is volume %v at version %d",
				ErrBase, s.Base.Volume, s.Base.Version, s.Volume, begin.Version)
		}
		begin.Base = s.Base.AsBase()
	}
	a, err := archive.NewWriter(w, begin)
	if err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := a.File(f.Name, f.Contents); err != nil {
			return err
		}
	}
	if err := eachRecord(ctx, a, s.View, func(i store.Item) error { return list(a, i) }); err != nil {
		return err
	}
	err = eachRecord(ctx, a, s.View, func(i store.Item) error {
		if !begin.Follows(archive.Entry{Version: i.Version()}) {
			return nil
		}
		return i.Value(func(value []byte) error { return a.Record(i.Key(), i.Version(), value) })
	})
	if err != nil {
		return err
	}
	_, err = a.End(s.Key)
	return err
}

// list adds a record to the listing.
func list(a *archive.Writer, i store.Item) error {
	return i.Value(func(value []byte) error { return a.List(entry(i, value)) })
}

func entry(i store.Item, value []byte) archive.Entry {
	return archive.Entry{Key: i.Key(), Version: i.Version(), Size: uint64(len(value)), Sum: archive.Sum(value)}
}

// eachRecord calls fn with all records, which it gathers in a. That is written
// in between, when nothing of the store is held: whoever reads it may be slow.
func eachRecord(ctx context.Context, a *archive.Writer, v View, fn func(store.Item) error) error {
	var from []byte
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		more = false
		n := 0
		err := v.Scan(from, func(i store.Item) error {
			if n++; n > scanKeys || a.Full() {
				from = bytes.Clone(i.Key())
				more = true
				return store.ErrStop
			}
			return fn(i)
		})
		if err != nil {
			return err
		}
		if err := a.Flush(); err != nil {
			return err
		}
	}
	return nil
}
