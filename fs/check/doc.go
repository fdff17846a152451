// Package check is the fsck of a volume: it reads every record of a snapshot
// and tells what is missing, altered, older than the rest, or should not be
// there. It changes nothing.
//
// # What it finds
//
// Every record must have a well-formed key, open under the volume's metadata
// key and decode, and be no newer than the head. On top of that records must
// agree with one another:
//
//   - the head with the version of the snapshot, with its copy from the last
//     clean unmount, with the settings' version and with the totals;
//   - the buckets with the head's set hash, each bucket's inodes with the
//     bucket's set hash and count. This is what finds a file or directory that
//     was rolled back or removed together with all its records;
//   - each directory's entries with the directory's set hash and counts, their
//     hashes with their names, the inodes they name with their type and bucket;
//   - link counts with names, directories' parents with where they are named;
//     directories that the root does not reach;
//   - orphan and pending records with what they announce to be deleted;
//   - extent map nodes with the versions and block counts they are listed by,
//     data and pack records with the map, xattr records with the inode;
//   - envelopes with their keys, as far as a key service is given and the keys
//     can be used: files under a key that was disabled, expired or deleted are
//     counted apart, for that is no damage.
//
// With VerifyContents every mapped block of every file is opened as well.
//
// # What it does not find
//
// The whole store put back to an older complete state, with the copy of the
// head beside it. Which inode was rolled back together with all its records:
// the report names the bucket. What waits to be deleted (files without a name, records that
// a truncate left for later) may be there or not, in full or in part, and is
// not looked into further than its kind and key. Without VerifyContents a data
// record counts as good when it exists and has the right size.
//
// # How
//
// Records are read in key order, one pass over the inodes with everything that
// hangs off them and one over the directory entries. What must be remembered
// meanwhile is 32 bytes for an inode and 64 more for a directory, and for one
// file at a time a window of its data records, so that memory does not grow
// with the size of files.
//
// A snapshot may be taken of a mounted volume at any time: every version of
// the store is a consistent state, in which open files without a name have
// orphan records.
package check
