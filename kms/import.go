package kms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"ssefs/crypto"
)

const (
	importTokenLife = 24 * time.Hour
	importTokenSize = 32
	importRSABits   = 3072 // as strong as the 128-bit level needs
)

// ImportParameters is what material is wrapped with to be imported.
type ImportParameters struct {
	KeyID string `json:"key_id"`
	// PublicKey is an RSA key, PKIX in DER. Material is encrypted to it with
	// RSA-OAEP, SHA-256 for both hashes, no label.
	PublicKey []byte `json:"public_key"`
	// Token goes with the wrapped material.
	Token   []byte    `json:"import_token"`
	Expires time.Time `json:"expires"`
}

// GetImportParameters opens an import for a key of external origin. The public
// key and the token are valid together, for this key, for 24 hours and any number
// of imports, or until they are asked for anew.
func (s *Service) GetImportParameters(ctx context.Context, by By, ref string) (ImportParameters, error) {
	// Before the slow part, and without any lock.
	if k, err := s.Describe(ctx, ref); err != nil {
		return ImportParameters{}, err
	} else if k.Origin != OriginExternal {
		return ImportParameters{}, notExternal(k.ID)
	}
	private, err := rsa.GenerateKey(rand.Reader, importRSABits)
	if err != nil {
		return ImportParameters{}, fmt.Errorf("kms: import key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return ImportParameters{}, fmt.Errorf("kms: import key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return ImportParameters{}, fmt.Errorf("kms: import key: %w", err)
	}
	p := ImportParameters{PublicKey: public, Token: make([]byte, importTokenSize)}
	_, _ = rand.Read(p.Token)
	err = s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if k.origin != OriginExternal {
			return notExternal(k.id)
		}
		if !k.deleted.IsZero() {
			return stateError(k, ch.now)
		}
		ch.endImport(k)
		p.KeyID, p.Expires = k.id, ch.now.Add(importTokenLife)
		ch.note(by, "get-import-parameters", k.id, "")
		k.imported.token, k.imported.tokenEnds, k.imported.private = sha256.Sum256(p.Token), p.Expires, der
		return nil
	})
	if err != nil {
		return ImportParameters{}, err
	}
	return p, nil
}

// Import gives a key of external origin its material: 256 bits, encrypted as
// GetImportParameters says. expires is when the material stops being usable, zero
// for never. A key that had material before takes the same again, and nothing
// else; while it still has it, importing only sets a new expiry. ErrImport when
// token or material are refused, ErrState in PendingDeletion.
func (s *Service) Import(ctx context.Context, by By, ref string, token, wrapped []byte, expires time.Time) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if k.origin != OriginExternal {
			return notExternal(k.id)
		}
		switch k.state(ch.now) {
		case PendingDeletion, Deleted:
			return stateError(k, ch.now)
		}
		if !expires.IsZero() && (!expires.After(ch.now) || expires.Year() > maxYear) {
			return fmt.Errorf("%w: material must expire in the future, and before the year %d", ErrArgument, maxYear)
		}
		hash := sha256.Sum256(token)
		switch {
		case k.imported.private == nil, subtle.ConstantTimeCompare(hash[:], k.imported.token[:]) != 1:
			return fmt.Errorf("%w: the import token is not the one last given out for key %s", ErrImport, k.id)
		case reached(k.imported.tokenEnds, ch.now):
			return fmt.Errorf("%w: the import token expired on %s; ask for new import parameters", ErrImport, day(k.imported.tokenEnds))
		}
		key, print, err := unwrapMaterial(k, wrapped)
		if err != nil {
			return err
		}
		ch.note(by, "import", k.id, expiry(expires))
		return ch.takeMaterial(k, key, print, expires)
	})
}

func expiry(t time.Time) string {
	if t.IsZero() {
		return "without expiry"
	}
	return "expires " + day(t)
}

// maxYear keeps times within what the keystore can hold.
const maxYear = 2200

// unwrapMaterial decrypts imported material and returns it with its fingerprint.
func unwrapMaterial(k *cmk, wrapped []byte) (*crypto.Key, [32]byte, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(k.imported.private)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("kms: import key: %w", err)
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, [32]byte{}, fmt.Errorf("kms: import key of type %T", parsed)
	}
	material, err := rsa.DecryptOAEP(sha256.New(), nil, private, wrapped, nil)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("%w: the material was not encrypted with RSA-OAEP (SHA-256) to the public key of key %s", ErrImport, k.id)
	}
	defer clear(material)
	if len(material) != materialSize {
		return nil, [32]byte{}, fmt.Errorf("%w: %d bytes of material, it takes %d", ErrImport, len(material), materialSize)
	}
	// The key ID makes equal material of two keys look different.
	input := slices.Concat([]byte("ssefs imported material\x00"+k.id), material)
	print := sha256.Sum256(input)
	clear(input)
	key, err := crypto.KeyFromBytes(material)
	if err != nil {
		return nil, [32]byte{}, fmt.Errorf("kms: imported key: %w", err)
	}
	return key, print, nil
}

// takeMaterial makes key the material of k; it belongs to the change afterwards.
func (ch *change) takeMaterial(k *cmk, key *crypto.Key, print [32]byte, expires time.Time) error {
	ch.fresh = append(ch.fresh, key)
	if k.newest() != nil && subtle.ConstantTimeCompare(print[:], k.imported.fingerprint[:]) != 1 {
		return fmt.Errorf("%w: key %s had other material before, and its files open with that only", ErrImport, k.id)
	}
	switch v := k.newest(); {
	case v == nil:
		if err := ch.addVersion(&k.ring, key, ch.now); err != nil {
			return err
		}
	case v.key == nil:
		aead, err := crypto.NewAEAD(key)
		if err != nil {
			return fmt.Errorf("kms: imported key: %w", err)
		}
		k.versions[0] = &version{number: v.number, created: v.created, key: key, aead: aead}
	default:
		ch.dropped = append(ch.dropped, key)
	}
	k.imported.fingerprint = print
	k.imported.expires = expires.UTC().Round(0)
	k.imported.expired = false
	return nil
}

// DeleteMaterial destroys the material of a key of external origin, now. The key
// is PendingImport until the same material is imported again. ErrState when it
// has none.
func (s *Service) DeleteMaterial(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if k.origin != OriginExternal {
			return notExternal(k.id)
		}
		if !k.hasMaterial() {
			return stateError(k, ch.now)
		}
		ch.note(by, "delete-material", k.id, "")
		ch.dropMaterial(&k.ring)
		k.imported.expires, k.imported.expired = time.Time{}, false
		return nil
	})
}

// endImport closes the key's open import, if any.
func (ch *change) endImport(k *cmk) {
	if k.imported.private != nil {
		ch.stale = append(ch.stale, k.imported.private)
	}
	k.imported.token, k.imported.tokenEnds, k.imported.private = [32]byte{}, time.Time{}, nil
}

func notExternal(id string) error {
	return fmt.Errorf("%w: key %s is not of external origin", ErrState, id)
}
