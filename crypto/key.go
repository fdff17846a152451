package crypto

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// KeySize is the size of every key, in bytes. 256 bits everywhere: it costs nothing measurable, and
// leaves a margin against multi-target and quantum search that 128 bits would not.
const KeySize = 32

// redacted is what a key prints as.
const redacted = "[secret key]"

// Key is 32 secret bytes in locked memory outside the Go heap. Whoever makes a Key owns it and calls Wipe
// when done: a Key that is dropped without Wipe keeps its 32 bytes of locked memory until the process ends.
// (A finalizer would be worse than the leak: it could wipe the key under a slice that Bytes returned.)
//
// The methods are safe for concurrent use; only the slice of Bytes is not protected against Wipe.
type Key struct {
	mu   sync.RWMutex
	slot *[KeySize]byte // nil once wiped
}

// NewKey returns a random key. It fails only when the kernel refuses memory.
func NewKey() (*Key, error) {
	slot, err := secrets.take()
	if err != nil {
		return nil, err
	}
	randomBytes(slot[:])
	return &Key{slot: slot}, nil
}

// KeyFromBytes moves 32 bytes into a Key: b is copied and then wiped, also when its length is wrong
// (ErrFormat).
func KeyFromBytes(b []byte) (*Key, error) {
	defer clear(b)
	if len(b) != KeySize {
		return nil, fmt.Errorf("%w: key of %d bytes, want %d", ErrFormat, len(b), KeySize)
	}
	slot, err := secrets.take()
	if err != nil {
		return nil, err
	}
	copy(slot[:], b)
	return &Key{slot: slot}, nil
}

// Bytes returns the key itself, not a copy: 32 bytes that the caller must neither change nor keep, and that
// turn into zeros, and later into another key, after Wipe. It returns nil when the key was wiped already.
func (k *Key) Bytes() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.slot == nil {
		return nil
	}
	return k.slot[:]
}

// Wipe destroys the key. Wiping a wiped or nil key does nothing.
func (k *Key) Wipe() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.slot == nil {
		return
	}
	secrets.put(k.slot)
	k.slot = nil
}

// Equal compares two keys in constant time. A wiped or nil key equals nothing, not even itself.
func (k *Key) Equal(o *Key) bool {
	equal := false
	// Keys are locked one after the other and not together, so that a.Equal(b) and b.Equal(a) cannot wait for
	// each other across two Wipes. The copy is wiped.
	var other [KeySize]byte
	defer clear(other[:])
	if o.use(func(b []byte) error { copy(other[:], b); return nil }) != nil {
		return false
	}
	err := k.use(func(b []byte) error {
		equal = subtle.ConstantTimeCompare(b, other[:]) == 1
		return nil
	})
	return err == nil && equal
}

// use calls fn with the key's bytes, which Wipe leaves alone until fn returns. ErrWiped when the key is gone.
// Everything in this package reads keys through it.
func (k *Key) use(fn func(b []byte) error) error {
	if k == nil {
		return ErrWiped
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.slot == nil {
		return ErrWiped
	}
	return fn(k.slot[:])
}

// String does not print the key.
func (k *Key) String() string { return redacted }

// GoString does not print the key.
func (k *Key) GoString() string { return redacted }

// Format does not print the key, whatever the verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue does not log the key.
func (k *Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON refuses: a key in JSON is a mistake.
func (k *Key) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a secret key cannot be written as JSON")
}

// MarshalText refuses, which covers the other encoders of the standard library.
func (k *Key) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret key cannot be written as text")
}

// MarshalBinary refuses, which covers gob.
func (k *Key) MarshalBinary() ([]byte, error) {
	return nil, errors.New("a secret key cannot be encoded")
}

// randomBytes fills b from the operating system. It cannot fail: since Go 1.24 crypto/rand ends the process
// rather than return anything but randomness.
func randomBytes(b []byte) {
	_, _ = rand.Read(b)
}
