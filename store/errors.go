package store

import "errors"

// Errors of the store directory.
var (
	// ErrMissing: there is no store at the path, or only one whose creation
	// never finished (then ErrUnfinished too).
	ErrMissing = errors.New("store: no such store")
	// ErrUnfinished: the creation of the store was interrupted; creating it
	// again starts over. Errors that wrap it also wrap ErrMissing.
	ErrUnfinished = errors.New("store: creation was never finished")
	// ErrNotStore: something else than a store is at the path.
	ErrNotStore = errors.New("store: not a store")
	// ErrNotEmpty: a store cannot be created in a directory that holds other files.
	ErrNotEmpty = errors.New("store: directory is not empty")
	// ErrInUse: another process owns the store; see InUseError.
	ErrInUse = errors.New("store: in use")
	// ErrNoOwner: no process owns the store at the moment.
	ErrNoOwner = errors.New("store: no process owns the store")
)

// Errors of the database.
var (
	// ErrNotFound: there is no record under the key.
	ErrNotFound = errors.New("store: not found")
	// ErrInvalidKey: the key is empty, longer than MaxKeySize, or reserved.
	ErrInvalidKey = errors.New("store: invalid key")
	// ErrTooBig: the batch exceeds the limits; nothing was written.
	ErrTooBig = errors.New("store: batch too big")
	// ErrFull: there is not enough space; nothing was written.
	ErrFull = errors.New("store: no space left")
	// ErrFailed: an earlier commit failed and left its outcome open, so that
	// the database takes no more until it is opened again.
	ErrFailed = errors.New("store: an earlier commit failed, reopen the store")
	// ErrReadOnly: the database was opened read-only.
	ErrReadOnly = errors.New("store: read-only")
	// ErrClosed: the database or view is closed.
	ErrClosed = errors.New("store: closed")
	// ErrDamaged: the database's files are damaged or missing.
	ErrDamaged = errors.New("store: damaged")
	// ErrIO: the device failed to deliver data that should be there.
	ErrIO = errors.New("store: input/output error")
	// ErrBusy: something that must end first is still going on.
	ErrBusy = errors.New("store: busy")
)

// ErrStop ends an iteration without error when its callback returns it.
var ErrStop = errors.New("store: stop iteration")
