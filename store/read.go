package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// readTries is how often a value is looked for. Garbage collection may move a
// value between finding its pointer and following it, and the second look finds
// the new place; more tries than two only matter if collections follow closely.
const readTries = 5

// errMoved: the value was not where its pointer said.
var errMoved = errors.New("value not found in the value log")

// Get calls fn with the value under key, or returns ErrNotFound. The value is
// valid and unchanging only until fn returns and must not be modified: large
// ones lie in a mapped file. fn must not commit or wait for a commit, as it may
// hold up the value log. Its error is returned as it is.
//
// Unreadable or damaged files are ErrIO and ErrDamaged. A value is not verified
// here: what callers store is authenticated by themselves.
func (v *View) Get(key []byte, fn func(value []byte) error) error {
	if err := v.check(); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return err
	}
	for _, o := range v.snap.overlays {
		if c, ok := o.get(key, v.snap.version); ok {
			if c.del {
				return ErrNotFound
			}
			return fn(c.value)
		}
	}
	var inCallback bool
	return v.noteFault(guard(func() error {
		for try := 1; ; try++ {
			err := v.getOnce(key, fn, &inCallback)
			if !errors.Is(err, errMoved) || inCallback {
				return err
			}
			if try == readTries {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
		}
	}, &inCallback))
}

func (v *View) getOnce(key []byte, fn func([]byte) error, inCallback *bool) error {
	txn := v.db.bdb.NewTransactionAt(v.snap.version, false)
	defer txn.Discard()
	item, err := txn.Get(key)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return ErrNotFound
	case errors.Is(err, badger.ErrDBClosed):
		return ErrClosed
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return readValue(item, fn, inCallback)
}

// readValue calls fn with the value of an item. Badger hands out an empty value
// and no error when it cannot follow a pointer into the value log.
func readValue(item *badger.Item, fn func([]byte) error, inCallback *bool) error {
	var fnErr error
	err := item.Value(func(value []byte) error {
		if len(value) == 0 && inValueLog(item) {
			return errMoved
		}
		*inCallback = true
		fnErr = fn(value)
		*inCallback = false
		return nil
	})
	switch {
	case errors.Is(err, errMoved):
		return errMoved
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fnErr
}

// inValueLog tells whether an item's value is in the value log. The estimated
// size of an item is exactly that of key and value if the value is inline, and
// else the size of a log entry, which also holds a header, a version and a
// checksum.
func inValueLog(item *badger.Item) bool {
	return item.EstimatedSize() != item.KeySize()+item.ValueSize()
}

// Iterate calls fn for each record whose key has the prefix, in key order,
// starting at from if that is not nil. Key and value are valid only until fn
// returns and must not be modified. An error of fn ends the iteration and is
// returned, except ErrStop, which ends it without error.
//
// fn must not wait for a commit. While an iteration runs, space that garbage
// collection frees is not given back.
func (v *View) Iterate(prefix, from []byte, fn func(key, value []byte) error) error {
	return v.iterate(prefix, from, visitor{
		stored: func(item *badger.Item, inCallback *bool) error {
			return readValue(item, func(value []byte) error { return fn(item.Key(), value) }, inCallback)
		},
		pending: func(c change) error { return fn(c.key, c.value) },
	})
}

// IterateKeys is Iterate without reading values: fn gets their sizes in bytes.
func (v *View) IterateKeys(prefix, from []byte, fn func(key []byte, size int64) error) error {
	return v.iterate(prefix, from, visitor{
		stored: func(item *badger.Item, inCallback *bool) error {
			*inCallback = true
			err := fn(item.Key(), valueSize(item))
			*inCallback = false
			return err
		},
		pending: func(c change) error { return fn(c.key, int64(len(c.value))) },
	})
}

// visitor is called with each record: with those in Badger, and with those that
// are in an overlay.
type visitor struct {
	stored  func(item *badger.Item, inCallback *bool) error
	pending func(c change) error
}

func (v *View) iterate(prefix, from []byte, visit visitor) error {
	if err := v.check(); err != nil {
		return err
	}
	var inCallback bool
	err := v.noteFault(guard(func() error {
		txn := v.db.bdb.NewTransactionAt(v.snap.version, false)
		defer txn.Discard()
		// Badger prefetches values with a goroutine each. Those would be out of
		// reach of guard, and copying from mapped memory ahead of need gains
		// nothing over the kernel's own read-ahead.
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
		defer it.Close()
		start := prefix
		if bytes.Compare(from, prefix) > 0 {
			start = from
		}
		pending := v.pendingFrom(start, prefix)
		defer pending.close()
		for it.Seek(start); it.Valid() && it.Item().Key()[0] != reservedPrefix; it.Next() {
			item := it.Item()
			hidden, err := pending.upTo(item.Key(), visit.pending, &inCallback)
			if err == nil && !hidden {
				err = visit.stored(item, &inCallback)
			}
			if errors.Is(err, errMoved) {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			if err != nil {
				return err
			}
		}
		_, err := pending.upTo(nil, visit.pending, &inCallback)
		return err
	}, &inCallback))
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

// valueSize returns the exact size of an item's value, from the size of its log
// entry if it is in the value log: header, key and version, value, checksum.
func valueSize(item *badger.Item) int64 {
	if !inValueLog(item) {
		return item.ValueSize()
	}
	key := item.KeySize() + versionSize
	rest := item.EstimatedSize() - key - 4 - 3 - uvarintLen(key) // with the varint of the value's length
	for n := int64(1); n <= binary.MaxVarintLen32; n++ {
		if uvarintLen(rest-n) == n {
			return rest - n
		}
	}
	return item.ValueSize()
}

func uvarintLen(n int64) int64 {
	var buf [binary.MaxVarintLen64]byte
	return int64(binary.PutUvarint(buf[:], uint64(n)))
}
