package salvage

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Report says what was copied and what was not. Its encoding as JSON is what
// `ssefs fsck --salvage --json` prints.
type Report struct {
	// Version is that of the newest record in the store.
	Version uint64 `json:"version"`
	Copied  Counts `json:"copied"`
	// Losses are what is not in the copy, or may not be what it was.
	Losses []Loss `json:"losses"`
	// Omitted counts losses after the first MaxLosses.
	Omitted int `json:"omitted,omitempty"`
	// Notes are what is different in the copy though nothing is lost.
	Notes []string `json:"notes,omitempty"`
}

// MaxLosses is how many losses a report lists.
const MaxLosses = 100_000

// Complete reports whether nothing is missing.
func (r *Report) Complete() bool { return len(r.Losses) == 0 && r.Omitted == 0 }

// Counts is what was copied.
type Counts struct {
	Buckets     int64 `json:"buckets"`
	Directories int64 `json:"directories"`
	Files       int64 `json:"files"`
	Symlinks    int64 `json:"symlinks"`
	Special     int64 `json:"special"`
	Links       int64 `json:"links"` // further names of files
	Bytes       int64 `json:"bytes"` // of contents, without holes
	// Nameless are in a lost+found.
	Nameless int64 `json:"nameless"`
}

// Kind classifies losses. The values are stable, for scripts.
type Kind string

// The kinds of losses.
const (
	State      Kind = "state"      // the store as a whole is not in its newest state
	Files      Kind = "database"   // a file of the database is damaged
	Records    Kind = "records"    // the store cannot list some of its records
	BucketSet  Kind = "bucket"     // inodes of a bucket are missing or older
	Directory  Kind = "directory"  // entries of a directory are missing or older, or its attributes are
	Entry      Kind = "entry"      // an entry that cannot be used
	Inode      Kind = "inode"      // a file of which nothing is known
	Range      Kind = "range"      // bytes of a file
	Xattrs     Kind = "xattrs"     // extended attributes
	NotCreated Kind = "notcreated" // something that could not be made in the copy
)

// Loss is one thing that is not in the copy.
type Loss struct {
	Kind  Kind   `json:"kind"`
	Inode uint64 `json:"inode,omitempty"`
	// Path is where it is in the copy, or would be, below the directory given.
	Path string `json:"path,omitempty"`
	// Offset and Length are the bytes of the file that are a hole in the copy.
	Offset  uint64 `json:"offset,omitempty"`
	Length  uint64 `json:"length,omitempty"`
	Message string `json:"message"`
}

// String describes the loss in one line.
func (l *Loss) String() string {
	where := l.Path
	if where == "" {
		where = "volume"
	}
	if l.Length > 0 {
		where += fmt.Sprintf(" [bytes %d to %d]", l.Offset, l.Offset+l.Length-1)
	}
	return fmt.Sprintf("%s: %s (%s)", where, l.Message, l.Kind)
}

// summary describes what was copied in one line.
func (r *Report) summary() string {
	c := &r.Copied
	return fmt.Sprintf("%d buckets, %d directories, %d files, %d symlinks, %d special files, %d further names, %d bytes; %d without a name",
		c.Buckets, c.Directories, c.Files, c.Symlinks, c.Special, c.Links, c.Bytes, c.Nameless)
}

// WriteTo writes the report as text.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for i := range r.Losses {
		fmt.Fprintf(&b, "lost: %s\n", printable(r.Losses[i].String()))
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more\n", r.Omitted)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", printable(n))
	}
	fmt.Fprintf(&b, "copied: %s\n", r.summary())
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// printable keeps names from writing more than their line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

func (s *salvager) lose(l Loss) {
	if len(s.report.Losses) >= MaxLosses {
		s.report.Omitted++
		return
	}
	s.report.Losses = append(s.report.Losses, l)
}

// outputFailed decides about an error of the file system that the copy goes to:
// nil, and noted as a loss, if it is about one object, else the error.
func (s *salvager) outputFailed(path string, ino uint64, err error) error {
	for _, whole := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.EMFILE, unix.ENFILE, unix.ENOMEM} {
		if errors.Is(err, whole) {
			return fmt.Errorf("the copy of %s: %w", path, err)
		}
	}
	s.lose(Loss{Kind: NotCreated, Inode: ino, Path: path, Message: err.Error()})
	return nil
}

func (s *salvager) notSetNotes() []string {
	var notes []string
	for _, what := range slices.Sorted(maps.Keys(s.notSet)) {
		notes = append(notes, fmt.Sprintf("%s: %d times", what, s.notSet[what]))
	}
	return notes
}
