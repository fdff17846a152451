package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/argon2"
)

// SlotKind says what opens an unlock slot.
type SlotKind uint8

const (
	// SlotPassphrase is opened by a passphrase, stretched with Argon2id.
	SlotPassphrase SlotKind = iota + 1
	// SlotKeyFile is opened by the contents of a key file.
	SlotKeyFile
)

// String is the kind as the header spells it.
func (k SlotKind) String() string {
	switch k {
	case SlotPassphrase:
		return "passphrase"
	case SlotKeyFile:
		return "key-file"
	}
	return fmt.Sprintf("slot kind %d", uint8(k))
}

const (
	// MinKeyFileSize is the size of the smallest key file, in bytes: as many random bytes as a key has.
	MinKeyFileSize = 32
	// MaxKeyFileSize is the size of the largest key file, in bytes.
	MaxKeyFileSize = 1 << 20
)

// Secret is what a person unlocks a volume with: a passphrase or the contents of a key file. It is never
// printed.
type Secret struct {
	kind SlotKind
	// A pointer, because fmt prints the insides of a value without asking its methods when the verb is wrong,
	// and stops at pointers.
	bytes *[]byte
}

// PassphraseSecret is a passphrase as a Secret, which shares its memory. The bytes count as they are: no
// trimming, no Unicode normalization.
func PassphraseSecret(passphrase []byte) Secret {
	return Secret{kind: SlotPassphrase, bytes: &passphrase}
}

// KeyFileSecret is the contents of a key file as a Secret, which shares their memory.
func KeyFileSecret(contents []byte) Secret { return Secret{kind: SlotKeyFile, bytes: &contents} }

// Kind is the kind of slots that the secret can open.
func (s Secret) Kind() SlotKind { return s.kind }

// Bytes are the bytes of the secret, not a copy.
func (s Secret) Bytes() []byte {
	if s.bytes == nil {
		return nil
	}
	return *s.bytes
}

// Wipe zeroes the bytes of the secret, which all copies of it share.
func (s Secret) Wipe() { clear(s.Bytes()) }

// String does not print the secret.
func (s Secret) String() string { return "[secret " + s.kind.String() + "]" }

// GoString does not print the secret.
func (s Secret) GoString() string { return s.String() }

// Format does not print the secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue does not log the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON refuses: a secret in JSON is a mistake.
func (s Secret) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("a secret %v cannot be written as JSON", s.kind)
}

// Argon2Params are the costs of a passphrase slot. They are kept in the slot, so that new slots can cost more
// than old ones.
type Argon2Params struct {
	Time      uint32 // passes over the memory
	MemoryKiB uint32 // memory, in KiB
	Threads   uint8  // lanes
}

// Limits on what a header may ask for: it is read before anything in it is authenticated, and must not be
// able to take the machine's memory or keep the mount busy for hours. A pass over 1 GiB takes about a second.
const (
	maxArgon2Time      = 32
	maxArgon2MemoryKiB = 1 << 20
	maxArgon2Threads   = 16
)

// DefaultArgon2 are the costs of new passphrase slots: 128 MiB and 3 passes in 4 lanes, about half a second
// on two cores. Twice the memory that RFC 9106 recommends where memory is scarce; its first recommendation of
// 2 GiB does not fit the machines that mount drives.
func DefaultArgon2() Argon2Params {
	return Argon2Params{Time: 3, MemoryKiB: 128 << 10, Threads: 4}
}

// Validate reports whether the costs are within what Argon2 allows and this package accepts. ErrFormat.
func (p Argon2Params) Validate() error {
	switch {
	case p.Time < 1 || p.Time > maxArgon2Time:
		return fmt.Errorf("%w: Argon2 time %d is not within 1 to %d", ErrFormat, p.Time, maxArgon2Time)
	case p.Threads < 1 || p.Threads > maxArgon2Threads:
		return fmt.Errorf("%w: %d Argon2 threads are not within 1 to %d", ErrFormat, p.Threads, maxArgon2Threads)
	case p.MemoryKiB < 8*uint32(p.Threads) || p.MemoryKiB > maxArgon2MemoryKiB:
		// Argon2 needs 8 KiB per lane, and would quietly take more than it was told.
		return fmt.Errorf("%w: Argon2 memory of %d KiB is not within %d to %d", ErrFormat, p.MemoryKiB, 8*uint32(p.Threads), maxArgon2MemoryKiB)
	}
	return nil
}

