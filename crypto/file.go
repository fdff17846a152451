package crypto

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

// SaltSize is the size of a record's salt, in bytes. Together with a block's 32-bit index it is a nonce.
const SaltSize = nonceSize - 4

// Salt is the random part of the nonces of one data record. The extent map keeps it, inside a sealed record,
// so that an older data record put back in the same place does not open.
type Salt [SaltSize]byte

// NewSalt draws a salt. Draw one for every record that is sealed, never reuse one.
func NewSalt() Salt {
	var s Salt
	randomBytes(s[:])
	return s
}

// FileContext is what the contents and the envelope of a file are bound to. Names are not part of it, so that
// renaming is free.
type FileContext struct {
	Volume VolumeID
	Bucket uint64
	Inode  uint64
}

// ContentMode says how contents are stored. The zero value is no mode: forgetting it must not mean Clear. A
// data key serves one mode only.
type ContentMode uint8

const (
	// Encrypted stores contents as AES-256-GCM ciphertext.
	Encrypted ContentMode = iota + 1
	// Clear stores contents as they are, authenticated as associated data of an empty message: anybody can
	// read them, and nobody without the key can change them. Sizes and layout are those of Encrypted.
	Clear
)

const (
	labelEncrypted = "ssefsdt1"
	labelClear     = "ssefscl1"
	// contextSize is the size of a block's associated data without Clear contents: label, volume, bucket,
	// inode and logical block; three AES blocks.
	contextSize = 8 + 16 + 8 + 8 + 8
)

// recordCacheSize is how many derived keys a file keeps. Sequential access needs one or two, random reads of
// a packed file a few more; a miss costs less than decrypting a block, so a large cache would only cost
// memory.
const recordCacheSize = 8

// FileCipher seals and opens the contents of one file under its data key. Safe for concurrent use.
type FileCipher struct {
	mode    ContentMode
	context [contextSize]byte // the last 8 bytes, the logical block, are filled in per block
	kdf     atomic.Pointer[AEAD]
	cache   [recordCacheSize]atomic.Pointer[RecordCipher]
	next    atomic.Uint32 // where the next derived key goes: the oldest is dropped
}

// NewFileCipher returns the cipher of the file fc under its data key k, which it does not need afterwards.
// ErrWiped when k was wiped, ErrFormat for an unknown mode.
func NewFileCipher(k *Key, mode ContentMode, fc FileContext) (*FileCipher, error) {
	c := &FileCipher{mode: mode}
	label := labelEncrypted
	switch mode {
	case Encrypted:
	case Clear:
		label = labelClear
	default:
		return nil, fmt.Errorf("%w: content mode %d", ErrFormat, mode)
	}
	kdf, err := newKDF(k)
	if err != nil {
		return nil, err
	}
	c.kdf.Store(kdf)
	fc.append(append(c.context[:0], label...))
	return c, nil
}

// append appends volume, bucket and inode, 32 bytes.
func (fc FileContext) append(b []byte) []byte {
	b = append(b, fc.Volume[:]...)
	b = binary.BigEndian.AppendUint64(b, fc.Bucket)
	return binary.BigEndian.AppendUint64(b, fc.Inode)
}

// Wipe makes Record fail from now on and forgets the keys. RecordCiphers already handed out go on working
// until they are dropped, so the caller drains operations in flight first. Key schedules are left to the
// garbage collector.
func (c *FileCipher) Wipe() {
	c.kdf.Store(nil)
	for i := range c.cache {
		c.cache[i].Store(nil)
	}
}

// RecordCipher seals and opens the blocks of one data record. Safe for concurrent use.
type RecordCipher struct {
	gcm     cipher.AEAD
	salt    Salt
	mode    ContentMode
	context [contextSize]byte
	sealed  [MaxRecordBlocks / 32]atomic.Uint32 // a bit per index that SealBlock has used
}

