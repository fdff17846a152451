package storms

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// kind is what an operation does.
type kind string

const (
	create    kind = "create" // O_CREAT|O_EXCL
	remove    kind = "unlink"
	rmdir     kind = "rmdir"
	link      kind = "link" // of an open file
	rename    kind = "rename"
	exchange  kind = "exchange"
	noClobber kind = "rename, but not over something"
	look      kind = "stat"
	open      kind = "open"
	fsync     kind = "fsync" // of a directory
	snapshot  kind = "snapshot"
)

// place is a name in a directory, both by number.
type place struct{ Dir, Name int }

// operation is one system call of one process.
type operation struct {
	Kind     kind
	At, To   place
	File     uint64     // inode number: what was linked, or made
	Found    uint64     // inode number that was found
	Contents string     // of a file that was opened or made
	Errno    unix.Errno // 0: success
	Lost     bool       // the daemon ended meanwhile: whether it was done is not known
	Began    int64      // CLOCK_MONOTONIC
	Ended    int64

	tree *tree // of a snapshot
}

func (o *operation) String() string {
	what := fmt.Sprintf("%d..%d %s %d/%s", o.Began, o.Ended, o.Kind, o.At.Dir, slotNames[o.At.Name])
	switch o.Kind {
	case rename, exchange, noClobber:
		what += fmt.Sprintf(" with %d/%s", o.To.Dir, slotNames[o.To.Name])
	case link:
		what = fmt.Sprintf("%d..%d link %d as %d/%s", o.Began, o.Ended, o.File, o.To.Dir, slotNames[o.To.Name])
	case create:
		what += fmt.Sprintf(" as %d", o.File)
	case look, open:
		what += fmt.Sprintf(" is %d", o.Found)
	}
	if o.Errno != 0 {
		what += ": " + o.Errno.Error()
	}
	if o.Lost {
		what += ", perhaps"
	}
	return what
}

// syncs reports whether the changes of a directory are durable with the operation.
func (o *operation) syncs() bool { return o.Kind == fsync && o.Errno == 0 && !o.Lost }

// now reads the clock that all processes share.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("clock_gettime: %v", err)) // it takes a wrong number
	}
	return t.Nano()
}

// readLog reads what a process has noted.
func readLog(file string) ([]operation, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	var all []operation
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var o operation
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", file, lines.Text(), err)
		}
		all = append(all, o)
	}
	return all, nil
}
