package archive

import (
	"encoding/binary"
	"fmt"
	"time"

	"ssefs/crypto"
)

// Begin is what a backup says first about itself.
type Begin struct {
	Volume crypto.VolumeID
	// Version is the commit that the backup has the state of.
	Version uint64
	Made    time.Time
	// Base is the backup that this one is based on, nil if on none.
	Base *Base
}

// Base names a backup.
type Base struct {
	Version uint64
	Tag     crypto.BackupTag
}

const beginSize = 16 + 8 + 8 + 1 + 8 + 32

// append appends the encoding.
func (b *Begin) append(dst []byte) []byte {
	dst = append(dst, b.Volume[:]...)
	dst = binary.BigEndian.AppendUint64(dst, b.Version)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.Made.Unix()))
	base, kind := Base{}, byte(0)
	if b.Base != nil {
		base, kind = *b.Base, 1
	}
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint64(dst, base.Version)
	return append(dst, base.Tag[:]...)
}

func decodeBegin(b []byte) (Begin, error) {
	if len(b) != beginSize {
		return Begin{}, fmt.Errorf("%w: the beginning has %d bytes, not %d", ErrDamaged, len(b), beginSize)
	}
	begin := Begin{
		Volume: crypto.VolumeID(b[:16]), Version: binary.BigEndian.Uint64(b[16:]),
		Made: time.Unix(int64(binary.BigEndian.Uint64(b[24:])), 0).UTC(),
	}
	base := Base{Version: binary.BigEndian.Uint64(b[33:]), Tag: crypto.BackupTag(b[41:])}
	switch kind := b[32]; {
	case kind > 1 || kind == 0 && base != Base{}:
		return Begin{}, fmt.Errorf("%w: kind %d", ErrDamaged, kind)
	case begin.Version == 0 || base.Version > begin.Version:
		return Begin{}, fmt.Errorf("%w: version %d, based on version %d", ErrDamaged, begin.Version, base.Version)
	case kind == 1:
		begin.Base = &base
	}
	return begin, nil
}

// Statement is what a backup says about itself as a whole, with a tag that
// whoever has the volume's backup key can check.
type Statement struct {
	Begin
	// Listed is how many records the store had, Records how many are in the backup.
	Listed, Records uint64
	// Listing is the SHA-256 of the frames of the listing.
	Listing [32]byte
	// Digest is the SHA-256 of all that comes before the end.
	Digest [32]byte
	Tag    crypto.BackupTag
}

// endSize is the size of the end, of which the tag is the last part.
const endSize = 8 + 8 + 32 + 32 + 32

// appendEnd appends the encoding of the end without the tag.
func (s *Statement) appendEnd(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, s.Listed)
	dst = binary.BigEndian.AppendUint64(dst, s.Records)
	dst = append(dst, s.Listing[:]...)
	return append(dst, s.Digest[:]...)
}

func (s *Statement) decodeEnd(b []byte) error {
	if len(b) != endSize {
		return fmt.Errorf("%w: the end has %d bytes, not %d", ErrDamaged, len(b), endSize)
	}
	s.Listed = binary.BigEndian.Uint64(b)
	s.Records = binary.BigEndian.Uint64(b[8:])
	s.Listing = [32]byte(b[16:])
	s.Digest = [32]byte(b[48:])
	s.Tag = crypto.BackupTag(b[80:])
	return nil
}

// tagged is what the tag is of.
func (s *Statement) tagged() []byte { return s.appendEnd(s.append(nil)) }

// Check is ErrDamaged and crypto.ErrAuth unless the statement was made with key,
// the volume's backup key.
func (s *Statement) Check(key *crypto.Key) error {
	if err := crypto.CheckBackup(key, s.tagged(), s.Tag); err != nil {
		return fmt.Errorf("%w: %w: it was not made with the keys of this volume", ErrDamaged, err)
	}
	return nil
}

// Marshal encodes the statement, for it to be sent without its backup.
func (s *Statement) Marshal() []byte { return append(s.tagged(), s.Tag[:]...) }

// ParseStatement decodes what Marshal encoded.
func ParseStatement(b []byte) (*Statement, error) {
	if len(b) != beginSize+endSize {
		return nil, fmt.Errorf("%w: a statement of %d bytes", ErrDamaged, len(b))
	}
	begin, err := decodeBegin(b[:beginSize])
	if err != nil {
		return nil, err
	}
	s := &Statement{Begin: begin}
	return s, s.decodeEnd(b[beginSize:])
}

// AsBase names the backup as one that another is based on.
func (s *Statement) AsBase() *Base { return &Base{Version: s.Version, Tag: s.Tag} }