const (
	slotSaltSize  = 32
	labelSlot     = "ssefssl1"
	labelSlotInfo = "ssefs v1 key file slot"
	kdfArgon2id   = "argon2id"
	kdfHKDF       = "hkdf-sha256"
)

// slot is one way to the root key: the root key wrapped under a key that is derived from a secret.
type slot struct {
	id      int
	kind    SlotKind
	label   string
	params  Argon2Params // SlotPassphrase only
	salt    [slotSaltSize]byte
	wrapped [WrappedKeySize]byte
}

// checkSecret refuses secrets that protect nothing. ErrBadSecret.
func checkSecret(kind SlotKind, secret []byte) error {
	switch {
	case kind == SlotPassphrase && len(secret) == 0:
		return fmt.Errorf("%w: the passphrase is empty", ErrBadSecret)
	case kind == SlotKeyFile && (len(secret) < MinKeyFileSize || len(secret) > MaxKeyFileSize):
		return fmt.Errorf("%w: the key file has %d bytes, want %d random ones, and no more than %d",
			ErrBadSecret, len(secret), MinKeyFileSize, MaxKeyFileSize)
	}
	return nil
}

// key derives the slot's key from a secret of its kind.
//
// A passphrase can be guessed, so each guess is made expensive: Argon2id, because it needs memory, which an
// attacker's hardware is short of, and because its first half-pass does not leak the passphrase through the
// cache. A key file of 32 random bytes cannot be guessed, and stretching it would only delay the mount: HKDF.
// Whoever uses a file that can be guessed as a key file is not protected by this slot; MinKeyFileSize is all
// that can be checked.
func (s *slot) key(secret []byte) (*Key, error) {
	if s.kind == SlotPassphrase {
		return KeyFromBytes(argon2.IDKey(secret, s.salt[:], s.params.Time, s.params.MemoryKiB, s.params.Threads, KeySize))
	}
	raw, err := hkdf.Key(sha256.New, secret, s.salt[:], labelSlotInfo, KeySize)
	if err != nil {
		return nil, err
	}
	return KeyFromBytes(raw)
}

// aad binds the wrapped root key to its volume, its slot and the slot's costs. The label is authenticated by
// the header's MAC only, so that it can be changed without the secret.
//
// AES-GCM does not commit to its key: a ciphertext can be made that opens under several keys. That helps
// nobody here. To put one into a slot is to write the header, and whatever comes out as root key must also
// satisfy the header's HMAC.
func (s *slot) aad(volume VolumeID) []byte {
	b := make([]byte, 0, 8+16+4+1+4+4+1+slotSaltSize)
	b = append(b, labelSlot...)
	b = append(b, volume[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(s.id))
	b = append(b, byte(s.kind))
	b = binary.BigEndian.AppendUint32(b, s.params.Time)
	b = binary.BigEndian.AppendUint32(b, s.params.MemoryKiB)
	b = append(b, s.params.Threads)
	return append(b, s.salt[:]...)
}

// seal wraps the root key into the slot.
func (s *slot) seal(volume VolumeID, root *Key, secret []byte) error {
	randomBytes(s.salt[:])
	aead, err := s.open(secret)
	if err != nil {
		return err
	}
	wrapped, err := aead.WrapKey(nil, root, s.aad(volume))
	if err != nil {
		return err
	}
	copy(s.wrapped[:], wrapped)
	return nil
}

// open derives the AEAD that the slot's root key is wrapped with.
func (s *slot) open(secret []byte) (*AEAD, error) {
	k, err := s.key(secret)
	if err != nil {
		return nil, err
	}
	defer k.Wipe()
	return NewAEAD(k)
}

// unwrap returns the root key. ErrAuth when the secret is not the slot's.
func (s *slot) unwrap(volume VolumeID, secret []byte) (*Key, error) {
	aead, err := s.open(secret)
	if err != nil {
		return nil, err
	}
	return aead.UnwrapKey(s.wrapped[:], s.aad(volume))
}
