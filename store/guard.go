package store

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// guard runs f, which reads mapped files, and turns what can go wrong with them
// into errors: an unreadable page, which is SIGBUS, into ErrIO, and a structure
// that makes Badger panic into ErrDamaged. inCallback, if not nil, tells whether
// the caller's own code was running; a panic of that is not swallowed unless it
// is an unreadable page, since callbacks read mapped values.
//
// Such a panic may leave one of Badger's read locks held, so Close does not wait
// for Badger for ever afterwards.
func guard(f func() error, inCallback *bool) (err error) {
	// Per goroutine, and restored: the caller's own faults stay fatal.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface {
			runtime.Error
			Addr() uintptr
		}:
			err = fmt.Errorf("%w: reading a mapped file: %w", ErrIO, r)
		default:
			if inCallback != nil && *inCallback {
				panic(r)
			}
			err = fmt.Errorf("%w: a file of the database is not well formed (%s)", ErrDamaged, brief(r))
		}
	}()
	return f()
}

// brief is what a panic said, in one line: Badger's hold whole blocks of a table.
func brief(r any) string {
	line, _, _ := strings.Cut(strings.TrimPrefix(fmt.Sprint(r), "runtime error: "), "\n")
	const enough = 100
	return line[:min(len(line), enough)]
}
