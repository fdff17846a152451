// Package crypto is the cryptography of ssefs: the key hierarchy, the sealing of metadata records and file
// contents, the keyed hashes of names and sets, and the codecs of what describes keys (policy, envelope,
// volume header). It does no I/O and imports no sibling package: bytes come in, bytes go out.
//
// # Key hierarchy
//
//	passphrase (Argon2id) or key file (HKDF) -> slot key -> root key, one per volume, random
//	root key (HKDF-SHA256, salt = volume ID) -> metadata, names, set hash, keystore, header, backup keys
//	keystore -> master key versions (package kms) -> data key (DEK) of one file, in an Envelope
//	DEK -> one derived key per data record (part of XAES-256-GCM)
//
// # Primitives, and why these
//
// Everything sealed is sealed with XAES-256-GCM (C2SP): its 192-bit nonces are drawn at random (which part of
// them for each sealing, RecordSealer and FileCipher say), so there is no counter to keep. An old copy of the store may be restored and written again under
// the same keys without repeating a nonce, which would be fatal with the 96-bit nonces or counters of plain
// GCM. Underneath it is the AES-GCM of the standard library, in hardware on every machine that matters.
// At least 96 bits of each come straight from the operating system, never from a buffer in this process: a
// virtual machine resumed twice from one snapshot would otherwise draw the same buffered nonces twice.
//
// Everything hashed under a key is HMAC-SHA256, whose security as a pseudorandom function is the least
// disputed there is. Keys are derived with HKDF-SHA256, the standard construction over the same primitive.
// Passphrases are stretched with Argon2id, the memory-hard function of RFC 9106.
//
// # Invariants
//
//   - Every use has its own associated data, which begins with an 8-byte label of its own. What was sealed as
//     one kind of thing never opens as another, even if two uses were given the same key by mistake.
//   - Associated data is of fixed-width fields, with at most one field of variable length at the end or with
//     its length before it: no two contexts have the same encoding.
//   - Raw keys live in Key: off the Go heap, locked into memory, kept out of core dumps, wiped on Wipe, and
//     never printed.
//   - A block is sealed at most once under a record's salt and index.
//
// # What is not protected
//
// The key schedules that crypto/aes and crypto/cipher expand, and the states inside crypto/hmac, live on the
// Go heap and cannot be wiped: dropping the last reference to a sealer leaves them to the garbage collector.
// The same holds for the working memory of Argon2 and HKDF. Somebody who reads this process's memory, or its
// swapped-out heap, can find them. On processors without AES instructions the standard library's GCM is slow,
// and not constant-time. See SECURITY.md.
package crypto
