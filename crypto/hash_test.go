package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
)

// plainHMAC is the definition, computed without any of the code under test.
func plainHMAC(key byte, parts ...[]byte) []byte {
	k := make([]byte, KeySize)
	for i := range k {
		k[i] = key
	}
	mac := hmac.New(sha256.New, k)
	for _, p := range parts {
		mac.Write(p)
	}
	return mac.Sum(nil)
}

func TestNameHash(t *testing.T) {
	k := testKey(t, 1)
	h := NewNameHasher(k)
	k.Wipe() // not needed any more
	for _, name := range []string{"", "a", "\x00", string(make([]byte, 255))} {
		for _, parent := range []uint64{0, 1, 1 << 63} {
			want := plainHMAC(1, binary.BigEndian.AppendUint64(nil, parent), []byte(name))
			if got := h.Hash(parent, []byte(name)); [16]byte(want) != got {
				t.Errorf("hash of %d, %q is %x, want %x", parent, name, got, want)
			}
		}
	}
	if NewNameHasher(testKey(t, 2)).Hash(1, []byte("a")) == h.Hash(1, []byte("a")) {
		t.Error("hash does not depend on the key")
	}
}

// TestSetHash compares the hashes of random sets with sums of big integers.
func TestSetHash(t *testing.T) {
	h := NewSetHasher(testKey(t, 1))
	modulus := new(big.Int).Lsh(big.NewInt(1), 256)
	rng := rand.New(rand.NewPCG(1, 2))
	var got SetHash
	want := new(big.Int)
	present := make(map[[2]byte]bool)
	for range 2000 {
		e := [2]byte{byte(rng.IntN(3)), byte(rng.IntN(50))}
		term := new(big.Int).SetBytes(plainHMAC(1, e[:1], e[1:]))
		if present[e] {
			h.Remove(&got, e[0], e[1:])
			want.Sub(want, term)
		} else {
			h.Add(&got, e[0], e[1:])
			want.Add(want, term)
		}
		present[e] = !present[e]
		want.Mod(want, modulus)
		if want.Cmp(new(big.Int).SetBytes(got[:])) != 0 {
			t.Fatalf("hash is %x, want %x", got, want)
		}
	}
	// Emptied in another order than it was filled.
	for e, in := range present {
		if in {
			h.Remove(&got, e[0], e[1:])
		}
	}
	if got != (SetHash{}) {
		t.Errorf("hash of the empty set is %x", got)
	}
}

func TestSetHashDomains(t *testing.T) {
	h := NewSetHasher(testKey(t, 1))
	var a, b, c SetHash
	h.Add(&a, 1, []byte("element"))
	h.Add(&b, 2, []byte("element"))
	NewSetHasher(testKey(t, 2)).Add(&c, 1, []byte("element"))
	if a == b || a == c || a == (SetHash{}) {
		t.Error("hash does not depend on domain and key")
	}
}

func TestHashersConcurrent(t *testing.T) {
	names, sets := NewNameHasher(testKey(t, 1)), NewSetHasher(testKey(t, 1))
	want := names.Hash(7, []byte("name"))
	var wantSet SetHash
	sets.Add(&wantSet, 1, []byte("e"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				var s SetHash
				sets.Add(&s, 1, []byte("e"))
				if names.Hash(7, []byte("name")) != want || s != wantSet {
					t.Error("hash differs under concurrency")
					return
				}
			}
		})
	}
	wg.Wait()
}
