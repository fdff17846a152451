// Package kms is the embedded key management service of a volume: it keeps the
// service master key, the customer master keys (CMKs) and their life cycle, and
// it makes, wraps and unwraps the data keys of files.
//
// # What it keeps
//
// Everything lives in one sealed keystore, held as two files with the same
// bytes, keystore.a and keystore.b. A keystore has a generation number that
// every change raises by one; the store's sealed head record names the
// generation that was last completed. The invariants:
//
//   - A change is written as copy a, then the generation is recorded in the
//     head, then copy b. Recording is the commit point.
//   - A copy is used only if it authenticates and its generation is the head's,
//     or, for copy a, the head's plus one (written, not yet recorded). An older
//     one is never used by itself: it would bring back disabled keys and deleted
//     material. See [ErrRollback].
//   - One bad copy is mended from the other, loudly.
//   - No two different states that were in effect have the same generation.
//   - Key material is in the clear in locked memory only. Buffers that held an
//     encoded keystore are wiped. What cannot be wiped are the cipher schedules
//     that Go's AES keeps and, while an import is open, its RSA private key.
//   - A key ID is random and never used twice: a deleted key leaves a tombstone.
//
// # Who may use what
//
// Every use of a CMK comes with a [Caller]. A key is usable by those that hold a
// grant on it: at first the uid that created it; uid 0 is no exception. The
// managed default key alias/acs/oss needs no grants, there file permissions
// decide. Management calls carry a [By] and are not restricted here: who reaches
// the control socket may manage keys.
//
// # Uses and changes
//
// Using a key takes the read side of one RWMutex and never waits for a disk,
// with one exception: the first use of the default CMK creates it. Changes are
// serialised by a second mutex which is held across the keystore's write, and
// so while [Options].RecordGeneration runs; that function must not call back
// into the service. Subscribers run with no lock held, after the change is
// durable and in effect, before its caller hears of it.
//
// Data keys of KMS files are wrapped by bucket keys, which the CMK wraps; see
// bucketkey.go. The state of the CMK and the caller's grants are checked for each
// data key all the same.
//
// # What it records
//
// Uses of CMKs are counted. What is done to keys is written to the audit log
// before it is done, and not done if it cannot be written; refused uses are
// written within a second or so, other uses are summed up. See audit.go for what
// the log's chain shows, and [Service.Run] for who writes it.
package kms