// Record returns the cipher of the record with that salt. One derived key serves the record: the salt holds
// the whole part of the nonce that selects the key. ErrWiped after Wipe.
func (c *FileCipher) Record(salt Salt) (*RecordCipher, error) {
	for i := range c.cache {
		if r := c.cache[i].Load(); r != nil && r.salt == salt {
			return r, nil
		}
	}
	kdf := c.kdf.Load()
	if kdf == nil {
		return nil, ErrWiped
	}
	gcm, err := kdf.derive(salt[:prefixSize])
	if err != nil {
		return nil, err
	}
	r := &RecordCipher{gcm: gcm, salt: salt, mode: c.mode, context: c.context}
	slot := &c.cache[c.next.Add(1)%recordCacheSize]
	slot.Store(r)
	if c.kdf.Load() == nil {
		slot.Store(nil) // wiped meanwhile
		return nil, ErrWiped
	}
	return r, nil
}

// SealBlock seals contents (1 to BlockSize bytes) as block index of the record and logical block of the file,
// and appends them to dst: BlockOverhead bytes more. dst may be plain[:0]; otherwise they must not overlap.
//
// It panics on an index out of range, on a length out of range, and on an index that this RecordCipher has
// sealed before: two sealings under one nonce would give both contents away, and the means to forge more. A
// caller that seals a record again draws a new salt.
func (r *RecordCipher) SealBlock(dst []byte, index uint32, logical uint64, plain []byte) []byte {
	if index >= MaxRecordBlocks || len(plain) == 0 || len(plain) > BlockSize {
		panic(fmt.Sprintf("crypto: sealing %d bytes as block %d", len(plain), index))
	}
	if bit := uint32(1) << (index % 32); r.sealed[index/32].Or(bit)&bit != 0 {
		panic(fmt.Sprintf("crypto: block %d of a record sealed twice", index))
	}
	s := takeScratch()
	defer s.giveBack()
	nonce := r.begin(s, index, logical)
	if r.mode == Clear {
		s.aad = append(s.aad, plain...)
		return r.gcm.Seal(append(dst, plain...), nonce, nil, s.aad)
	}
	return r.gcm.Seal(dst, nonce, plain, s.aad)
}

// OpenBlock opens block index of the record, sealed as that logical block of the file, and appends its
// contents to dst: BlockOverhead bytes less. It does not allocate when dst has room. dst may be sealed[:0];
// otherwise they must not overlap. ErrAuth when the block is not what was sealed there, ErrFormat when it has
// an impossible size.
func (r *RecordCipher) OpenBlock(dst []byte, index uint32, logical uint64, sealed []byte) ([]byte, error) {
	n := len(sealed) - BlockOverhead
	if n < 1 || n > BlockSize || index >= MaxRecordBlocks {
		return nil, fmt.Errorf("%w: sealed block %d of %d bytes", ErrFormat, index, len(sealed))
	}
	s := takeScratch()
	defer s.giveBack()
	nonce := r.begin(s, index, logical)
	if r.mode == Clear {
		s.aad = append(s.aad, sealed[:n]...)
		if _, err := r.gcm.Open(nil, nonce, sealed[n:], s.aad); err != nil {
			return nil, ErrAuth
		}
		return append(dst, s.aad[contextSize:]...), nil
	}
	out, err := r.gcm.Open(dst, nonce, sealed, s.aad)
	if err != nil {
		return nil, ErrAuth
	}
	return out, nil
}

// begin sets up a block's associated data in s and returns the GCM nonce, which lies in s.
func (r *RecordCipher) begin(s *scratch, index uint32, logical uint64) []byte {
	copy(s.nonce[:], r.salt[:])
	binary.BigEndian.PutUint32(s.nonce[SaltSize:], index)
	s.aad = append(s.aad[:0], r.context[:]...)
	binary.BigEndian.PutUint64(s.aad[contextSize-8:], logical)
	return s.nonce[prefixSize:]
}
