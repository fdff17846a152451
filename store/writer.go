package store

import "fmt"

// errValueLogSync is ErrIO of a value log that could not be synced.
var errValueLogSync = fmt.Errorf("%w: the value log could not be synced", ErrIO)

// await runs f, which waits for Badger's writer, and returns its error.
//
// Badger writes values to the value log, syncs that, and then writes what points
// to them to the write-ahead log. When the sync fails it says so in its log and
// goes on (value.go, valueLog.write, in v4.9.6): pointers would become durable
// without their values, in the place of older ones that had theirs; and garbage
// collection would remove the file that still has the values. So its logger does
// not return then and ends the writer, and the commit is not in the database, now
// or after the next opening. Whoever waits for the writer would do so for ever,
// and is told here.
//
// What was committed before can still be read. Badger cannot be closed without
// its writer; see DB.Close.
func (db *DB) await(f func() error) error {
	if db.writerEnded() {
		return errValueLogSync
	}
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-db.badger.syncFailed:
		return errValueLogSync
	}
}

// writerEnded reports whether Badger's writer was ended.
func (db *DB) writerEnded() bool {
	select {
	case <-db.badger.syncFailed:
		return true
	default:
		return false
	}
}
