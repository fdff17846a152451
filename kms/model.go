package kms

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ssefs/crypto"
)

// version is one generation of a key's material. It is immutable; key and aead
// are nil while there is no material.
type version struct {
	number  uint32
	created time.Time
	key     *crypto.Key
	aead    *crypto.AEAD
}

// ring is a key with its versions, oldest first, numbers ascending.
type ring struct {
	every    time.Duration // automatic rotation, 0 for none
	versions []*version
}

// newest returns the version that wraps, or nil.
func (r *ring) newest() *version {
	if len(r.versions) == 0 {
		return nil
	}
	return r.versions[len(r.versions)-1]
}

// find returns the version of that number, or nil.
func (r *ring) find(number uint32) *version {
	if n := len(r.versions); n > 0 && r.versions[n-1].number == number {
		return r.versions[n-1]
	}
	i, ok := slices.BinarySearchFunc(r.versions, number, func(v *version, n uint32) int {
		switch {
		case v.number < n:
			return -1
		case v.number > n:
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	return r.versions[i]
}

// due returns when automatic rotation is due; zero for never.
func (r *ring) due() time.Time {
	v := r.newest()
	if r.every == 0 || v == nil {
		return time.Time{}
	}
	return v.created.Add(r.every)
}

// cmk is a customer master key, or the tombstone of one. A cmk that a Service
// uses is immutable: changes are made to a copy (see model.edit).
type cmk struct {
	id          string
	description string
	region      string
	origin      Origin
	managed     bool
	protected   bool
	// disabled, deletion and deleted together with the material make the state;
	// disabled is remembered while a deletion is pending.
	disabled bool
	deletion time.Time // when the material goes; zero: not scheduled
	deleted  time.Time // when it went; zero: it did not
	creator  uint32
	created  time.Time
	ring
	grants   []Grant
	imported imported
}

// imported is what only keys of external origin have.
type imported struct {
	// fingerprint identifies the material that was imported first; no other is
	// accepted afterwards. Zero before.
	fingerprint [32]byte
	expires     time.Time // of the material; zero: never
	expired     bool      // the material went because it expired
	// The open import, if any: its token's hash, RSA private key (PKCS #8) and end.
	token     [32]byte
	private   []byte
	tokenEnds time.Time
}

// state returns the key's state at now.
func (k *cmk) state(now time.Time) State {
	switch {
	case !k.deleted.IsZero():
		return Deleted
	case !k.deletion.IsZero():
		return PendingDeletion
	case !k.hasMaterial() || k.expiredAt(now):
		return PendingImport
	case k.disabled:
		return Disabled
	}
	return Enabled
}

// hasMaterial reports whether there is anything to wrap with.
func (k *cmk) hasMaterial() bool {
	v := k.newest()
	return v != nil && v.key != nil
}

// expiredAt reports whether the key's material is past its end at now.
func (k *cmk) expiredAt(now time.Time) bool {
	return k.imported.expired || !k.imported.expires.IsZero() && !now.Before(k.imported.expires)
}

// usable returns nil when the key may encrypt and decrypt at now, and otherwise
// the reason as one of the sentinels.
func (k *cmk) usable(now func() time.Time) error {
	switch {
	case !k.deleted.IsZero():
		return fmt.Errorf("%w: key %s was deleted on %s", ErrKeyRevoked, k.id, day(k.deleted))
	case !k.deletion.IsZero():
		return fmt.Errorf("%w: key %s is to be deleted on %s; `ssefs kms cancel-deletion` keeps it", ErrKeyRevoked, k.id, day(k.deletion))
	case k.disabled:
		return fmt.Errorf("%w: key %s is disabled; `ssefs kms enable` brings it back", ErrKeyRevoked, k.id)
	}
	if k.origin == OriginExternal {
		if k.imported.expired || !k.imported.expires.IsZero() && k.expiredAt(now()) {
			return fmt.Errorf("%w: the material imported for key %s expired on %s; import it again", ErrKeyExpired, k.id, day(k.imported.expires))
		}
		if !k.hasMaterial() {
			return fmt.Errorf("%w: key %s has no material; import it", ErrNoKey, k.id)
		}
	}
	return nil
}

func day(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// model is the whole content of a keystore. The one in use is read under
// Service.mu and is replaced, never changed, save for its generation, which only
// holders of Service.change look at.
type model struct {
	generation uint64
	created    time.Time
	service    ring // wraps the data keys of AES256 files
	clear      ring // wraps the keys that authenticate the files of none buckets
	keys       map[string]*cmk
	aliases    map[string]string // name, with its alias/ prefix, to key ID
	audit      [2]anchor         // where the audit chains were at the last change

	// fresh and dropped are the materials that a change added and removed, stale
	// the other secrets that it removed.
	fresh, dropped []*crypto.Key
	stale          [][]byte
}

// clone returns a copy to make a change in. Key material is shared.
func (m *model) clone() *model {
	c := *m
	c.keys = maps.Clone(m.keys)
	c.aliases = maps.Clone(m.aliases)
	c.fresh, c.dropped, c.stale = nil, nil, nil
	return &c
}

// edit returns a key's record to change. It must exist.
func (m *model) edit(id string) *cmk {
	k := *m.keys[id]
	k.versions = slices.Clone(k.versions)
	k.grants = slices.Clone(k.grants)
	m.keys[id] = &k
	return &k
}

// addVersion makes new material the newest version of r.
func (m *model) addVersion(r *ring, key *crypto.Key, now time.Time) error {
	m.fresh = append(m.fresh, key)
	if len(r.versions) >= maxVersions {
		return fmt.Errorf("%w: a key has at most %d versions", ErrState, maxVersions)
	}
	aead, err := crypto.NewAEAD(key)
	if err != nil {
		return fmt.Errorf("kms: new key version: %w", err)
	}
	number := uint32(1)
	if v := r.newest(); v != nil {
		number = v.number + 1
	}
	r.versions = append(slices.Clone(r.versions), &version{number: number, created: now, key: key, aead: aead})
	return nil
}

// generate adds a version of random material to r.
func (m *model) generate(r *ring, now time.Time) error {
	key, err := crypto.NewKey()
	if err != nil {
		return fmt.Errorf("kms: new key: %w", err)
	}
	return m.addVersion(r, key, now)
}

// dropMaterial takes the material out of every version of r.
func (m *model) dropMaterial(r *ring) {
	for i, v := range r.versions {
		if v.key != nil {
			m.dropped = append(m.dropped, v.key)
			r.versions[i] = &version{number: v.number, created: v.created}
		}
	}
}

func wipeKeys(keys []*crypto.Key) {
	for _, k := range keys {
		k.Wipe()
	}
}

// wipe erases all material.
func (m *model) wipe() {
	rings := []*ring{&m.service, &m.clear}
	for _, k := range m.keys {
		rings = append(rings, &k.ring)
		clear(k.imported.private)
	}
	for _, r := range rings {
		for _, v := range r.versions {
			if v.key != nil {
				v.key.Wipe()
			}
		}
	}
}

// find returns the key that ref, a key ID or an alias, names.
func (m *model) find(ref string) (*cmk, error) {
	if isAlias(ref) {
		name := canonAlias(ref)
		id, ok := m.aliases[name]
		if !ok {
			return nil, fmt.Errorf("%w: %w %q", ErrNoKey, ErrNoAlias, name)
		}
		return m.keys[id], nil
	}
	k, ok := m.keys[canonID(ref)]
	if !ok {
		return nil, fmt.Errorf("%w %q in this volume", ErrNoKey, ref)
	}
	return k, nil
}
