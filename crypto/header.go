package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

const (
	// FormatVersion is the version of the volume format that this build reads and writes.
	FormatVersion = 1
	// maxSlots is how many unlock slots a volume has at most. A wrong passphrase is tried on each passphrase
	// slot.
	maxSlots = 16

	maxLabel = 64 // bytes
)

// Header is the one part of a volume that is readable without a key: which format it has, which volume it is,
// and the unlock slots.
//
// Two things protect it, against different troubles. A SHA-256 checksum, which anybody can compute, tells
// damage from a wrong passphrase before a secret is asked for. An HMAC under a key derived from the root key
// tells tampering, once the volume is unlocked.
//
// The methods that change a header are not safe for concurrent use; the others are among themselves.
type Header struct {
	volume     VolumeID
	features   []string
	generation uint64
	nextSlot   int
	slots      []slot

	// mac authenticates macBody, the header as it was parsed; nil in a header that never was.
	mac     []byte
	macBody []byte
	// rootID identifies the root key that added slots hold; nil before the first.
	rootID []byte
}

// NewHeader returns the header of a new volume, without slots: AddSlot comes next.
func NewHeader(id VolumeID) *Header { return &Header{volume: id, nextSlot: 1} }

// Volume is the volume's ID.
func (h *Header) Volume() VolumeID { return h.volume }

// Features are the features that the volume uses.
func (h *Header) Features() []string { return slices.Clone(h.features) }

// Require adds a feature to those that the volume uses, if it is not one of them, and reports whether it did. From
// then on builds that do not know it refuse the volume.
func (h *Header) Require(feature string) bool {
	i, found := slices.BinarySearch(h.features, feature)
	if found {
		return false
	}
	h.features = slices.Insert(slices.Clone(h.features), i, feature)
	h.generation++
	return true
}

// Generation counts the changes of slots and features. A generation lower than one seen before is an old header put back.
func (h *Header) Generation() uint64 { return h.generation }

// Advance gives the header a generation above the given one, if its own is not: for an older header that is to count
// from now on.
func (h *Header) Advance(generation uint64) {
	if h.generation <= generation {
		h.generation = generation + 1
	}
}

// SlotInfo is what is public about an unlock slot.
type SlotInfo struct {
	ID     int
	Kind   SlotKind
	Label  string
	Argon2 Argon2Params // zero for key files
}

// Slots lists the unlock slots, by ID.
func (h *Header) Slots() []SlotInfo {
	infos := make([]SlotInfo, 0, len(h.slots))
	for i := range h.slots {
		s := &h.slots[i]
		infos = append(infos, SlotInfo{ID: s.id, Kind: s.kind, Label: s.label, Argon2: s.params})
	}
	return infos
}

// AddSlot wraps the root key under a secret and returns the number of the new slot; numbers are not used
// again. The first slot decides which root key the volume has, later ones must bring the same (ErrAuth).
// label is for people: up to 64 bytes of printable text. params are the costs of a passphrase slot and
// ignored for a key file. It takes as long as params say. The secret is not wiped.
//
// Other errors: ErrBadSecret, ErrTooManySlots, ErrWiped, and ErrFormat for a bad label, kind or costs.
func (h *Header) AddSlot(root *Key, kind SlotKind, secret []byte, label string, params Argon2Params) (int, error) {
	if kind != SlotPassphrase && kind != SlotKeyFile {
		return 0, fmt.Errorf("%w: %v", ErrFormat, kind)
	}
	if err := checkSecret(kind, secret); err != nil {
		return 0, err
	}
	if !labelAllowed(label) || !isPrintable(label) {
		return 0, fmt.Errorf("%w: slot label %q: want up to %d bytes of printable text", ErrFormat, label, maxLabel)
	}
	if kind == SlotKeyFile {
		params = Argon2Params{}
	} else if err := params.Validate(); err != nil {
		return 0, err
	}
	if len(h.slots) >= maxSlots {
		return 0, fmt.Errorf("%w: %d", ErrTooManySlots, len(h.slots))
	}
	rootID, err := h.checkRoot(root)
	if err != nil {
		return 0, err
	}
	s := slot{id: h.nextSlot, kind: kind, label: label, params: params}
	if err := s.seal(h.volume, root, secret); err != nil {
		return 0, err
	}
	h.slots = append(h.slots, s)
	h.rootID = rootID
	h.nextSlot++
	h.generation++
	return s.id, nil
}

