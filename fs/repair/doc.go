// Package repair makes a damaged volume consistent again, with what can still be
// authenticated of it.
//
// # What it does
//
// It never makes up bytes of a file and never drops those that can be read:
//
//   - A file whose inode record is lost is gone, for its data key was in there.
//     Its entries and the rest of its records are dropped.
//   - Contents that cannot be read, because a data record or a node of the extent
//     map is missing, altered or of another version, stay as they are: reading
//     them goes on to be EIO. A hole would read as zeros that nobody wrote. A check
//     lists these ranges until the file is removed or they are written over.
//   - A directory whose inode record is lost is made anew under its number, if
//     entries of it are there, so that these keep their names.
//   - What has lost its name gets one in lost+found of its bucket, a directory
//     made for it if need be; a bucket gets one in the root.
//   - Entries that name nothing, or something that cannot be there, are dropped,
//     and all but one of the entries that name the same directory.
//   - Extended attributes that cannot be read are dropped, and with them the
//     permissions of the group: they were the mask of an ACL if there was one.
//   - Everything that only counts, or says what is to be deleted, is worked out
//     anew: link counts, set hashes, blocks, packs, totals, orphan and pending
//     records, and what no map names is deleted.
//
// # How
//
// A survey reads the whole volume and makes a plan. Memory grows with the number
// of inodes (64 bytes each, 160 for a directory), and with the damage. Then the plan is carried
// out in transactions, each of which is a whole epoch: it holds the head, and the
// set hash and counts of each bucket agree with its inodes after every one. The
// first makes head, settings and buckets agree with what the survey found. So
// ending at any point leaves a volume that is no worse than before, and a
// repair begun anew finishes what is left.
package repair
