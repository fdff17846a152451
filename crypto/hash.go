package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math/bits"
	"sync"
)

// keyedHash is HMAC-SHA256 under one key, with states to take from a pool: setting one up costs as much as a
// hash. HMAC and not a keyed hash of our own making, because a pseudorandom function is what its uses rely
// on.
type keyedHash struct {
	pool sync.Pool
}

// macState is one HMAC and the memory its arguments need (arguments of interface methods escape to the heap).
type macState struct {
	mac  hash.Hash
	head [8]byte
	sum  [sha256.Size]byte
}

// newKeyedHash copies what it needs from k. It panics when k was wiped: its callers have no error to return,
// and hashing under no key would be worse.
func newKeyedHash(k *Key) *keyedHash {
	var proto hash.Cloner
	err := k.use(func(b []byte) error {
		mac := hmac.New(sha256.New, b)
		mac.Reset() // precomputes both halves of the key, which clones then share
		proto = mac.(hash.Cloner)
		return nil
	})
	if err != nil {
		panic("crypto: hashing under a wiped key")
	}
	return &keyedHash{pool: sync.Pool{New: func() any {
		mac, err := proto.Clone()
		if err != nil {
			panic("crypto: cloning HMAC: " + err.Error())
		}
		return &macState{mac: mac}
	}}}
}

// sum hashes head (at most 8 bytes) and body and returns a state with the result in its sum; the caller gives
// it back to the pool.
func (h *keyedHash) sum(head uint64, headLen int, body []byte) *macState {
	s := h.pool.Get().(*macState)
	s.mac.Reset()
	binary.BigEndian.PutUint64(s.head[:], head)
	s.mac.Write(s.head[8-headLen:])
	s.mac.Write(body)
	s.mac.Sum(s.sum[:0])
	return s
}

// NameHasher hashes names of directory entries, so that the store can find an entry by name without showing
// the name. Safe for concurrent use.
type NameHasher struct{ h *keyedHash }

// NewNameHasher returns the hasher under k, which it does not need afterwards. It panics when k was wiped.
func NewNameHasher(k *Key) *NameHasher { return &NameHasher{h: newKeyedHash(k)} }

// Hash is HMAC-SHA256(key, parent || name), truncated to 128 bits: names in one directory collide by chance
// with probability 2^-89 for a million entries, and nobody without the key can look for collisions. The
// parent is hashed too, so that equal names in different directories do not show.
func (h *NameHasher) Hash(parent uint64, name []byte) [16]byte {
	s := h.h.sum(parent, 8, name)
	out := [16]byte(s.sum[:16])
	h.h.pool.Put(s)
	return out
}

// SetHash is a keyed hash of a set that changes with each element added or removed, at a cost that does not
// depend on the size of the set: the sum modulo 2^256 of HMAC-SHA256(key, element) over the elements. The
// empty set is the zero value; equal sets have equal hashes (==), whatever the order.
//
// This is MSet-Add-Hash (Clarke et al., 2003) without its random term, which hides the sums from those who
// see them: here they are only ever stored sealed. Nobody without the key can choose elements whose hashes
// cancel. An element added twice counts twice, so a hash of the same elements, each once, is another.
type SetHash [32]byte

// SetHasher computes set hashes. Safe for concurrent use on different sets.
type SetHasher struct{ h *keyedHash }

// NewSetHasher returns the hasher under k, which it does not need afterwards. It panics when k was wiped.
func NewSetHasher(k *Key) *SetHasher { return &SetHasher{h: newKeyedHash(k)} }

// Add adds an element to the set whose hash is s. The domain tells sets of different kinds of elements apart.
func (h *SetHasher) Add(s *SetHash, domain byte, element []byte) {
	m := h.h.sum(uint64(domain), 1, element)
	var carry uint64
	for i := 24; i >= 0; i -= 8 {
		var x uint64
		x, carry = bits.Add64(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(m.sum[i:]), carry)
		binary.BigEndian.PutUint64(s[i:], x)
	}
	h.h.pool.Put(m)
}

// Remove removes an element from the set whose hash is s: the inverse of Add.
func (h *SetHasher) Remove(s *SetHash, domain byte, element []byte) {
	m := h.h.sum(uint64(domain), 1, element)
	var borrow uint64
	for i := 24; i >= 0; i -= 8 {
		var x uint64
		x, borrow = bits.Sub64(binary.BigEndian.Uint64(s[i:]), binary.BigEndian.Uint64(m.sum[i:]), borrow)
		binary.BigEndian.PutUint64(s[i:], x)
	}
	h.h.pool.Put(m)
}
