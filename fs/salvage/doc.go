// Package salvage copies out of a volume what can still be read of it, into
// ordinary directories and files. It only reads records, and needs none of them
// to be there: neither the head nor the root directory.
//
// Nothing is copied that does not authenticate. Ranges of a file that cannot be
// read are holes in the copy and are listed in the report, each with its bytes.
// Names that are lost become numbers in lost+found of the bucket. Where an older
// record may have taken the place of a lost one, as the set hashes tell, the
// report says of which directory or bucket.
//
// # How
//
// One pass over the inodes remembers 24 bytes for each. Then the tree is walked
// from the root, one directory's entries in memory at a time, and what that did
// not reach is walked from wherever it begins. All output goes by descriptors of
// directories, never by paths, so that neither the length of a path nor a
// symbolic link that was copied before leads anywhere else.
package salvage
