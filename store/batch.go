package store

import "fmt"

const (
	// reservedPrefix starts the keys of this package's own records.
	reservedPrefix = 0xFF
	// badgerPrefix starts the keys of Badger's own records.
	badgerPrefix = "!badger!"
)

// What Badger adds to an entry (txn.go, memtable.go and structs.go in v4.9.6).
const (
	entryOverhead = 2 + 10 // metadata bytes, and the version as Txn counts it
	pointerSize   = 12     // a value pointer, in place of a value in the value log
	batchOverhead = 128    // the end-of-transaction entry, generously
	versionSize   = 8      // the version at the end of a stored key
	logOverhead   = 22 + 4 // largest header and checksum of an entry in a log
)

// Batch is a set of changes that Commit applies as one. The zero Batch is empty
// and ready for use. It is not safe for concurrent use. A Batch is committed
// once, or again if Commit reported ErrFull.
//
// If a key is changed more than once the last change counts; all of them count
// for the size.
type Batch struct {
	entries   []batchEntry
	keyBytes  int64
	inline    int64 // bytes of values below DefaultInlineValue
	outside   int64 // bytes of values from DefaultInlineValue on
	pointers  int64 // number of those
	puts      int64
	privilege privilege
	err       error
}

type batchEntry struct {
	key, value []byte
	del        bool
}

// privilege says how far a batch may go into the reserved space.
type privilege int

const (
	ordinary privilege = iota
	freeing
)

// Put stores value under key. The caller must not modify either before Commit
// returns. An invalid key makes Commit fail.
func (b *Batch) Put(key, value []byte) {
	b.add(batchEntry{key: key, value: value})
	b.puts++
	if len(value) < DefaultInlineValue {
		b.inline += int64(len(value))
	} else {
		b.outside += int64(len(value))
		b.pointers++
	}
}

// Delete removes the record under key, if there is one. The caller must not modify
// the key before Commit returns. An invalid key makes Commit fail.
func (b *Batch) Delete(key []byte) {
	b.add(batchEntry{key: key, del: true})
}

func (b *Batch) add(e batchEntry) {
	if err := checkKey(e.key); err != nil && b.err == nil {
		b.err = err
	}
	b.entries = append(b.entries, e)
	b.keyBytes += int64(len(e.key))
}

// UseReserve marks the batch as one that serves to free space, such as a
// removal: it may use space that is held back from all others, so that things
// can be deleted from a full store.
func (b *Batch) UseReserve() { b.privilege = freeing }

// Len returns the number of changes.
func (b *Batch) Len() int { return len(b.entries) }

// LSMBytes returns the size that counts against the limit of a batch, assuming
// the default InlineValue: keys, values kept inline, pointers to the others, and
// overhead.
func (b *Batch) LSMBytes() int64 {
	return batchOverhead + b.keyBytes + b.inline + pointerSize*b.pointers +
		entryOverhead*int64(len(b.entries))
}

// LogBytes returns how much the batch adds to the value log, assuming the
// default InlineValue.
func (b *Batch) LogBytes() int64 {
	return b.outside + b.pointers*(MaxKeySize+versionSize+logOverhead)
}

// batchSize is what a batch will take, at most.
type batchSize struct {
	entries int64
	lsm     int64 // as Badger counts it against the limit
	wal     int64 // bytes in the write-ahead log
	vlog    int64 // bytes in the value log
}

// size measures the batch for a given threshold.
func (b *Batch) size(inlineValue int64) batchSize {
	s := batchSize{
		entries: int64(len(b.entries)) + 1,
		lsm:     batchOverhead,
		wal:     batchOverhead,
	}
	for _, e := range b.entries {
		k, v := int64(len(e.key)), int64(len(e.value))
		if v >= inlineValue {
			s.vlog += k + versionSize + v + logOverhead
			v = pointerSize
		}
		s.lsm += k + v + entryOverhead
		s.wal += k + versionSize + v + logOverhead
	}
	return s
}

func checkKey(key []byte) error {
	switch {
	case len(key) == 0:
		return fmt.Errorf("%w: it is empty", ErrInvalidKey)
	case len(key) > MaxKeySize:
		return fmt.Errorf("%w: %d bytes are more than %d", ErrInvalidKey, len(key), MaxKeySize)
	case key[0] == reservedPrefix:
		return fmt.Errorf("%w: the prefix %#02x is reserved", ErrInvalidKey, key[0])
	case len(key) >= len(badgerPrefix) && string(key[:len(badgerPrefix)]) == badgerPrefix:
		return fmt.Errorf("%w: the prefix %q is reserved", ErrInvalidKey, badgerPrefix)
	}
	return nil
}
