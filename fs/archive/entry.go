package archive

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// summed is how many bytes of a value the listing has a checksum of: a sealed
// block of a file, tag included. Everything in a store is sealed anew under a
// random nonce each time, so that this tells two values under one key apart, those of
// the same version too, which stores have that were copied and went different ways. Reading
// all of each value would make an incremental backup as slow as a full one.
const summed = 4112

// Bounds of what a frame holds, in bytes.
const (
	maxKey  = 512
	maxBody = 32 << 20
	maxName = 255
	// maxFiles bounds all files together: they are read before anything can be authenticated.
	maxFiles = 64 << 20
)

// Entry is a record as the listing has it.
type Entry struct {
	Key []byte
	// Version is the number of the commit that stored the record, or of a later one
	// that it was brought into the database with. So a record that changed since a
	// version is above that, and one that did not may be.
	Version uint64
	Size    uint64 // of the value, in bytes
	Sum     uint32 // see Sum
}

// Sum returns the checksum that the listing has of a value.
func Sum(value []byte) uint32 {
	return crc32.Checksum(value[:min(len(value), summed)], crc32.MakeTable(crc32.Castagnoli))
}

// Same tells whether two entries are of the same record with the same value. Its
// version may have grown: see Version.
func (e Entry) Same(o Entry) bool {
	return e.Size == o.Size && e.Sum == o.Sum && bytes.Equal(e.Key, o.Key)
}

// appendEntry appends an entry of the listing that follows one with the key
// before, or is the first of its frame.
func appendEntry(dst, before []byte, e Entry) []byte {
	shared := commonPrefix(before, e.Key)
	dst = binary.AppendUvarint(dst, uint64(shared))
	dst = binary.AppendUvarint(dst, uint64(len(e.Key)-shared))
	dst = append(dst, e.Key[shared:]...)
	dst = binary.AppendUvarint(dst, e.Version)
	dst = binary.AppendUvarint(dst, e.Size)
	return binary.BigEndian.AppendUint32(dst, e.Sum)
}

func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// body is what is left of a frame to be decoded.
type body struct {
	b   []byte
	err error
}

func (d *body) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, a...)...)
	}
}

// num decodes a number in its shortest form.
func (d *body) num() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.fail("a number")
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *body) bytes(n, limit uint64, what string) []byte {
	if n > limit || n > uint64(len(d.b)) {
		d.fail("%s of %d bytes", what, n)
		d.b = nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

// entry decodes an entry of the listing; before is the key before it in the
// frame. The key is made in buf.
func (d *body) entry(before, buf []byte) Entry {
	shared := d.num()
	if shared > uint64(len(before)) {
		d.fail("a shared prefix of %d bytes", shared)
		return Entry{}
	}
	rest := d.bytes(d.num(), maxKey, "a key")
	e := Entry{Key: append(append(buf[:0], before[:shared]...), rest...)}
	if len(e.Key) == 0 || len(e.Key) > maxKey || commonPrefix(before, e.Key) != int(shared) {
		d.fail("a key")
	}
	e.Version, e.Size = d.num(), d.num()
	if sum := d.bytes(4, 4, "a checksum"); sum != nil {
		e.Sum = binary.BigEndian.Uint32(sum)
	}
	return e
}

// appendRecord appends a record.
func appendRecord(dst []byte, key []byte, version uint64, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, version)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// record decodes a record, in place.
func (d *body) record() (Entry, []byte) {
	e := Entry{Key: d.bytes(d.num(), maxKey, "a key")}
	e.Version = d.num()
	value := d.bytes(d.num(), maxBody, "a value")
	if len(e.Key) == 0 {
		d.fail("a key")
	}
	e.Size, e.Sum = uint64(len(value)), Sum(value)
	return e, value
}