// RemoveSlot removes a slot. Its secret opens the volume no more, but old copies of the header still do with
// it: only a new root key helps against those. ErrNoSlot, ErrLastSlot.
func (h *Header) RemoveSlot(id int) error {
	i := slices.IndexFunc(h.slots, func(s slot) bool { return s.id == id })
	switch {
	case i < 0:
		return fmt.Errorf("%w: %d", ErrNoSlot, id)
	case len(h.slots) == 1:
		return ErrLastSlot
	}
	h.slots = slices.Delete(h.slots, i, i+1)
	h.generation++
	return nil
}

// Unlock returns the root key and the number of the slot that a secret opens. It tries each slot of the
// secret's kind, which takes as long as their Argon2 costs say. A header that was parsed is then verified.
// The caller owns the key.
// Argon2 leaves its working memory to the garbage collector: a daemon that unlocks once and lives long calls
// debug.FreeOSMemory afterwards.
//
// ErrWrongSecret when no slot opens; ErrAuth when one opens and the header was tampered with.
func (h *Header) Unlock(secret Secret) (root *Key, slotID int, err error) {
	tried := 0
	for i := range h.slots {
		s := &h.slots[i]
		if s.kind != secret.kind {
			continue
		}
		tried++
		if checkSecret(s.kind, secret.Bytes()) != nil {
			continue // no slot was ever made with such a secret
		}
		root, err := s.unwrap(h.volume, secret.Bytes())
		if errors.Is(err, ErrAuth) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if _, err := h.checkRoot(root); err != nil {
			root.Wipe()
			return nil, 0, err
		}
		return root, s.id, nil
	}
	if tried == 0 {
		return nil, 0, fmt.Errorf("%w: the volume has no %v slot", ErrWrongSecret, secret.kind)
	}
	return nil, 0, fmt.Errorf("%w: no %v slot opens", ErrWrongSecret, secret.kind)
}

// Marshal encodes the header and authenticates it under keys.Header. ErrFormat when it has no slots; ErrAuth
// when the keys are not the volume's, or when the header it was parsed from was tampered with; ErrWiped.
func (h *Header) Marshal(keys *VolumeKeys) ([]byte, error) {
	if len(h.slots) == 0 {
		return nil, fmt.Errorf("%w: a volume header needs an unlock slot", ErrFormat)
	}
	if _, err := h.checkHeaderKey(keys.Header); err != nil {
		return nil, err
	}
	body := h.encodeBody()
	mac, err := headerMAC(keys.Header, labelHeader, body)
	if err != nil {
		return nil, err
	}
	return appendTrailer(body, mac), nil
}

const (
	labelHeader = "ssefshd1"
	labelRoot   = "ssefsrk1"
)

// headerMAC is HMAC-SHA256 over label and body.
func headerMAC(k *Key, label string, body []byte) (sum []byte, err error) {
	err = k.use(func(b []byte) error {
		mac := hmac.New(sha256.New, b)
		mac.Write([]byte(label))
		mac.Write(body)
		sum = mac.Sum(nil)
		return nil
	})
	return sum, err
}

// checkRoot is checkHeaderKey for the header key that root leads to.
func (h *Header) checkRoot(root *Key) (rootID []byte, err error) {
	keys, err := DeriveVolumeKeys(root, h.volume)
	if err != nil {
		return nil, err
	}
	defer keys.Wipe()
	return h.checkHeaderKey(keys.Header)
}

// checkHeaderKey verifies what was parsed, so that no change of a header ever authenticates what somebody
// else wrote into it; and that the root key is the one that the slots added so far hold. It returns what
// identifies that root key. ErrAuth.
func (h *Header) checkHeaderKey(k *Key) (rootID []byte, err error) {
	rootID, err = headerMAC(k, labelRoot, h.volume[:])
	if err != nil {
		return nil, err
	}
	if h.rootID != nil && !hmac.Equal(h.rootID, rootID) {
		return nil, fmt.Errorf("%w: this is not the root key of the volume", ErrAuth)
	}
	if h.mac != nil {
		mac, err := headerMAC(k, labelHeader, h.macBody)
		if err != nil {
			return nil, err
		}
		if !hmac.Equal(mac, h.mac) {
			return nil, fmt.Errorf("%w: the volume header was tampered with", ErrAuth)
		}
	}
	return rootID, nil
}

// labelAllowed is the rule for labels in the format: short valid UTF-8 without control characters. It must
// never become stricter.
func labelAllowed(label string) bool {
	if len(label) > maxLabel || !utf8.ValidString(label) {
		return false
	}
	for _, r := range label {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// isPrintable is the rule for new labels: nothing that could trick a terminal. It may change with the Unicode
// tables.
func isPrintable(label string) bool {
	for _, r := range label {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
