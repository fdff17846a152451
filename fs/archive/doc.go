// Package archive is the container format of backups: a stream of the files and
// records of a store at one version, as they lie there. FORMAT.md describes it
// byte by byte. The package is pure: it reads and writes streams and knows
// nothing of stores.
//
// A stream has a listing of all records, and the records themselves: all of
// them, or those that changed since the backup it is based on. So each backup
// says exactly what the store held, and whoever applies a chain of them can tell
// what was removed in between, and that the result is right.
//
// # What is checked when
//
//   - Each frame has a checksum, which finds damage early.
//   - A Reader accepts what a Writer writes and nothing else: every order, bound
//     and encoding is checked, and that the records that follow are those that
//     the listing promises.
//   - The end has a digest of everything before it and a tag under a key of the
//     volume, so that nobody else can make, change, shorten or put together
//     backups unnoticed. The tag can be checked with the key only; until it was,
//     nothing that was read may be trusted.
//   - A backup names the tag of the one it is based on.
package archive

import "errors"

// The sentinels of this package.
var (
	// ErrFormat: not a backup.
	ErrFormat = errors.New("not a backup of ssefs")
	// ErrVersion: a version of the format that this build does not know.
	ErrVersion = errors.New("unsupported version of the backup format")
	// ErrTruncated: the backup ends too early.
	ErrTruncated = errors.New("the backup is incomplete")
	// ErrDamaged: the backup was changed since it was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrTooBig: something that a backup cannot hold.
	ErrTooBig = errors.New("too big for a backup")
)
