package store

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/dgraph-io/badger/v4/skl"
	"github.com/dgraph-io/badger/v4/y"
)

// An overlay holds the commits that are in a journal file and not in Badger yet,
// for reading and to be handed to Badger as one transaction.
//
// A commit through Badger takes two syncs, four changes of goroutine and a log
// record for each change; a file that is synced after each write changes the same
// few records each time. So small commits are made durable in the journal, live
// in the overlay, and reach Badger together: only the last value of each key.
//
// It is Badger's own skip list of versioned keys: one goroutine at a time adds,
// any number read, without locks.
//
// The list's values are numbers of the values here, so that its memory, which is
// zeroed beforehand, is small.
type overlay struct {
	list        *skl.Skiplist
	arena       int64 // bytes the list may still take
	values      [overlayChunks]*[overlayChunk][]byte
	used        uint32 // values so far
	first, last uint64 // versions of the commits in it; 0: none
	size        batchSize
	limits      batchSize
	file        *journalFile // where the commits lie; nil when they were read from there
	since       time.Time    // of the first commit
}

const (
	// overlayArena is the memory of an overlay's list, in bytes.
	overlayArena = 1 << 20
	// listOverhead bounds what an entry takes in the list besides its key: a node,
	// its alignment, the version, and the number of the value with what Badger puts
	// before it.
	listOverhead = int64(skl.MaxNodeSize) + 8 + versionSize + 4 + 8
	// overlayChunk is how many values are in a chunk, overlayChunks how many chunks
	// there may be: more than the list has room for.
	overlayChunk  = 512
	overlayChunks = overlayArena/(int(listOverhead)*overlayChunk) + 1
)

func newOverlay(limits batchSize, file *journalFile) *overlay {
	return &overlay{
		list: skl.NewSkiplist(overlayArena), arena: overlayArena - 2*listOverhead,
		limits: limits, size: batchSize{lsm: batchOverhead, wal: batchOverhead}, file: file,
	}
}

// listSize bounds the memory that a batch takes in the list.
func listSize(changes []batchEntry) int64 {
	n := int64(0)
	for _, e := range changes {
		n += listOverhead + int64(len(e.key))
	}
	return n
}

// fits tells whether a commit of the given size can be added so that all still
// makes one transaction.
func (o *overlay) fits(size batchSize, changes []batchEntry) bool {
	return o.size.entries+size.entries <= o.limits.entries && o.size.lsm+size.lsm <= o.limits.lsm &&
		o.size.vlog+size.vlog <= o.limits.vlog && listSize(changes) <= o.arena
}

// add adds a commit. It must fit.
func (o *overlay) add(version uint64, size batchSize, changes []batchEntry) {
	if o.first == 0 {
		o.first, o.since = version, time.Now()
	}
	o.last = version
	o.arena -= listSize(changes)
	o.size.entries += size.entries
	o.size.lsm += size.lsm
	o.size.wal += size.wal
	o.size.vlog += size.vlog
	var number [4]byte
	for _, e := range changes {
		v := y.ValueStruct{Meta: bitDelete}
		if !e.del {
			chunk := &o.values[o.used/overlayChunk]
			if *chunk == nil {
				*chunk = new([overlayChunk][]byte)
			}
			(*chunk)[o.used%overlayChunk] = bytes.Clone(e.value) // the batch's is the caller's again after the commit
			binary.BigEndian.PutUint32(number[:], o.used)
			v = y.ValueStruct{Value: number[:]}
			o.used++
		}
		o.list.Put(y.KeyWithTs(e.key, version), v)
	}
}

// value returns what an entry of the list stands for. Whoever found the entry
// sees its value: the list publishes entries atomically.
func (o *overlay) value(v y.ValueStruct) (value []byte, del bool) {
	if v.Meta&bitDelete != 0 {
		return nil, true
	}
	number := binary.BigEndian.Uint32(v.Value)
	return o.values[number/overlayChunk][number%overlayChunk], false
}

// change is what an overlay knows of a key.
type change struct {
	key, value []byte
	version    uint64
	del        bool
}

// get returns what the overlay knows of a key as of a version, if it knows it.
// The value stays valid for as long as the overlay is referenced.
func (o *overlay) get(key []byte, version uint64) (change, bool) {
	if version < o.first {
		return change{}, false
	}
	v := o.list.Get(y.KeyWithTs(key, version))
	if v.Version == 0 {
		return change{}, false
	}
	c := change{key: key, version: v.Version}
	c.value, c.del = o.value(v)
	return c, true
}

// cursor walks the changes of an overlay in key order, as of a version: the
// newest of each key that is not above it.
type cursor struct {
	o       *overlay
	it      *skl.Iterator
	version uint64
}

func (o *overlay) seek(key []byte, version uint64) *cursor {
	c := &cursor{o: o, it: o.list.NewIterator(), version: version}
	c.it.Seek(y.KeyWithTs(key, version))
	c.skipNewer()
	return c
}

// skipNewer skips what is newer than the cursor's version.
func (c *cursor) skipNewer() {
	for c.it.Valid() && y.ParseTs(c.it.Key()) > c.version {
		c.it.Next()
	}
}

func (c *cursor) valid() bool { return c.it.Valid() }

func (c *cursor) change() change {
	ch := change{key: y.ParseKey(c.it.Key()), version: y.ParseTs(c.it.Key())}
	ch.value, ch.del = c.o.value(c.it.Value())
	return ch
}

// next goes on to the next key.
func (c *cursor) next() {
	for key := y.ParseKey(c.it.Key()); c.it.Valid() && bytes.Equal(key, y.ParseKey(c.it.Key())); {
		c.it.Next()
	}
	c.skipNewer()
}

func (c *cursor) close() { _ = c.it.Close() } // it only counts references

// merged returns the last change of each key, for one transaction.
func (o *overlay) merged() []batchEntry {
	var all []batchEntry
	c := o.seek(nil, o.last)
	defer c.close()
	for ; c.valid(); c.next() {
		ch := c.change()
		all = append(all, batchEntry{key: ch.key, value: ch.value, del: ch.del})
	}
	return all
}
