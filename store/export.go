package store

import "github.com/dgraph-io/badger/v4"

// Item is a record as Scan hands it out, valid until the callback returns.
type Item struct {
	stored     *badger.Item // nil if the record is pending
	pending    change
	inCallback *bool
}

// Key returns the key, which must not be modified.
func (i Item) Key() []byte {
	if i.stored == nil {
		return i.pending.key
	}
	return i.stored.Key()
}

// Version returns the number of the commit that stored the record, or of a later
// one that was joined with it on the way into the tables. So it may grow without
// the record having changed, and is never too low.
func (i Item) Version() uint64 {
	if i.stored == nil {
		return i.pending.version
	}
	return i.stored.Version()
}

// Size returns the size of the value in bytes, without reading it.
func (i Item) Size() int64 {
	if i.stored == nil {
		return int64(len(i.pending.value))
	}
	return valueSize(i.stored)
}

// Value calls fn with the value, as View.Get does. Its errors end the Scan.
func (i Item) Value(fn func(value []byte) error) error {
	if i.stored == nil {
		return fn(i.pending.value)
	}
	*i.inCallback = false
	defer func() { *i.inCallback = true }()
	return readValue(i.stored, fn, i.inCallback)
}

// Scan calls fn for each record in key order, starting at from if that is not
// nil. Values are read where fn asks for them. Like fn of Iterate, fn must not
// wait for a commit; nor should it wait for anything else, since meanwhile the
// space that garbage collection frees, and memory, are not given back. ErrStop
// ends the scan, which can be taken up again from where it was.
func (v *View) Scan(from []byte, fn func(Item) error) error {
	return v.iterate(nil, from, visitor{
		stored: func(item *badger.Item, inCallback *bool) error {
			*inCallback = true
			defer func() { *inCallback = false }()
			return fn(Item{stored: item, inCallback: inCallback})
		},
		pending: func(c change) error { return fn(Item{pending: c}) },
	})
}
