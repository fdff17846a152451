package crypto

// labelRecord begins the associated data of metadata records.
const labelRecord = "ssefsrc1"

// RecordSealer seals metadata records. A record is bound to its volume and to the key it is stored under,
// whose first byte is its kind: a record put back under another key, or as another kind, does not open.
// Versions are the caller's: an old record put back under its own key opens, and is told by the version
// inside. Safe for concurrent use.
type RecordSealer struct {
	aead   *AEAD
	volume VolumeID
}

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
	randomBytes(w.nonce[:])
	w.aad = s.appendAAD(w.aad[:0], recordKey)
	return s.aead.sealWithNonce(dst, w.nonce[:], plaintext, w.aad)
}

// Open appends the record's plaintext to dst. ErrAuth when it is not what was sealed for recordKey. dst must
// not overlap sealed.
func (s *RecordSealer) Open(dst, recordKey, sealed []byte) ([]byte, error) {
	w := takeScratch()
	defer w.giveBack()
	w.aad = s.appendAAD(w.aad[:0], recordKey)
	return s.aead.Open(dst, sealed, w.aad)
}

func (s *RecordSealer) appendAAD(aad, recordKey []byte) []byte {
	aad = append(aad, labelRecord...)
	aad = append(aad, s.volume[:]...)
	return append(aad, recordKey...)
}
