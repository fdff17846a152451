package kms

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"ssefs/crypto"
)

// The keystore file is
//
//	8   magic "ssefsKMS"
//	2   format version, 1
//	24  nonce  \
//	n   content, encrypted, and a tag of 16 bytes, sealed with AAD =
//	           "ssefs keystore" 0 || format version || volume ID (16)
//
// Numbers are big endian. Times are nanoseconds since 1970 in 8 bytes, signed,
// 0 for none. A text is its length in 2 bytes and its bytes. The content is
//
//	8   generation
//	8   time of creation
//	80  the last records of the audit chains, of keys and of uses: for each
//	    8 number, 32 chain value, both 0 before the first
//	    ring of the service master key
//	    ring of the key for files of none buckets
//	4   number of keys, then each, in ascending order of ID
//	4   number of aliases, then each, in ascending order of name:
//	    text name, 16 key ID
//
// A ring is
//
//	8   interval of automatic rotation, ns, 0 for none
//	4   number of versions, then each, in ascending order of number:
//	    4 number, 8 time of creation, 1 material (0 none, 1 present), 32 material if present
//
// A key is
//
//	16  ID
//	1   origin: 1 KMS, 2 EXTERNAL
//	1   flags: 1 managed, 2 deletion protection, 4 disabled, 8 material expired,
//	    16 an import is open
//	4   uid of the creator
//	8   time of creation
//	8   day of deletion, 0 if not scheduled
//	8   time of deletion, 0 if it did not happen: a tombstone, without versions
//	    text description, text region, ring
//	4   number of grants, then each: 1 kind (1 user, 2 group), 4 uid or gid, 1 operations
//	EXTERNAL only:
//	32  fingerprint of the material, 0 before the first import
//	8   end of the material, 0 for never
//	    with an open import: 32 hash of the token, 8 end of the token, text RSA private key (PKCS #8)
//
// Every value has one encoding, and a decoder accepts no other: unknown flags,
// trailing bytes, wrong order and references to unknown keys are errors.
const (
	magic         = "ssefsKMS"
	formatVersion = 1
	headerSize    = len(magic) + 2

	materialSize = 32
	maxVersions  = 10000
	maxGrants    = 4096

	flagManaged   = 1
	flagProtected = 2
	flagDisabled  = 4
	flagExpired   = 8
	flagImport    = 16
	flagsKnown    = 31
)

// seal returns the keystore file of m.
func seal(m *model, aead *crypto.AEAD, volume crypto.VolumeID) []byte {
	// Counting first keeps the content in one buffer that can be wiped.
	count := encoder{counting: true}
	count.model(m)
	enc := encoder{b: make([]byte, 0, count.n)}
	defer func() { clear(enc.b[:cap(enc.b)]) }()
	enc.model(m)

	file := make([]byte, 0, headerSize+len(enc.b)+crypto.SealOverhead)
	file = append(file, magic...)
	file = binary.BigEndian.AppendUint16(file, formatVersion)
	return aead.Seal(file, enc.b, keystoreAAD(volume))
}

// unseal decodes a keystore file. The error wraps crypto.ErrVersion for a format
// that this program does not know, crypto.ErrAuth or crypto.ErrFormat otherwise.
func unseal(file []byte, aead *crypto.AEAD, volume crypto.VolumeID) (*model, error) {
	if len(file) < headerSize+crypto.SealOverhead || string(file[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: not a keystore (%d bytes)", crypto.ErrFormat, len(file))
	}
	if v := binary.BigEndian.Uint16(file[len(magic):]); v != formatVersion {
		return nil, fmt.Errorf("%w: keystore format %d, this program knows %d", crypto.ErrVersion, v, formatVersion)
	}
	buf := make([]byte, 0, len(file)-headerSize-crypto.SealOverhead)
	defer func() { clear(buf[:cap(buf)]) }()
	plain, err := aead.Open(buf, file[headerSize:], keystoreAAD(volume))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return decode(plain)
}

func keystoreAAD(volume crypto.VolumeID) []byte {
	aad := append([]byte("ssefs keystore\x00"), 0, formatVersion)
	return append(aad, volume[:]...)
}

// encoder appends to b, or only counts the bytes.
type encoder struct {
	b        []byte
	n        int
	counting bool
}

func (e *encoder) bytes(p []byte) {
	if e.counting {
		e.n += len(p)
		return
	}
	e.b = append(e.b, p...)
}

func (e *encoder) uint(v uint64, size int) {
	var p [8]byte
	binary.BigEndian.PutUint64(p[:], v)
	e.bytes(p[8-size:])
}

func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0, 8)
		return
	}
	e.uint(uint64(t.UnixNano()), 8)
}

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)), 2)
	e.bytes([]byte(s))
}

func (e *encoder) model(m *model) {
	e.uint(m.generation, 8)
	e.time(m.created)
	for _, a := range m.audit {
		e.uint(a.seq, 8)
		e.bytes(a.chain[:])
	}
	e.ring(&m.service)
	e.ring(&m.clear)
	e.uint(uint64(len(m.keys)), 4)
	for _, id := range slices.Sorted(maps.Keys(m.keys)) {
		e.key(m.keys[id])
	}
	e.uint(uint64(len(m.aliases)), 4)
	for _, name := range slices.Sorted(maps.Keys(m.aliases)) {
		e.text(name)
		id, _ := parseID(m.aliases[name])
		e.bytes(id[:])
	}
}

func (e *encoder) ring(r *ring) {
	e.uint(uint64(r.every), 8)
	e.uint(uint64(len(r.versions)), 4)
	for _, v := range r.versions {
		e.uint(uint64(v.number), 4)
		e.time(v.created)
		if v.key == nil {
			e.uint(0, 1)
			continue
		}
		e.uint(1, 1)
		e.bytes(v.key.Bytes())
	}
}

func (e *encoder) key(k *cmk) {
	id, _ := parseID(k.id)
	e.bytes(id[:])
	e.uint(uint64(k.origin), 1)
	var flags uint64
	for _, f := range []struct {
		set  bool
		flag uint64
	}{
		{k.managed, flagManaged},
		{k.protected, flagProtected},
		{k.disabled, flagDisabled},
		{k.imported.expired, flagExpired},
		{k.imported.private != nil, flagImport},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	e.uint(flags, 1)
	e.uint(uint64(k.creator), 4)
	e.time(k.created)
	e.time(k.deletion)
	e.time(k.deleted)
	e.text(k.description)
	e.text(k.region)
	e.ring(&k.ring)
	e.uint(uint64(len(k.grants)), 4)
	for _, g := range k.grants {
		e.uint(uint64(g.Kind), 1)
		e.uint(uint64(g.ID), 4)
		e.uint(uint64(g.Ops), 1)
	}
	if k.origin != OriginExternal {
		return
	}
	e.bytes(k.imported.fingerprint[:])
	e.time(k.imported.expires)
	if k.imported.private != nil {
		e.bytes(k.imported.token[:])
		e.time(k.imported.tokenEnds)
		e.uint(uint64(len(k.imported.private)), 2)
		e.bytes(k.imported.private)
	}
}

// compareGrants orders the grants of a key.
func compareGrants(a, b Grant) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	return bytes.Compare(binary.BigEndian.AppendUint32(nil, a.ID), binary.BigEndian.AppendUint32(nil, b.ID))
}
