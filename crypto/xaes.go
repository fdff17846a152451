package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"sync"
)

// nonceSize is the nonce of XAES-256-GCM, in bytes: 192 bits, so that random nonces have no limit that
// matters (2^80 messages under one key for a collision probability of 2^-33).
const nonceSize = 24

const (
	tagSize      = 16
	gcmNonceSize = 12
	prefixSize   = nonceSize - gcmNonceSize // the part of the nonce that the derived key depends on
)

// SealOverhead is by how many bytes AEAD.Seal makes its input longer: nonce and tag.
const SealOverhead = nonceSize + tagSize

// AEAD is XAES-256-GCM as the C2SP specification defines it: each nonce selects a derived AES-256-GCM key (by
// CMAC in counter mode, NIST SP 800-108r1) with its first half and is the GCM nonce of that key with its
// second. The key schedule of the main key and the CMAC subkey are computed once. Safe for concurrent use.
//
// Associated data begins with a label that belongs to one use (8 bytes throughout this package), and encodes
// the rest without ambiguity: that, and not the key alone, is what keeps uses apart.
type AEAD struct {
	main cipher.Block
	k1   [aes.BlockSize]byte
}

// NewAEAD returns the AEAD under k, which it does not need afterwards. ErrWiped when k was wiped.
func NewAEAD(k *Key) (*AEAD, error) {
	a, err := newKDF(k)
	if err != nil {
		return nil, err
	}
	// Deriving cannot fail afterwards if it does not fail now (it would in a process that forbids GCM with
	// nonces chosen by the caller), so that Seal needs no error.
	if _, err := a.derive(make([]byte, prefixSize)); err != nil {
		return nil, fmt.Errorf("AES-256-GCM: %w", err)
	}
	return a, nil
}

// newKDF is NewAEAD for those who only derive, and handle its errors.
func newKDF(k *Key) (*AEAD, error) {
	a := new(AEAD)
	err := k.use(func(b []byte) (err error) {
		a.main, err = aes.NewCipher(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	// CMAC subkey K1: L = AES(0), doubled in GF(2^128), without branching on the secret bit.
	a.main.Encrypt(a.k1[:], a.k1[:])
	var carry byte
	for i := len(a.k1) - 1; i >= 0; i-- {
		next := a.k1[i] >> 7
		a.k1[i] = a.k1[i]<<1 | carry
		carry = next
	}
	a.k1[len(a.k1)-1] ^= -carry & 0x87
	return a, nil
}

// scratch is what one sealing works on. Arguments of interface methods escape to the heap, so these are
// pooled and not local.
type scratch struct {
	nonce [nonceSize]byte
	key   [KeySize]byte // a derived key; wiped before the scratch goes back
	aad   []byte
}

// scratches holds no state: what is in it is overwritten before use.
var scratches = sync.Pool{New: func() any { return &scratch{aad: make([]byte, 0, contextSize+BlockSize)} }}

func takeScratch() *scratch  { return scratches.Get().(*scratch) }
func (s *scratch) giveBack() { scratches.Put(s) }

// derive returns the GCM of the key that a nonce prefix of 12 bytes selects.
func (a *AEAD) derive(prefix []byte) (cipher.AEAD, error) {
	s := takeScratch()
	defer s.giveBack()
	// M1 and M2 are single complete blocks, so their CMAC is AES(M ^ K1).
	for half := range 2 {
		m := s.key[half*aes.BlockSize:][:aes.BlockSize]
		m[0], m[1], m[2], m[3] = 0, byte(half+1), 'X', 0
		copy(m[4:], prefix[:prefixSize])
		for i := range m {
			m[i] ^= a.k1[i]
		}
		a.main.Encrypt(m, m)
	}
	block, err := aes.NewCipher(s.key[:])
	clear(s.key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// mustDerive is derive after NewAEAD has shown that it works.
func (a *AEAD) mustDerive(prefix []byte) cipher.AEAD {
	gcm, err := a.derive(prefix)
	if err != nil {
		panic("crypto: AES-256-GCM stopped working: " + err.Error())
	}
	return gcm
}

// Seal encrypts plaintext and appends nonce, ciphertext and tag to dst: SealOverhead bytes more than
// plaintext. The nonce is drawn at random. dst must not overlap plaintext or aad.
func (a *AEAD) Seal(dst, plaintext, aad []byte) []byte {
	s := takeScratch()
	defer s.giveBack()
	randomBytes(s.nonce[:])
	return a.sealWithNonce(dst, s.nonce[:], plaintext, aad)
}

// sealWithNonce is Seal with a given nonce, for Seal itself and for the published vectors.
func (a *AEAD) sealWithNonce(dst, nonce, plaintext, aad []byte) []byte {
	dst = append(dst, nonce...)
	return a.mustDerive(nonce[:prefixSize]).Seal(dst, nonce[prefixSize:], plaintext, aad)
}

// Open decrypts what Seal made and appends the plaintext to dst. ErrAuth when it does not authenticate, or is
// too short to. dst must not overlap sealed.
func (a *AEAD) Open(dst, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < SealOverhead {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrAuth, len(sealed))
	}
	nonce, body := sealed[:nonceSize], sealed[nonceSize:]
	out, err := a.mustDerive(nonce[:prefixSize]).Open(dst, nonce[prefixSize:], body, aad)
	if err != nil {
		return nil, ErrAuth
	}
	return out, nil
}

// WrappedKeySize is the size of a key that WrapKey sealed, in bytes.
const WrappedKeySize = KeySize + SealOverhead

// WrapKey seals a key, as Seal does, and appends it to dst. ErrWiped when it was wiped.
func (a *AEAD) WrapKey(dst []byte, k *Key, aad []byte) ([]byte, error) {
	err := k.use(func(b []byte) error {
		dst = a.Seal(dst, b, aad)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dst, nil
}

// UnwrapKey opens what WrapKey made straight into locked memory: the key never lies on the heap. ErrAuth when
// it does not authenticate or is not of a key's size.
func (a *AEAD) UnwrapKey(wrapped, aad []byte) (*Key, error) {
	if len(wrapped) != WrappedKeySize {
		return nil, fmt.Errorf("%w: wrapped key of %d bytes, want %d", ErrAuth, len(wrapped), WrappedKeySize)
	}
	slot, err := secrets.take()
	if err != nil {
		return nil, err
	}
	out, err := a.Open(slot[:0], wrapped, aad)
	if err == nil && (len(out) != KeySize || &out[0] != &slot[0]) {
		err = errors.New("crypto: key was not opened in place")
	}
	if err != nil {
		secrets.put(slot)
		return nil, err
	}
	return &Key{slot: slot}, nil
}
