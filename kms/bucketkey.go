package kms

import (
	"container/list"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"ssefs/crypto"
)

// A bucket key stands between a CMK and the data keys of one bucket, so that many
// files cost one use of the CMK. It is not kept anywhere by itself: each envelope
// that uses one carries it, wrapped. Wrapped in such an envelope is
//
//	2   length of the wrapped bucket key
//	n   the bucket key, sealed under the CMK's version with AAD =
//	    "ssefs bucket key" 0 || volume (16) || bucket (8) || key version (4) || bucket key's ID (16) || key ID
//	72  the data key, sealed under the bucket key with AAD =
//	    the envelope's || the n bytes above
//
// Unwrapped bucket keys are kept in memory, as ciphers only, for bucketKeyLife at
// most and while their CMK is usable. Whether the CMK is, and whether the caller
// may use it, is checked for each data key all the same.
const (
	bucketKeyLife = time.Hour
	maxBucketKeys = 1024
)

type bucketKey struct {
	id      [16]byte
	keyID   string
	version uint32 // of the CMK
	bucket  uint64
	wrapped []byte // its length in front
	aead    *crypto.AEAD
	born    time.Time
}

// place is where a bucket key wraps.
type place struct {
	bucket uint64
	keyID  string
}

// bucketKeys are the unwrapped bucket keys.
type bucketKeys struct {
	volume crypto.VolumeID
	clock  func() time.Time

	mu sync.Mutex
	// current has the key that new data keys of a place are wrapped with.
	current map[place]*bucketKey
	byID    map[[16]byte]*list.Element // of recent
	recent  list.List                  // of *bucketKey, the one used last in front
}

func newBucketKeys(volume crypto.VolumeID, clock func() time.Time) *bucketKeys {
	return &bucketKeys{volume: volume, clock: clock, current: map[place]*bucketKey{}, byID: map[[16]byte]*list.Element{}}
}

// wrap makes the envelope e of a file, whose CMK is entered already, with dek
// wrapped under the bucket key of its place. fetched is true when that took a use
// of the CMK's version v.
func (b *bucketKeys) wrap(e *crypto.Envelope, dek *crypto.Key, fc crypto.FileContext, v *version) (fetched bool, err error) {
	k, fetched, err := b.currentKey(place{fc.Bucket, e.KeyID}, v)
	if err != nil {
		return fetched, fmt.Errorf("kms: bucket key: %w", err)
	}
	e.BucketKey = k.id
	wrapped := make([]byte, 0, len(k.wrapped)+crypto.WrappedKeySize)
	wrapped = append(wrapped, k.wrapped...)
	e.Wrapped, err = k.aead.WrapKey(wrapped, dek, append(e.AAD(fc), k.wrapped...))
	return fetched, err
}

// unwrap opens an envelope made by wrap. fetched is true when that took a use of
// the CMK's version v.
func (b *bucketKeys) unwrap(e crypto.Envelope, fc crypto.FileContext, v *version) (dek *crypto.Key, fetched bool, err error) {
	if len(e.Wrapped) < 2 {
		return nil, false, crypto.ErrAuth
	}
	n := 2 + int(binary.BigEndian.Uint16(e.Wrapped))
	if len(e.Wrapped) != n+crypto.WrappedKeySize {
		return nil, false, crypto.ErrAuth
	}
	k, fetched, err := b.open(e, fc, v, e.Wrapped[:n])
	if err != nil {
		return nil, fetched, err
	}
	dek, err = k.aead.UnwrapKey(e.Wrapped[n:], append(e.AAD(fc), e.Wrapped[:n]...))
	return dek, fetched, err
}

func (b *bucketKeys) currentKey(p place, v *version) (k *bucketKey, made bool, err error) {
	now := b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.current[p]; k != nil && k.version == v.number && k.fresh(now) {
		return k, false, nil
	}
	k = &bucketKey{keyID: p.keyID, version: v.number, bucket: p.bucket, born: now}
	_, _ = rand.Read(k.id[:])
	key, err := crypto.NewKey()
	if err != nil {
		return nil, false, err
	}
	defer key.Wipe()
	k.wrapped = binary.BigEndian.AppendUint16(make([]byte, 0, 2+crypto.WrappedKeySize), crypto.WrappedKeySize)
	if k.wrapped, err = v.aead.WrapKey(k.wrapped, key, b.aad(k)); err != nil {
		return nil, false, err
	}
	if k.aead, err = crypto.NewAEAD(key); err != nil {
		return nil, false, err
	}
	b.add(k)
	b.current[p] = k
	return k, true, nil
}

// open returns the bucket key of an envelope. That a cached one is that of the
// envelope's bucket and CMK shows when the data key is unwrapped.
func (b *bucketKeys) open(e crypto.Envelope, fc crypto.FileContext, v *version, wrapped []byte) (k *bucketKey, fetched bool, err error) {
	now := b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if el := b.byID[e.BucketKey]; el != nil {
		k := el.Value.(*bucketKey)
		if k.fresh(now) && k.bucket == fc.Bucket && k.keyID == e.KeyID && k.version == e.KeyVersion {
			b.recent.MoveToFront(el)
			return k, false, nil
		}
	}
	k = &bucketKey{id: e.BucketKey, keyID: e.KeyID, version: e.KeyVersion, bucket: fc.Bucket, born: now}
	k.wrapped = append(k.wrapped, wrapped...)
	key, err := v.aead.UnwrapKey(wrapped[2:], b.aad(k))
	if err != nil {
		return nil, true, err
	}
	defer key.Wipe()
	if k.aead, err = crypto.NewAEAD(key); err != nil {
		return nil, true, err
	}
	b.add(k)
	return k, true, nil
}

// fresh reports whether k may still be used from memory. A clock that was set
// back makes it stale too.
func (k *bucketKey) fresh(now time.Time) bool {
	age := now.Sub(k.born)
	return age >= 0 && age < bucketKeyLife
}

// add puts k into the cache, and what was used longest ago out.
func (b *bucketKeys) add(k *bucketKey) {
	if el := b.byID[k.id]; el != nil {
		b.remove(el)
	}
	b.byID[k.id] = b.recent.PushFront(k)
	for b.recent.Len() > maxBucketKeys {
		b.remove(b.recent.Back())
	}
}

func (b *bucketKeys) remove(el *list.Element) {
	k := el.Value.(*bucketKey)
	b.recent.Remove(el)
	delete(b.byID, k.id)
	if p := (place{k.bucket, k.keyID}); b.current[p] == k {
		delete(b.current, p)
	}
}

// keep drops all bucket keys but those that are fresh and whose CMK keep accepts.
func (b *bucketKeys) keep(accept func(keyID string) bool) {
	now := b.clock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for el := b.recent.Front(); el != nil; {
		next := el.Next()
		if k := el.Value.(*bucketKey); !k.fresh(now) || !accept(k.keyID) {
			b.remove(el)
		}
		el = next
	}
}

func (b *bucketKeys) aad(k *bucketKey) []byte {
	aad := append([]byte("ssefs bucket key\x00"), b.volume[:]...)
	aad = binary.BigEndian.AppendUint64(aad, k.bucket)
	aad = binary.BigEndian.AppendUint32(aad, k.version)
	aad = append(aad, k.id[:]...)
	return append(aad, k.keyID...)
}
