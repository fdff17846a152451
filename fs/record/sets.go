package record

import "encoding/binary"

// Domains of the set hashes, which keep their elements apart.
const (
	EntrySet  = 'E' // a directory's entries: EntryElement
	InodeSet  = 'I' // a bucket's inodes: VersionElement
	BucketSet = 'B' // the volume's buckets: VersionElement
)

// EntryElement is what stands for a directory entry in its directory's set
// hash: the entry's key, which has the hash of the name, the inode and the file
// type. The version is not part of it.
func EntryElement(dir uint64, h NameHash, e Entry) []byte {
	b := make([]byte, 0, 1+8+len(h)+8+1)
	b = append(b, byte(KindEntry))
	b = binary.BigEndian.AppendUint64(b, dir)
	b = append(b, h[:]...)
	b = binary.BigEndian.AppendUint64(b, e.Inode)
	return append(b, byte(e.Type>>12))
}

// VersionElement is what stands for a version of an inode or bucket record in
// the set hash above it: number and version.
func VersionElement(id, version uint64) []byte {
	b := make([]byte, 0, 16)
	b = binary.BigEndian.AppendUint64(b, id)
	return binary.BigEndian.AppendUint64(b, version)
}
