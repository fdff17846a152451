package check

import (
	"errors"
	"iter"

	"ssefs/fs/record"
	"ssefs/store"
)

// item is one record as a stream delivers it. Its slices are valid until the
// stream advances.
type item struct {
	key    record.Key
	raw    []byte // the key as it is stored
	sealed []byte // the value; nil in a stream of keys
	size   int64  // of the value
}

// stream delivers the records of one kind in key order, one at a time, so that
// several can be read side by side.
type stream struct {
	item
	kind record.Kind
	ok   bool // there is a record; false at the end
	next func() (item, bool)
	stop func()
}

func (s *stream) advance() { s.item, s.ok = s.next() }

// reading says what of records a stream reads.
type reading int

const (
	values reading = iota
	sizes          // keys and sizes only
)

// stream starts a stream of the records of a kind. It must be stopped.
func (c *checker) stream(kind record.Kind, what reading) *stream {
	s := &stream{kind: kind}
	s.next, s.stop = iter.Pull(c.scan(record.Prefix(kind), what))
	s.advance()
	return s
}

// each calls fn for the records under a prefix, values included.
func (c *checker) each(prefix []byte, fn func(item) error) error {
	for it := range c.scan(prefix, values) {
		if err := fn(it); err != nil {
			return err
		}
	}
	return c.fatal
}

// scan reads the records under a prefix. A record that the store cannot
// deliver, or whose key is malformed, is noted and passed over.
func (c *checker) scan(prefix []byte, what reading) iter.Seq[item] {
	return func(yield func(item) bool) {
		var from, last []byte
		for {
			stopped := false
			visit := func(raw, sealed []byte, size int64) error {
				last = append(last[:0], raw...)
				k, err := record.ParseKey(raw)
				if err != nil {
					c.unknownKey(raw, err)
					return nil
				}
				if !yield(item{key: k, raw: raw, sealed: sealed, size: size}) {
					stopped = true
					return store.ErrStop
				}
				return nil
			}
			var err error
			if what == sizes {
				err = c.View.IterateKeys(prefix, from, func(raw []byte, size int64) error { return visit(raw, nil, size) })
			} else {
				err = c.View.Iterate(prefix, from, func(raw, sealed []byte) error { return visit(raw, sealed, int64(len(sealed))) })
			}
			if err == nil || stopped {
				return
			}
			if from = c.passOver(prefix, last, err); from == nil {
				return
			}
			last = append(last[:0], from...)
		}
	}
}

// passOver notes that the store could not deliver the record after last, and
// returns where to go on, nil if nowhere.
func (c *checker) passOver(prefix, last []byte, cause error) (from []byte) {
	kind := record.Kind(prefix[0])
	if !errors.Is(cause, store.ErrDamaged) && !errors.Is(cause, store.ErrIO) {
		c.fatal = cause
		return nil
	}
	after := last
	if last != nil {
		after = append(append([]byte(nil), last...), 0)
	}
	err := c.View.IterateKeys(prefix, after, func(raw []byte, _ int64) error {
		from = append(append([]byte(nil), raw...), 0)
		return store.ErrStop
	})
	if err != nil || from == nil {
		c.problem(StoreFailure, Error, 0, "the store fails to deliver %s records; those from %x on were not checked: %v", kind, after, cause)
		return nil
	}
	k, err := record.ParseKey(from[:len(from)-1])
	if err != nil {
		c.unknownKey(from[:len(from)-1], err)
		return from
	}
	c.problem(StoreFailure, Error, inodeOf(k), "the store fails to deliver the %s record: %v", describe(k), cause)
	return from
}

// inodeOf returns the inode that a record belongs to, 0 if it is none's.
func inodeOf(k record.Key) uint64 {
	switch k.Kind {
	case record.KindPending:
		return 0
	case record.KindBucket:
		return record.BucketDir(k.ID)
	}
	return k.ID
}

func (c *checker) unknownKey(raw []byte, err error) {
	const shown = 32
	tail := ""
	if len(raw) > shown {
		raw, tail = raw[:shown], "..."
	}
	c.problem(UnknownKey, Warning, 0, "unknown key %x%s: %v", raw, tail, err)
}

// kinds are all kinds of records in the order of their keys.
func kinds() []record.Kind {
	return []record.Kind{
		record.KindBucket, record.KindData, record.KindEntry, record.KindHead, record.KindInode, record.KindMap,
		record.KindOrphan, record.KindPending, record.KindPack, record.KindSettings, record.KindXattr,
	}
}

// checkKeys looks for keys between and after those of known kinds, and for
// malformed ones of the kinds that are not streamed.
func (c *checker) checkKeys() error {
	known := make(map[byte]bool)
	for _, k := range kinds() {
		known[byte(k)] = true
	}
	single := map[byte]bool{byte(record.KindHead): true, byte(record.KindSettings): true}
	from := []byte{0}
	for {
		var next []byte
		err := c.View.IterateKeys(nil, from, func(raw []byte, _ int64) error {
			_, err := record.ParseKey(raw)
			switch {
			case err == nil && single[raw[0]]:
				c.report.Counts.Records[record.Kind(raw[0]).String()]++
			case err != nil && (!known[raw[0]] || single[raw[0]]):
				c.unknownKey(raw, err)
			default:
				next = []byte{raw[0] + 1}
				return store.ErrStop
			}
			return c.tick(0, 0, "keys")
		})
		if err != nil {
			if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrIO) {
				c.problem(StoreFailure, Error, 0, "the store fails to list its keys from %x on: %v", from, err)
				return nil
			}
			return err
		}
		if next == nil {
			return nil
		}
		from = next
	}
}
