package crypto

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The header is JSON in exactly one form, written here by hand and compared byte by byte after parsing: what
// a header says has one text, whatever an encoder of some later Go does. JSON, because this file is what
// people open when a volume does not mount. All later versions keep: the members magic, format (a number) and
// features (strings) at the top level, and the last line but one, checksum, over everything before that line.
// Whatever an older build would take for damage, such as a new kind of slot, comes with a feature.

const (
	headerMagic     = "ssefs volume"
	maxHeaderSize   = 64 << 10
	maxFeatures     = 32
	maxFeatureName  = 32
	macLinePrefix   = "  \"mac\": \""
	checksumPrefix  = "  \"checksum\": \""
	headerEnd       = "\"\n}\n"
	checksumLineLen = len(checksumPrefix) + 2*sha256.Size + len(headerEnd)
)

// FeatureJournal is the feature of volumes whose last commits may be in a journal beside the database. A build that
// does not know it would lose them.
const FeatureJournal = "journal"

// knownFeatures are the features that this build can handle.
func knownFeatures() []string { return []string{FeatureJournal} }

// encodeBody is the header up to the lines of mac and checksum: what the MAC authenticates.
func (h *Header) encodeBody() []byte {
	b := make([]byte, 0, 4096)
	b = fmt.Appendf(b, "{\n  \"magic\": %q,\n  \"format\": %d,\n  \"features\": [", headerMagic, FormatVersion)
	for i, f := range h.features {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendQuoted(b, f)
	}
	b = fmt.Appendf(b, "],\n  \"volume\": \"%v\",\n  \"generation\": %d,\n  \"next_slot\": %d,\n  \"slots\": [",
		h.volume, h.generation, h.nextSlot)
	for i := range h.slots {
		if i > 0 {
			b = append(b, ',')
		}
		b = h.slots[i].encode(append(b, "\n    "...))
	}
	return append(b, "\n  ],\n"...)
}

// encode appends a slot in one line.
func (s *slot) encode(b []byte) []byte {
	b = fmt.Appendf(b, "{\"id\": %d, \"kind\": \"%v\", \"label\": ", s.id, s.kind)
	b = appendQuoted(b, s.label)
	if s.kind == SlotPassphrase {
		b = fmt.Appendf(b, ", \"kdf\": %q, \"time\": %d, \"memory_kib\": %d, \"threads\": %d",
			kdfArgon2id, s.params.Time, s.params.MemoryKiB, s.params.Threads)
	} else {
		b = fmt.Appendf(b, ", \"kdf\": %q", kdfHKDF)
	}
	return fmt.Appendf(b, ", \"salt\": \"%x\", \"wrapped\": \"%x\"}", s.salt, s.wrapped)
}

// appendQuoted appends a JSON string. Control characters do not occur.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	b = append(b, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)...)
	return append(b, '"')
}

// appendTrailer appends the lines of mac and checksum to body.
func appendTrailer(body, mac []byte) []byte {
	b := fmt.Appendf(slices.Clip(body), "%s%x\",\n", macLinePrefix, mac)
	return fmt.Appendf(b, "%s%x%s", checksumPrefix, sha256.Sum256(b), headerEnd)
}

// ParseHeader decodes what Marshal made. Nothing in it is authenticated before Unlock has succeeded.
//
// The order of checks is that of the remedies: ErrVersion and ErrFeature (install a newer build), each naming
// what it met, come before everything else that can be wrong, since a later format may differ in all the
// rest; then ErrHeaderDamaged (restore the file), also for a header that is intact but says what no header
// can, and that is ErrFormat, too.
func ParseHeader(b []byte) (*Header, error) {
	var probe struct {
		Magic    string          `json:"magic"`
		Format   json.RawMessage `json:"format"`
		Features json.RawMessage `json:"features"`
	}
	if len(b) > maxHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes are too many", ErrHeaderDamaged, len(b))
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return nil, fmt.Errorf("%w: not JSON: %v", ErrHeaderDamaged, err)
	}
	if probe.Magic != headerMagic {
		return nil, fmt.Errorf("%w: not the header of an ssefs volume", ErrHeaderDamaged)
	}
	version, err := strconv.ParseUint(string(probe.Format), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%w: no format version", ErrHeaderDamaged)
	}
	intact := checksumMatches(b)
	if version != FormatVersion {
		return nil, headerUnknown(ErrVersion, fmt.Sprintf("version %d, this build knows %d", version, FormatVersion), intact)
	}
	var features []string
	if err := json.Unmarshal(probe.Features, &features); err != nil {
		return nil, fmt.Errorf("%w: features: %v", ErrHeaderDamaged, err)
	}
	for _, f := range features {
		if !slices.Contains(knownFeatures(), f) {
			return nil, headerUnknown(ErrFeature, strconv.Quote(f), intact)
		}
	}
	if !intact {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrHeaderDamaged)
	}
	h, err := decodeHeader(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeaderDamaged, err)
	}
	return h, nil
}

// headerUnknown says what is unknown, and that the reason may be damage if it may.
func headerUnknown(sentinel error, what string, intact bool) error {
	if intact {
		return fmt.Errorf("%w: %s", sentinel, what)
	}
	return fmt.Errorf("%w: %s (or the header is damaged: its checksum does not match)", sentinel, what)
}

