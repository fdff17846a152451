package store

import (
	"fmt"
	"log/slog"
)

// MaxKeySize is the length a key may have, in bytes.
const MaxKeySize = 512

// DefaultInlineValue is the size from which values go to the value log unless
// Options say otherwise.
const DefaultInlineValue = 8 << 10

// Options configure a database. The zero value of each field means its default.
type Options struct {
	// MemTableSize is how much is gathered in memory before it is flushed to a
	// table, in bytes. A batch holds at most 15% of it. Default 16 MiB, less on a
	// small file system.
	//
	// Storing 4 KiB values without a pause, which takes most memory, needs 240 MiB
	// of it with 16 MiB and 340 MiB with 32 MiB, if the runtime's memory limit is
	// set accordingly; without a limit it takes several times that. With 16 MiB it
	// takes 15% less processor time.
	MemTableSize int64
	// ValueLogFileSize is the size at which a value log file is full, in bytes.
	// Half of it is the most a batch may add to the value log. Default 128 MiB,
	// less on a small file system; at most 256 MiB.
	ValueLogFileSize int64
	// InlineValue is the size in bytes from which values are kept in the value
	// log instead of in the tables. Default 8 KiB.
	InlineValue int64
	// BallastSize is the size of the file that is given up when space is short,
	// in bytes. Default three times MemTableSize: enough to flush what is in
	// memory, and a little more.
	BallastSize int64
	// JournalSize is the size of each of the two files of the journal, in bytes.
	// Default: a 256th of the file system, at most 4 MiB, and no journal if that is
	// less than 256 KiB. See DB.StartJournal.
	JournalSize int64
	// Access is what may be done. Default ReadWrite.
	Access Access
	// Logger gets what Badger reports. Default: nothing is logged.
	Logger *slog.Logger
}

// Access says what a database is opened for.
type Access int

const (
	// ReadWrite allows everything.
	ReadWrite Access = iota
	// ReadOnly refuses commits and reclaiming. The files may still be written:
	// opening replays the logs after a crash, as a journaling file system does.
	ReadOnly
)

// DefaultOptions returns Options with every field at its default.
func DefaultOptions() Options { return Options{} }

// sizes that do not depend on the options.
const (
	maxValueLogFile = 256 << 20
	minValueLogFile = 1 << 20
	minMemTable     = 1 << 20
	maxMemTable     = 256 << 20
	minInlineValue  = 1 << 10
	maxInlineValue  = 64 << 10
)

// resolve fills in the defaults, given the size of the file system in bytes,
// and checks the rest.
func (o Options) resolve(fsSize int64) (Options, error) {
	memTable, valueLog := int64(16<<20), int64(128<<20)
	switch {
	case fsSize < 128<<20:
		memTable, valueLog = 1<<20, 8<<20
	case fsSize < 512<<20:
		memTable, valueLog = 4<<20, 16<<20
	case fsSize < 2<<30:
		memTable, valueLog = 8<<20, 32<<20
	case fsSize < 8<<30:
		valueLog = 64 << 20
	}
	def := func(field *int64, value int64) {
		if *field == 0 {
			*field = value
		}
	}
	def(&o.MemTableSize, memTable)
	def(&o.ValueLogFileSize, valueLog)
	def(&o.InlineValue, DefaultInlineValue)
	def(&o.BallastSize, 3*o.MemTableSize)
	if size := min(fsSize/journalShare, maxJournalFile); size >= minJournalFile {
		def(&o.JournalSize, size/journalSector*journalSector)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	in := func(name string, value, low, high int64) error {
		if value < low || value > high {
			return fmt.Errorf("store: option %s is %d, not within %d and %d", name, value, low, high)
		}
		return nil
	}
	for _, err := range []error{
		in("MemTableSize", o.MemTableSize, minMemTable, maxMemTable),
		// Garbage collection writes batches of a sixth of a memtable and one value.
		// With what a batch may have they must fit twice the size.
		in("ValueLogFileSize", o.ValueLogFileSize, max(minValueLogFile, o.MemTableSize/2), maxValueLogFile),
		in("InlineValue", o.InlineValue, minInlineValue, min(maxInlineValue, o.MemTableSize/16)),
		in("BallastSize", o.BallastSize, 0, 1<<40),
		in("JournalSize", o.JournalSize, 0, maxJournalFile),
		in("Access", int64(o.Access), int64(ReadWrite), int64(ReadOnly)),
	} {
		if err != nil {
			return Options{}, err
		}
	}
	return o, nil
}

// tableSize is the size of a table of the base level. Compaction needs space for
// about a dozen at a time, and each takes a file descriptor.
func (o Options) tableSize() int64 {
	return min(2<<20, max(512<<10, o.MemTableSize/8))
}
