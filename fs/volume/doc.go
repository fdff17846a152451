// Package volume is the drive's engine: inodes, names, file contents and
// their journey into the store. The package fs puts FUSE in front of it.
//
// # Epochs
//
// Changes apply to inodes in memory and belong to the current epoch. A commit
// closes the epoch: it stops changes for a moment (epochMu held exclusively),
// maps the dirty blocks of the files to be flushed to new data records, encodes
// every inode that changed, and opens the next epoch. Everything that happens
// after that moment belongs to the next epoch; sealing and storing the closed
// one goes on beside it. An epoch is one transaction of the store, so that
// after a crash the volume is as it was at the end of some epoch.
//
// The store's committed version and the inodes in memory together are the
// state of the volume: an inode with changes that are not yet durable stays in
// memory (it is pinned by its epoch), and a directory keeps its changed entries
// of the current and of the closing epoch beside its inode.
//
// # Data
//
// A WRITE copies into blocks of the arena, which hang off the inode's dirty
// chunks. Mapping them to a data record (mapDirty) moves them to the record's
// flight, from where they are sealed and where readers find them until the
// record is stored. A record that is stored is never changed; a rewrite of a
// block is a new record, and what is not mapped any more is deleted by the
// epoch that stopped mapping it. Big files are stored before their epoch, in
// transactions that also list the records as pending, so that a crash leaves
// nothing behind that mount would not find and delete.
//
// # Locks, in the order in which they are taken
//
//	Volume.renameMu    renames that involve two directories, one at a time
//	Volume.commitMu    one commit or early flush at a time
//	Volume.epochMu     held shared by every change (a bracket), exclusively
//	                   while an epoch is closed; never taken twice by one caller
//	Inode.mu           directories before what lies in them, of two directories
//	                   the ancestor first, else by number; then other inodes by
//	                   number
//	everything else    (table shards, epoch lists, arena, buckets) guards a few
//	                   fields and is held while nothing else is taken
//
// A caller that waits for a commit or for room in the arena holds none of
// these. Key management is called with none of these held.
package volume
