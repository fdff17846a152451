package crypto

import (
	"encoding/binary"
	"fmt"
)

const (
	envelopeVersion = 1
	labelEnvelope   = "ssefsev1"
	maxEnvelopeKey  = 255
	maxWrapped      = 8192 // remote services return up to 6 KiB
	envelopeFixed   = 1 + 1 + 1 + 4 + 16 + 2
)

// Envelope describes how the data key of one file is protected: the wrapped key and everything needed to
// unwrap it. It is kept in the inode record and says nothing secret.
type Envelope struct {
	Algorithm  Algorithm
	KeyID      string   // the master key: 0 to 255 visible ASCII characters
	KeyVersion uint32   // which version of the master key
	BucketKey  [16]byte // the intermediate bucket key, all zero for none
	Wrapped    []byte   // the wrapped data key: 1 to 8192 bytes
}

// Validate reports whether e can be encoded. ErrFormat.
func (e Envelope) Validate() error {
	switch e.Algorithm {
	case AlgorithmNone, AlgorithmAES256, AlgorithmKMS:
	default:
		return fmt.Errorf("%w: envelope: %v", ErrFormat, e.Algorithm)
	}
	if len(e.KeyID) > maxEnvelopeKey {
		return fmt.Errorf("%w: envelope: key ID of %d bytes", ErrFormat, len(e.KeyID))
	}
	for i := range len(e.KeyID) {
		if c := e.KeyID[i]; c <= ' ' || c > '~' {
			return fmt.Errorf("%w: envelope: key ID %q", ErrFormat, e.KeyID)
		}
	}
	if len(e.Wrapped) < 1 || len(e.Wrapped) > maxWrapped {
		return fmt.Errorf("%w: envelope: wrapped key of %d bytes", ErrFormat, len(e.Wrapped))
	}
	return nil
}

// Marshal encodes the envelope:
//
//	version 1 | algorithm 1 | key ID length 1 | key ID | key version 4 | bucket key 16 | wrapped length 2 | wrapped
//
// with lengths in bytes and numbers big-endian. It panics on an envelope that Validate refuses: bytes that do
// not parse would lose the file.
func (e Envelope) Marshal() []byte {
	if err := e.Validate(); err != nil {
		panic("crypto: marshal: " + err.Error())
	}
	b := make([]byte, 0, envelopeFixed+len(e.KeyID)+len(e.Wrapped))
	b = append(b, envelopeVersion, byte(e.Algorithm), byte(len(e.KeyID)))
	b = append(b, e.KeyID...)
	b = binary.BigEndian.AppendUint32(b, e.KeyVersion)
	b = append(b, e.BucketKey[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Wrapped)))
	return append(b, e.Wrapped...)
}

// ParseEnvelope decodes exactly what Marshal made. ErrFormat for anything else, which includes envelopes of a
// later version. The result shares no memory with b.
func ParseEnvelope(b []byte) (Envelope, error) {
	bad := func(why string) (Envelope, error) {
		return Envelope{}, fmt.Errorf("%w: envelope: %s", ErrFormat, why)
	}
	if len(b) < envelopeFixed {
		return bad("truncated")
	}
	if b[0] != envelopeVersion {
		return bad(fmt.Sprintf("version %d", b[0]))
	}
	idLen := int(b[2])
	if len(b) < envelopeFixed+idLen {
		return bad("truncated")
	}
	e := Envelope{Algorithm: Algorithm(b[1]), KeyID: string(b[3 : 3+idLen])}
	b = b[3+idLen:]
	e.KeyVersion = binary.BigEndian.Uint32(b)
	copy(e.BucketKey[:], b[4:])
	wrappedLen := int(binary.BigEndian.Uint16(b[20:]))
	b = b[22:]
	if len(b) != wrappedLen {
		return bad(fmt.Sprintf("%d bytes of wrapped key, want %d", len(b), wrappedLen))
	}
	e.Wrapped = append([]byte(nil), b...)
	if err := e.Validate(); err != nil {
		return Envelope{}, err
	}
	return e, nil
}

// AAD is the associated data to wrap and unwrap the data key of the file fc with: everything but the wrapped
// key. An envelope moved to another file, or edited to name another key, does not unwrap.
func (e Envelope) AAD(fc FileContext) []byte {
	b := make([]byte, 0, 8+32+1+4+16+1+len(e.KeyID))
	b = append(b, labelEnvelope...)
	b = fc.append(b)
	b = append(b, byte(e.Algorithm))
	b = binary.BigEndian.AppendUint32(b, e.KeyVersion)
	b = append(b, e.BucketKey[:]...)
	// The one field of variable length comes last, so that no other text encodes to the same bytes.
	return append(b, e.KeyID...)
}
