package repair

import (
	"errors"
	"fmt"
	"iter"

	"ssefs/fs/record"
	"ssefs/store"
)

// get reads and opens a record into r.plain. Its errors say why the record cannot
// be used.
func (r *repairer) get(key []byte) error {
	return r.view.Get(key, func(sealed []byte) (err error) {
		r.plain, err = r.records.Open(r.plain[:0], key, sealed)
		return err
	})
}

// read reads, opens and decodes a record.
func read[R any](r *repairer, key []byte, decode func([]byte) (R, error)) (R, error) {
	var none R
	if err := r.get(key); err != nil {
		return none, err
	}
	return decode(r.plain)
}

// why says in a few words why a record cannot be used.
func why(err error) string {
	if errors.Is(err, store.ErrNotFound) {
		return "it is missing"
	}
	return err.Error()
}

// tooNew reports whether a version is one that no record can have.
func (r *repairer) tooNew(version uint64) bool { return version > r.view.Version() }

// stream delivers the keys of one kind in their order, one at a time, so that
// several can be read side by side.
type stream struct {
	record.Key
	raw  []byte // valid until the stream advances
	ok   bool   // there is a key; false at the end
	err  error  // why there is none
	next func() (streamed, bool)
	stop func()
}

type streamed struct {
	key record.Key
	raw []byte
	err error
}

func (s *stream) advance() {
	var e streamed
	e, s.ok = s.next()
	s.Key, s.raw = e.key, e.raw
	if e.err != nil {
		s.err, s.ok = e.err, false
	}
}

// stream starts a stream of the keys under a prefix. It must be stopped.
func (r *repairer) stream(prefix []byte) *stream {
	s := &stream{}
	s.next, s.stop = iter.Pull(func(yield func(streamed) bool) {
		err := r.view.IterateKeys(prefix, nil, func(raw []byte, _ int64) error {
			k, err := record.ParseKey(raw)
			if err != nil {
				return nil // surveyKeys drops these
			}
			if !yield(streamed{key: k, raw: raw}) {
				return store.ErrStop
			}
			return nil
		})
		if err != nil {
			yield(streamed{err: listing(prefix, err)})
		}
	})
	s.advance()
	return s
}

// keys calls fn for the keys under a prefix.
func (r *repairer) keys(prefix []byte, fn func(k record.Key, raw []byte) error) error {
	var inner error
	err := r.view.IterateKeys(prefix, nil, func(raw []byte, _ int64) error {
		k, err := record.ParseKey(raw)
		if err != nil {
			return nil
		}
		if inner = fn(k, append([]byte(nil), raw...)); inner != nil {
			return store.ErrStop
		}
		return nil
	})
	if inner != nil {
		return inner
	}
	return listing(prefix, err)
}

// listing explains why a repair cannot be made of a store that does not list its
// records: what it does not list would be taken for missing.
func listing(prefix []byte, err error) error {
	if !errors.Is(err, store.ErrDamaged) && !errors.Is(err, store.ErrIO) {
		return err
	}
	return fmt.Errorf("the store fails to list its %s records, so that nothing can be repaired: %w", record.Kind(prefix[0]), err)
}

// surveyKeys finds keys that no record has.
func (r *repairer) surveyKeys() error {
	err := r.view.IterateKeys(nil, []byte{0}, func(raw []byte, _ int64) error {
		k, err := record.ParseKey(raw)
		if err == nil {
			r.noteNumbers(k)
		} else {
			r.drops = append(r.drops, append([]byte(nil), raw...))
			r.note(Dropped, 0, "the key %x, which no record has", shorten(raw))
		}
		return r.tick(0, 0, "keys")
	})
	if errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrIO) {
		return fmt.Errorf("the store fails to list its keys, so that nothing can be repaired: %w", err)
	}
	return err
}

// sane bounds the numbers in keys that are believed without a record that opens.
const sane = 1 << 48

// noteNumbers takes down the numbers in a key, so that a head made anew does not
// give them out again.
func (r *repairer) noteNumbers(k record.Key) {
	if r.headFound {
		return
	}
	if k.Kind != record.KindPending && k.ID < sane {
		r.maxInode = max(r.maxInode, k.ID)
	}
	if (k.Kind == record.KindData || k.Kind == record.KindPack) && k.Sub < sane {
		r.maxRecord = max(r.maxRecord, k.Sub)
	}
}

// shorten keeps messages about long keys short.
func shorten(raw []byte) []byte {
	const shown = 32
	return raw[:min(len(raw), shown)]
}
