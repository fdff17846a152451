package crypto

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// VolumeID names a volume: 16 random bytes, public. Everything sealed is bound to it, so that records of two
// volumes cannot be exchanged even if somebody copies a volume's keys into another.
type VolumeID [16]byte

// NewVolumeID draws an ID.
func NewVolumeID() VolumeID {
	var id VolumeID
	randomBytes(id[:])
	return id
}

// String is the ID in 32 hexadecimal digits, as parseVolumeID reads it.
func (id VolumeID) String() string { return hex.EncodeToString(id[:]) }

// parseVolumeID reads an ID in 32 lower-case hexadecimal digits. ErrFormat.
func parseVolumeID(s string) (VolumeID, error) {
	var id VolumeID
	if err := decodeHex(id[:], s); err != nil {
		return VolumeID{}, fmt.Errorf("volume ID: %w", err)
	}
	return id, nil
}

// VolumeKeys are the keys of one volume, each for one use. Separate keys per use, so that a flaw in one use
// says nothing about another, and a process that needs one need not hold them all.
type VolumeKeys struct {
	Metadata *Key // seals metadata records, and wraps the keys of files in clear buckets
	Names    *Key // hashes names of directory entries
	SetHash  *Key // set hashes of directories and buckets
	Keystore *Key // seals the keystore
	Header   *Key // authenticates the volume header
	Backup   *Key // authenticates backups
}

// DeriveVolumeKeys derives the keys of the volume id from its root key: HKDF-SHA256 with the volume ID as
// salt and a label per key. The root key is uniform, so a plain derivation is enough; stretching belongs to
// the slots. ErrWiped when root was wiped.
func DeriveVolumeKeys(root *Key, id VolumeID) (*VolumeKeys, error) {
	v := new(VolumeKeys)
	err := root.use(func(b []byte) error {
		prk, err := hkdf.Extract(sha256.New, b, id[:])
		if err != nil {
			return err
		}
		defer clear(prk)
		for _, d := range []struct {
			key   **Key
			label string
		}{
			{&v.Metadata, "ssefs v1 metadata"},
			{&v.Names, "ssefs v1 names"},
			{&v.SetHash, "ssefs v1 set hash"},
			{&v.Keystore, "ssefs v1 keystore"},
			{&v.Header, "ssefs v1 header"},
			{&v.Backup, "ssefs v1 backup"},
		} {
			raw, err := hkdf.Expand(sha256.New, prk, d.label, KeySize)
			if err != nil {
				return err
			}
			if *d.key, err = KeyFromBytes(raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		v.Wipe()
		return nil, fmt.Errorf("derive volume keys: %w", err)
	}
	return v, nil
}

// Wipe destroys all the keys. A nil VolumeKeys is allowed.
func (v *VolumeKeys) Wipe() {
	if v == nil {
		return
	}
	for _, k := range []*Key{v.Metadata, v.Names, v.SetHash, v.Keystore, v.Header, v.Backup} {
		k.Wipe()
	}
}

// decodeHex fills dst from exactly as many lower-case hexadecimal digits. Upper case is refused: one value,
// one text.
func decodeHex(dst []byte, s string) error {
	if len(s) != hex.EncodedLen(len(dst)) {
		return fmt.Errorf("%w: %d hexadecimal digits, want %d", ErrFormat, len(s), hex.EncodedLen(len(dst)))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%w: not a lower-case hexadecimal digit: %q", ErrFormat, c)
		}
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}