// checksumMatches checks the last line but one, in the way that all versions share.
func checksumMatches(b []byte) bool {
	if len(b) < checksumLineLen {
		return false
	}
	rest, line := b[:len(b)-checksumLineLen], b[len(b)-checksumLineLen:]
	sum := sha256.Sum256(rest)
	return string(line) == checksumPrefix+hex.EncodeToString(sum[:])+headerEnd
}

// headerJSON is the header as encoding/json sees it.
type headerJSON struct {
	Magic      string     `json:"magic"`
	Format     uint64     `json:"format"`
	Features   []string   `json:"features"`
	Volume     string     `json:"volume"`
	Generation uint64     `json:"generation"`
	NextSlot   int        `json:"next_slot"`
	Slots      []slotJSON `json:"slots"`
	MAC        string     `json:"mac"`
	Checksum   string     `json:"checksum"`
}

type slotJSON struct {
	ID        int    `json:"id"`
	Kind      string `json:"kind"`
	Label     string `json:"label"`
	KDF       string `json:"kdf"`
	Time      uint32 `json:"time"`
	MemoryKiB uint32 `json:"memory_kib"`
	Threads   uint8  `json:"threads"`
	Salt      string `json:"salt"`
	Wrapped   string `json:"wrapped"`
}

// decodeHeader decodes a header of this version with known features and a correct checksum. ErrFormat.
func decodeHeader(b []byte) (*Header, error) {
	var j headerJSON
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrFormat, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: data after the header", ErrFormat)
	}
	volume, err := parseVolumeID(j.Volume)
	if err != nil {
		return nil, err
	}
	h := &Header{volume: volume, features: j.Features, generation: j.Generation, nextSlot: j.NextSlot}
	if err := checkFeatureNames(h.features); err != nil {
		return nil, err
	}
	if len(j.Slots) < 1 || len(j.Slots) > maxSlots {
		return nil, fmt.Errorf("%w: %d unlock slots", ErrFormat, len(j.Slots))
	}
	last := 0
	for i := range j.Slots {
		s, err := j.Slots[i].decode()
		if err != nil {
			return nil, fmt.Errorf("unlock slot %d: %w", j.Slots[i].ID, err)
		}
		// Ascending: no number twice, and one order only.
		if s.id <= last || s.id >= h.nextSlot {
			return nil, fmt.Errorf("%w: unlock slot %d after %d and before %d", ErrFormat, s.id, last, h.nextSlot)
		}
		last = s.id
		h.slots = append(h.slots, s)
	}
	h.mac = make([]byte, sha256.Size)
	if err := decodeHex(h.mac, j.MAC); err != nil {
		return nil, fmt.Errorf("MAC: %w", err)
	}
	h.macBody = h.encodeBody()
	// Members given twice, in another case, order or spelling: encoding/json takes them all.
	if !bytes.Equal(appendTrailer(h.macBody, h.mac), b) {
		return nil, fmt.Errorf("%w: not in canonical form", ErrFormat)
	}
	return h, nil
}

func (j *slotJSON) decode() (slot, error) {
	s := slot{id: j.ID, label: j.Label, params: Argon2Params{Time: j.Time, MemoryKiB: j.MemoryKiB, Threads: j.Threads}}
	switch {
	case j.Kind == SlotPassphrase.String() && j.KDF == kdfArgon2id:
		s.kind = SlotPassphrase
		if err := s.params.Validate(); err != nil {
			return slot{}, err
		}
	case j.Kind == SlotKeyFile.String() && j.KDF == kdfHKDF:
		s.kind = SlotKeyFile
		if s.params != (Argon2Params{}) {
			return slot{}, fmt.Errorf("%w: Argon2 costs for a key file", ErrFormat)
		}
	default:
		return slot{}, fmt.Errorf("%w: kind %q with %q", ErrFormat, j.Kind, j.KDF)
	}
	if !labelAllowed(s.label) {
		return slot{}, fmt.Errorf("%w: label %q", ErrFormat, s.label)
	}
	if s.id < 1 || s.id > 1<<30 {
		return slot{}, fmt.Errorf("%w: slot number", ErrFormat)
	}
	if err := decodeHex(s.salt[:], j.Salt); err != nil {
		return slot{}, fmt.Errorf("salt: %w", err)
	}
	if err := decodeHex(s.wrapped[:], j.Wrapped); err != nil {
		return slot{}, fmt.Errorf("wrapped key: %w", err)
	}
	return s, nil
}

// checkFeatureNames wants feature names sorted, without duplicates, of lower-case letters, digits and '-'.
func checkFeatureNames(features []string) error {
	if len(features) > maxFeatures || !slices.IsSorted(features) {
		return fmt.Errorf("%w: features %q", ErrFormat, features)
	}
	for i, f := range features {
		if f == "" || len(f) > maxFeatureName || !consistsOf(f, "-") || f != strings.ToLower(f) || i > 0 && f == features[i-1] {
			return fmt.Errorf("%w: feature %q", ErrFormat, f)
		}
	}
	return nil
}
