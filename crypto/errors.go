package crypto

import "errors"

// The sentinels of this package. Callers test with errors.Is; the messages around them say what was at hand.
var (
	// ErrAuth: sealed data did not authenticate. It was changed, moved, truncated, or sealed under another
	// key.
	ErrAuth = errors.New("authentication failed")
	// ErrFormat: bytes that are not a valid encoding, or a value that has none.
	ErrFormat = errors.New("malformed data")
	// ErrVersion: the volume has a format version that this build does not know.
	ErrVersion = errors.New("unsupported format version")
	// ErrFeature: the volume uses a feature that this build does not know.
	ErrFeature = errors.New("unsupported feature")
	// ErrWrongSecret: no unlock slot opens with this passphrase or key file.
	ErrWrongSecret = errors.New("wrong passphrase or key file")
	// ErrBadSecret: a secret that cannot protect a slot: an empty passphrase, a key file too short or too
	// long.
	ErrBadSecret = errors.New("unusable passphrase or key file")
	// ErrHeaderDamaged: the volume header is truncated, damaged, or not a volume header at all.
	ErrHeaderDamaged = errors.New("volume header is damaged")
	// ErrPolicy: text that is not an encryption policy.
	ErrPolicy = errors.New("invalid encryption policy")
	// ErrWiped: the key was wiped before this use.
	ErrWiped = errors.New("key was wiped")
	// ErrNoSlot: the volume has no unlock slot of that number.
	ErrNoSlot = errors.New("no such unlock slot")
	// ErrLastSlot: removing the only unlock slot would lock everybody out for ever.
	ErrLastSlot = errors.New("the last unlock slot cannot be removed")
	// ErrTooManySlots: the volume has maxSlots unlock slots already.
	ErrTooManySlots = errors.New("too many unlock slots")
)
