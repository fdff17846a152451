package check

import (
	"cmp"
	"fmt"
	"slices"
)

// Report is the outcome of a check. Its encoding as JSON is what `ssefs fsck
// --json` prints; names that are not UTF-8 have their odd bytes replaced there.
type Report struct {
	// Version is the epoch of the snapshot.
	Version uint64 `json:"version"`
	Counts  Counts `json:"counts"`
	// Unverifiable lists the keys that could not be used and how many files'
	// envelopes, and contents, were therefore taken on trust.
	Unverifiable []LockedKey `json:"unverifiable,omitempty"`
	// Problems come in the order of severity, inode and kind.
	Problems []Problem `json:"problems"`
	// Omitted counts the problems found after Options.MaxProblems.
	Omitted int `json:"omitted,omitempty"`
}

// Clean reports whether nothing at all was found.
func (r *Report) Clean() bool { return len(r.Problems) == 0 && r.Omitted == 0 }

// Errors returns how many of the problems listed are errors.
func (r *Report) Errors() int {
	n := 0
	for i := range r.Problems {
		if r.Problems[i].Severity == Error {
			n++
		}
	}
	return n
}

// Counts says what was looked at.
type Counts struct {
	Inodes      int64 `json:"inodes"`
	Directories int64 `json:"directories"` // the root and buckets included
	Files       int64 `json:"files"`       // regular ones
	Symlinks    int64 `json:"symlinks"`
	Special     int64 `json:"special"` // devices, fifos, sockets
	Buckets     int64 `json:"buckets"`
	Entries     int64 `json:"entries"`
	Unnamed     int64 `json:"unnamed"` // inodes without a name that wait to be deleted
	// Records counts the records of each kind, by record.Kind's name.
	Records map[string]int64 `json:"records"`
	// Blocks counts the blocks of 4096 bytes that are not holes.
	Blocks int64 `json:"blocks"`
	// VerifiedBytes is how much of the contents was opened and found good.
	VerifiedBytes int64 `json:"verified_bytes"`
}

// LockedKey is a key that the files under it could not be checked with.
type LockedKey struct {
	KeyID  string `json:"key_id"`
	Reason string `json:"reason"`
	Files  int64  `json:"files"`
}

// Severity says how bad a problem is.
type Severity int

// The severities.
const (
	// Error: something is lost, is not what was written, or will be lost.
	Error Severity = iota
	// Warning: something is there that should not be. Nothing is lost by it.
	Warning
)

// String returns "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText returns what String does.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Kind classifies problems. The values are stable, for scripts.
type Kind string

// The kinds of problems.
const (
	UnknownKey   Kind = "unknown-key"   // a key that no record has
	Unreadable   Kind = "unreadable"    // a record that does not open or decode
	StoreFailure Kind = "store-failure" // the store could not deliver a record
	TooNew       Kind = "too-new"       // a record newer than the head
	Head         Kind = "head"          // the head is missing or of another version
	Rollback     Kind = "rollback"      // the volume is older than it was at its last unmount
	Totals       Kind = "totals"        // counters of the head or of a bucket
	Settings     Kind = "settings"      // the settings are missing or of another version
	BucketSet    Kind = "bucket-set"    // buckets missing, added or rolled back
	Bucket       Kind = "bucket"        // one bucket, or an inode's bucket
	InodeSet     Kind = "inode-set"     // inodes of a bucket missing, added or rolled back
	EntrySet     Kind = "entry-set"     // entries of a directory missing, added or altered
	Entry        Kind = "entry"         // an entry that names the wrong thing, or nothing
	Parent       Kind = "parent"        // a directory that believes to be elsewhere
	Links        Kind = "links"         // a link count
	Unnamed      Kind = "unnamed"       // an inode that no entry names
	Loop         Kind = "loop"          // directories that name each other
	Orphan       Kind = "orphan"        // an orphan record
	Pending      Kind = "pending"       // a pending record
	Map          Kind = "map"           // an extent map node missing or of another version
	MapUnlisted  Kind = "map-unlisted"  // an extent map node that the map does not list
	Blocks       Kind = "blocks"        // block counts, or blocks past the end of the file
	Data         Kind = "data"          // a data record missing or of another size
	DataUnlisted Kind = "data-unlisted" // a data record that the map does not name
	Contents     Kind = "contents"      // blocks that do not open
	Pack         Kind = "pack"          // the count of live blocks of a shared data record
	Xattr        Kind = "xattr"         // extended attributes missing or of another version
	Envelope     Kind = "envelope"      // a data key that does not parse or unwrap
	Stray        Kind = "stray"         // records of an inode that has no such records
)

// Problem is one thing that is wrong.
type Problem struct {
	Kind     Kind     `json:"kind"`
	Severity Severity `json:"severity"`
	// Inode is the inode concerned, 0 for none; for problems of a bucket, its
	// directory.
	Inode uint64 `json:"inode,omitempty"`
	// Path is where the inode is, "" if the problem is not one of an inode. It
	// begins with "/" if it is known up to the root, else with "<inode N>".
	Path string `json:"path,omitempty"`
	// Range is the part of the file's contents concerned, nil if not one part.
	Range   *Range `json:"range,omitempty"`
	Message string `json:"message"`
}

// Range is a range of bytes of a file.
type Range struct {
	Offset uint64 `json:"offset"`
	Length uint64 `json:"length"`
}

// String describes the problem in one line.
func (p *Problem) String() string {
	where := p.Path
	if where == "" {
		where = "volume"
	}
	if p.Range != nil {
		where += fmt.Sprintf(" [bytes %d to %d]", p.Range.Offset, p.Range.Offset+p.Range.Length-1)
	}
	return fmt.Sprintf("%s: %s (%s)", where, p.Message, p.Kind)
}

// finding is a problem whose path is not known yet.
type finding struct {
	Problem
	dir  uint64 // set: the path is this directory's, and name
	name string
}

func sortFindings(f []finding) {
	slices.SortStableFunc(f, func(a, b finding) int {
		offset := func(f *finding) uint64 {
			if f.Range == nil {
				return 0
			}
			return f.Range.Offset
		}
		return cmp.Or(
			cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Inode, b.Inode),
			cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(offset(&a), offset(&b)),
		)
	})
}
