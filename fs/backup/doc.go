// Package backup makes backups of a store and puts their records into a new one.
//
// Nothing is opened or sealed here: records travel as they lie in the store. A
// backup is of one View, which commits, garbage collection and compaction leave
// alone, and takes memory for a frame or two, however large the store is.
//
// An incremental backup holds the records whose version is above that of its
// base, and like every backup the listing of all. It is right if each other
// record of the store is in the base as it is now, whatever has become of the
// store since: that is what Compare finds out, from the two listings. What the
// base had and the listing has not was removed. Versions of records that did not
// change may grow, when the journal is brought into the database, and do not
// count in the comparison.
package backup

import (
	"errors"
	"fmt"

	"ssefs/fs/archive"
)

// ErrBase is returned for a backup that is no base for another: of another
// volume, of another history, or not the one that was asked for.
var ErrBase = errors.New("the backup does not follow from the one before it")

// checkBase tells whether a backup may follow the one of the statement.
func checkBase(b archive.Begin, base *archive.Statement) error {
	switch {
	case base == nil && b.Base == nil:
		return nil
	case base == nil:
		return fmt.Errorf("%w: it is incremental, to one of version %d", ErrBase, b.Base.Version)
	case b.Base == nil:
		return fmt.Errorf("%w: it is a full one", ErrBase)
	case b.Volume != base.Volume:
		return fmt.Errorf("%w: it is of volume %v, that one of volume %v", ErrBase, b.Volume, base.Volume)
	case *b.Base != *base.AsBase():
		return fmt.Errorf("%w: it is incremental to another backup, of version %d", ErrBase, b.Base.Version)
	}
	return nil
}
