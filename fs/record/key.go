// Package record defines the metadata records of a volume: the keys they are
// stored under and the plaintext inside their sealed values. FORMAT.md
// describes both byte by byte.
//
// The package is pure: it neither seals nor stores. Decoders accept exactly
// what encoders produce: an unknown layout, a count out of bounds, a number
// that is not in its shortest form or a byte too many is ErrFormat, so that
// decoding and encoding again gives the same bytes.
package record

import "encoding/binary"

// Kind is the first byte of a key and tells what the record is.
type Kind byte

// The kinds of records. Data records hold sealed file contents and are not
// sealed as records; see the crypto package.
const (
	KindHead     Kind = 'H' // volume head: H
	KindSettings Kind = 'S' // volume settings: S
	KindBucket   Kind = 'B' // bucket: B bucket(8)
	KindInode    Kind = 'I' // inode: I inode(8)
	KindEntry    Kind = 'E' // directory entry: E parent(8) name-hash(16)
	KindMap      Kind = 'M' // extent map node: M inode(8) level(1) index(8)
	KindXattr    Kind = 'X' // extended attributes: X inode(8)
	KindPack     Kind = 'R' // live blocks of a shared data record: R inode(8) record(8)
	KindData     Kind = 'D' // file contents: D inode(8) record(8)
	KindPending  Kind = 'P' // data records that no map names yet: P number(8)
	KindOrphan   Kind = 'O' // inode to be deleted: O inode(8)
)

// String names the kind as log lines and fsck do.
func (k Kind) String() string {
	switch k {
	case KindHead:
		return "head"
	case KindSettings:
		return "settings"
	case KindBucket:
		return "bucket"
	case KindInode:
		return "inode"
	case KindEntry:
		return "directory entry"
	case KindMap:
		return "extent map"
	case KindXattr:
		return "xattr"
	case KindPack:
		return "pack"
	case KindData:
		return "data"
	case KindPending:
		return "pending"
	case KindOrphan:
		return "orphan"
	}
	return "unknown"
}

// Numbers that every volume has.
const (
	RootInode  = 1 // the root directory
	RootBucket = 0 // the bucket of the root directory, and of nothing else
)

// BucketDir returns the inode of a bucket's directory.
func BucketDir(bucket uint64) uint64 {
	if bucket == RootBucket {
		return RootInode
	}
	return bucket // it has the directory's number
}

// NameHash is the keyed hash of a directory entry's parent and name.
type NameHash [16]byte

// firstHashCookie is the smallest cookie of a hashed entry: 0 is the start of
// a directory, 1 and 2 stand after "." and "..".
const firstHashCookie = 3

// Cookie returns the stable readdir position just after the entry: the top 63
// bits of the hash, but never one of the positions of the dot entries.
func (h NameHash) Cookie() uint64 {
	return max(binary.BigEndian.Uint64(h[:8])>>1, firstHashCookie)
}

// HashAfter returns the smallest hash whose cookie is greater than cookie, and
// false when there is none.
func HashAfter(cookie uint64) (NameHash, bool) {
	var h NameHash
	if cookie < firstHashCookie {
		return h, true
	}
	if cookie >= 1<<63-1 {
		return h, false
	}
	binary.BigEndian.PutUint64(h[:8], (cookie+1)<<1)
	return h, true
}

func key1(k Kind, a uint64) []byte {
	b := make([]byte, 9, 32)
	b[0] = byte(k)
	binary.BigEndian.PutUint64(b[1:], a)
	return b
}

// HeadKey is the key of the volume's head record.
func HeadKey() []byte { return []byte{byte(KindHead)} }

// SettingsKey is the key of the volume's settings record.
func SettingsKey() []byte { return []byte{byte(KindSettings)} }

// BucketKey is the key of a bucket record.
func BucketKey(bucket uint64) []byte { return key1(KindBucket, bucket) }

// InodeKey is the key of an inode record.
func InodeKey(ino uint64) []byte { return key1(KindInode, ino) }

// EntryKey is the key of a directory entry.
func EntryKey(parent uint64, h NameHash) []byte { return append(key1(KindEntry, parent), h[:]...) }

// MapKey is the key of an extent map node.
func MapKey(ino uint64, level uint8, index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(key1(KindMap, ino), level), index)
}

// XattrKey is the key of an inode's extended attributes.
func XattrKey(ino uint64) []byte { return key1(KindXattr, ino) }

// PackKey is the key of a shared data record's count.
func PackKey(ino, rec uint64) []byte { return binary.BigEndian.AppendUint64(key1(KindPack, ino), rec) }

// DataKey is the key of a data record.
func DataKey(ino, rec uint64) []byte { return binary.BigEndian.AppendUint64(key1(KindData, ino), rec) }

// PendingKey is the key of a pending record.
func PendingKey(n uint64) []byte { return key1(KindPending, n) }

// OrphanKey is the key of an orphan record.
func OrphanKey(ino uint64) []byte { return key1(KindOrphan, ino) }

// Prefix is the common start of all keys of one kind, and of one inode,
// bucket or parent directory where ids are given.
func Prefix(k Kind, ids ...uint64) []byte {
	b := []byte{byte(k)}
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return b
}

// Key is a parsed record key.
type Key struct {
	Kind  Kind
	ID    uint64   // inode, bucket, parent directory or pending number
	Sub   uint64   // data record or map index
	Level uint8    // of a map node
	Hash  NameHash // of a directory entry
}

// ParseKey splits a record key. Anything that is not a key of a known kind in
// its exact length is ErrFormat.
func ParseKey(b []byte) (Key, error) {
	if len(b) == 0 {
		return Key{}, formatError("empty key")
	}
	k := Key{Kind: Kind(b[0])}
	want := 9
	switch k.Kind {
	case KindHead, KindSettings:
		want = 1
	case KindBucket, KindInode, KindXattr, KindPending, KindOrphan:
	case KindPack, KindData:
		want = 17
	case KindMap:
		want = 18
	case KindEntry:
		want = 25
	default:
		return Key{}, formatError("unknown kind of record %#x", b[0])
	}
	if len(b) != want {
		return Key{}, formatError("key of %d bytes for a record of kind %s", len(b), k.Kind)
	}
	if want > 1 {
		k.ID = binary.BigEndian.Uint64(b[1:])
	}
	switch k.Kind {
	case KindPack, KindData:
		k.Sub = binary.BigEndian.Uint64(b[9:])
	case KindMap:
		k.Level, k.Sub = b[9], binary.BigEndian.Uint64(b[10:])
	case KindEntry:
		copy(k.Hash[:], b[9:])
	}
	return k, nil
}
