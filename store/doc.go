// Package store keeps opaque records in one Badger database inside a locked
// store directory. It sees ciphertext and opaque bytes only and knows nothing
// of keys, names or files.
//
// A [Dir] is a store directory owned by this process: creation that survives
// being killed at any point, the owner lock, and the few files that live beside
// the database. A [DB] is the database in it.
//
// # Invariants
//
//   - A directory is a store once volume.json exists in it, and that file is
//     written last. Before that, anything found in it is an unfinished creation
//     or somebody else's, and is never opened.
//   - One process owns a store. The lock is an flock on the file "lock", which
//     is never removed, so that there is only ever one inode to lock.
//   - Commits are numbered from 1 without gaps. Commit N is an entry of the
//     journal or one Badger transaction with commit timestamp N; what is in the
//     journal gets into Badger several commits at a time, before any later one.
//     After any crash the store holds commits 1 to M whole and nothing of the
//     others, with M at least the last acknowledged one.
//   - A commit that failed may or may not be on disk and may even be readable
//     in part. The DB then refuses all further commits ([ErrFailed]) and keeps
//     serving reads at the last acknowledged version; opening it again settles
//     the question.
//   - Reads never wait for a commit. They go through a [View], a snapshot at
//     one version, and nothing a live View can read is ever discarded.
//   - Badger writes through shared mappings, where a full disk is SIGBUS and
//     the end of the process. So the space a commit needs is allocated before
//     it starts, and space for flushing and compaction is held back.
//   - Reads touch mapped files too. A failing disk or a truncated file turns
//     into [ErrIO], a damaged structure into [ErrDamaged], not into a crash.
//
// Lock order: DB.reclaimMu, DB.journalMu, DB.commitMu, Dir.mu. Readers take none.
//
// Keys whose first byte is 0xFF belong to this package and are invisible to
// callers.
package store
