package crypto

import (
	"crypto/cipher"
	"fmt"
	"sync/atomic"
)

// labelRecord begins the associated data of metadata records.
const labelRecord = "ssefsrc1"

// RecordSealer seals metadata records. A record is bound to its volume and to the key it is stored under,
// whose first byte is its kind: a record put back under another key, or as another kind, does not open.
// Versions are the caller's: an old record put back under its own key opens, and is told by the version
// inside. Safe for concurrent use.
//
// Records are small and many, and deriving a key takes longer than sealing one does. So records share the half
// of the nonce that selects the derived key, sealBatchSize of them at most; the other half, which is the nonce
// under that key, is drawn for each. That stays far from the 2^32 random nonces that NIST SP 800-38D allows
// under one key of AES-GCM: among 4096 the chance that two are equal is 2^-73.
type RecordSealer struct {
	aead   *AEAD
	volume VolumeID

	sealing atomic.Pointer[sealBatch]
	// opened holds the keys that were used last, each in the place that its nonce's first byte says.
	opened [256]atomic.Pointer[derivedKey]
}

// derivedKey is the key that a nonce's first half selects.
type derivedKey struct {
	prefix [prefixSize]byte
	gcm    cipher.AEAD
}

// sealBatch is what records that are sealed one after the other share.
type sealBatch struct {
	*derivedKey
	left atomic.Int64 // how many may still be sealed
}

// sealBatchSize is how many records share the first half of their nonces.
const sealBatchSize = 4096

// NewRecordSealer returns the sealer of the volume's metadata key, which it does not need afterwards.
func NewRecordSealer(k *Key, id VolumeID) (*RecordSealer, error) {
	aead, err := NewAEAD(k)
	if err != nil {
		return nil, err
	}
	return &RecordSealer{aead: aead, volume: id}, nil
}

// Seal appends the sealed record to dst: SealOverhead bytes more than plaintext. dst must not overlap
// plaintext.
func (s *RecordSealer) Seal(dst, recordKey, plaintext []byte) []byte {
	w := takeScratch()
	defer w.giveBack()
	key := s.sealingKey()
	copy(w.nonce[:prefixSize], key.prefix[:])
	randomBytes(w.nonce[prefixSize:])
	w.aad = s.appendAAD(w.aad[:0], recordKey)
	return key.gcm.Seal(append(dst, w.nonce[:]...), w.nonce[prefixSize:], plaintext, w.aad)
}

// sealingKey returns the key to seal one record with.
func (s *RecordSealer) sealingKey() *derivedKey {
	if b := s.sealing.Load(); b != nil && b.left.Add(-1) >= 0 {
		return b.derivedKey
	}
	// Others may get here at the same time; then some batches stay short.
	key := new(derivedKey)
	randomBytes(key.prefix[:])
	key.gcm = s.aead.mustDerive(key.prefix[:])
	b := &sealBatch{derivedKey: key}
	b.left.Store(sealBatchSize - 1)
	s.sealing.Store(b)
	s.place(key.prefix[:]).Store(key)
	return key
}

// place returns where the key that prefix selects is kept.
func (s *RecordSealer) place(prefix []byte) *atomic.Pointer[derivedKey] { return &s.opened[prefix[0]] }

// Open appends the record's plaintext to dst. ErrAuth when it is not what was sealed for recordKey. dst must
// not overlap sealed.
func (s *RecordSealer) Open(dst, recordKey, sealed []byte) ([]byte, error) {
	if len(sealed) < SealOverhead {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrAuth, len(sealed))
	}
	w := takeScratch()
	defer w.giveBack()
	prefix := [prefixSize]byte(sealed)
	key := s.place(prefix[:]).Load()
	if key == nil || key.prefix != prefix {
		key = &derivedKey{prefix: prefix, gcm: s.aead.mustDerive(prefix[:])}
		s.place(prefix[:]).Store(key)
	}
	w.aad = s.appendAAD(w.aad[:0], recordKey)
	out, err := key.gcm.Open(dst, sealed[prefixSize:nonceSize], sealed[nonceSize:], w.aad)
	if err != nil {
		return nil, ErrAuth
	}
	return out, nil
}

func (s *RecordSealer) appendAAD(aad, recordKey []byte) []byte {
	aad = append(aad, labelRecord...)
	aad = append(aad, s.volume[:]...)
	return append(aad, recordKey...)
}
