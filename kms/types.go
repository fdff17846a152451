package kms

import (
	"fmt"
	"strings"
	"time"
)

// DefaultAlias names the managed CMK that a KMS policy without a key uses.
const DefaultAlias = "alias/acs/oss"

// DefaultRegion is the region of a volume that was given none.
const DefaultRegion = "local"

// Op is a use of a key, and the permission for it.
type Op uint8

// The uses a grant can allow. They are bits.
const (
	// OpDecrypt is unwrapping a file's data key: opening it in any mode.
	OpDecrypt Op = 1 << iota
	// OpGenerate is making a data key: creating a file.
	OpGenerate
)

const opAll = OpDecrypt | OpGenerate

// String names the operations as the command line does.
func (o Op) String() string {
	switch o {
	case OpDecrypt:
		return "decrypt"
	case OpGenerate:
		return "generate"
	case opAll:
		return "decrypt,generate"
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// MarshalText returns the operations' names, separated by commas.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (o *Op) UnmarshalText(text []byte) error {
	*o = 0
	for name := range strings.SplitSeq(string(text), ",") {
		switch name {
		case "decrypt":
			*o |= OpDecrypt
		case "generate":
			*o |= OpGenerate
		default:
			return fmt.Errorf("%w: operation %q; it is decrypt or generate", ErrArgument, name)
		}
	}
	return nil
}

// Caller is who wants to use a key. The zero Caller is uid 0 with no
// supplementary groups.
type Caller struct {
	UID, GID uint32
	// Groups returns the caller's supplementary groups. It is called only when
	// they decide; nil means none, an error refuses the use.
	Groups func() ([]uint32, error)

	drive bool
	// What Groups returned, once it was called.
	groups    []uint32
	groupsErr error
	resolved  bool
}

// Drive is the Caller for what the drive does by itself, such as checking or
// moving contents in the background. Grants do not apply to it; the state of a
// key does.
func Drive() Caller { return Caller{drive: true} }

// By says who asks for a change of keys, for the record.
type By struct {
	UID uint32
	// Managed confirms that the change is meant even if the key is the managed
	// default key, which is otherwise refused with ErrManaged.
	Managed bool
}

// State is the state of a CMK. Only an Enabled key encrypts or decrypts.
type State uint8

// The states of a key. Deleted is that of a tombstone.
const (
	Enabled State = iota + 1
	Disabled
	PendingDeletion
	PendingImport
	Deleted
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Enabled:
		return "Enabled"
	case Disabled:
		return "Disabled"
	case PendingDeletion:
		return "PendingDeletion"
	case PendingImport:
		return "PendingImport"
	case Deleted:
		return "Deleted"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Origin says where a key's material comes from.
type Origin uint8

// The origins of key material.
const (
	// OriginKMS is material that the service makes itself.
	OriginKMS Origin = iota + 1
	// OriginExternal is material that the user imports.
	OriginExternal
)

// String returns the origin as the command line spells it.
func (o Origin) String() string {
	switch o {
	case OriginKMS:
		return "KMS"
	case OriginExternal:
		return "EXTERNAL"
	}
	return fmt.Sprintf("Origin(%d)", uint8(o))
}

// MarshalText returns the origin's name.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// VersionInfo describes one version of a key.
type VersionInfo struct {
	Number  uint32    `json:"version"`
	Created time.Time `json:"created"`
}

// KeyInfo describes a CMK. It holds no secret.
type KeyInfo struct {
	ID          string `json:"id"`
	Description string `json:"description"`
	Region      string `json:"region"`
	State       State  `json:"state"`
	Origin      Origin `json:"origin"`
	// Managed is true for the default key alias/acs/oss.
	Managed bool `json:"managed"`
	// Protected is true while deletion protection is on.
	Protected bool          `json:"deletion_protection"`
	Creator   uint32        `json:"creator_uid"`
	Created   time.Time     `json:"created"`
	Aliases   []string      `json:"aliases"`
	Grants    []Grant       `json:"grants"`
	Versions  []VersionInfo `json:"versions"`
	// Current is the number of the newest version, 0 for a key without any.
	Current uint32 `json:"current_version"`
	// RotateEvery is the automatic rotation's interval, 0 for none, and
	// NextRotation when it is due; rotation waits while the key is not Enabled.
	RotateEvery  time.Duration `json:"rotate_every_ns,omitzero"`
	NextRotation time.Time     `json:"next_rotation,omitzero"`
	// DeletionDate is when a key in PendingDeletion loses its material, and
	// DeletedAt when a Deleted key did.
	DeletionDate time.Time `json:"deletion_date,omitzero"`
	DeletedAt    time.Time `json:"deleted,omitzero"`
	// MaterialExpires is when imported material stops being usable, and
	// MaterialExpired whether it did.
	MaterialExpires time.Time `json:"material_expires,omitzero"`
	MaterialExpired bool      `json:"material_expired,omitzero"`
}

// GrantKind says whom a grant is for.
type GrantKind uint8

// The kinds of grants.
const (
	GrantUser GrantKind = iota + 1
	GrantGroup
)

// String returns the kind as the command line spells it.
func (k GrantKind) String() string {
	switch k {
	case GrantUser:
		return "user"
	case GrantGroup:
		return "group"
	}
	return fmt.Sprintf("GrantKind(%d)", uint8(k))
}

// MarshalText returns the kind's name.
func (k GrantKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Grant allows a user or a group to use a key.
type Grant struct {
	Kind GrantKind `json:"kind"`
	ID   uint32    `json:"id"`
	Ops  Op        `json:"allow"`
}

// Event tells that a key stopped being usable, or is usable again.
type Event struct {
	KeyID string
	// Err is what uses of the key now fail with (it wraps ErrKeyRevoked,
	// ErrKeyExpired or ErrNoKey), or nil when the key is usable.
	Err error
}
