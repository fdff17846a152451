package store

import "github.com/dgraph-io/badger/v4"

// Item is a record as Scan hands it out, valid until the callback returns.
type Item struct {
	item       *badger.Item
	inCallback *bool
}

// Key returns the key, which must not be modified.
func (i Item) Key() []byte { return i.item.Key() }

// Version returns the number of the commit that stored the record.
func (i Item) Version() uint64 { return i.item.Version() }

// Size returns the size of the value in bytes, without reading it.
func (i Item) Size() int64 { return valueSize(i.item) }

// Value calls fn with the value, as View.Get does. Its errors end the Scan.
func (i Item) Value(fn func(value []byte) error) error {
	*i.inCallback = false
	defer func() { *i.inCallback = true }()
	return readValue(i.item, fn, i.inCallback)
}

// Scan calls fn for each record in key order, starting at from if that is not
// nil. Values are read where fn asks for them. Like fn of Iterate, fn must not
// wait for a commit; nor should it wait for anything else, since meanwhile the
// space that garbage collection frees, and memory, are not given back. ErrStop
// ends the scan, which can be taken up again from where it was.
func (v *View) Scan(from []byte, fn func(Item) error) error {
	return v.iterate(nil, from, func(item *badger.Item, inCallback *bool) error {
		*inCallback = true
		defer func() { *inCallback = false }()
		return fn(Item{item, inCallback})
	})
}
