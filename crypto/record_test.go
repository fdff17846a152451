package crypto

import (
	"bytes"
	"errors"
	"sync"
	"testing"
)

func testSealer(t testing.TB, k *Key, id VolumeID) *RecordSealer {
	t.Helper()
	s, err := NewRecordSealer(k, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordSealer(t *testing.T) {
	k := testKey(t, 1)
	s := testSealer(t, k, VolumeID{1})
	key, plaintext := []byte("i\x00\x01"), []byte("an inode record")
	sealed := s.Seal([]byte("kept"), key, plaintext)
	if string(sealed[:4]) != "kept" || len(sealed) != 4+len(plaintext)+SealOverhead {
		t.Fatalf("sealed is %q", sealed)
	}
	sealed = sealed[4:]
	out, err := s.Open([]byte("kept"), key, sealed)
	if err != nil || string(out) != "keptan inode record" {
		t.Fatalf("opened is %q: %v", out, err)
	}
	refused := func(what string, s *RecordSealer, key, sealed []byte) {
		if out, err := s.Open(nil, key, sealed); !errors.Is(err, ErrAuth) || out != nil {
			t.Errorf("%s: %q, %v", what, out, err)
		}
	}
	refused("other key of the record", s, []byte("i\x00\x02"), sealed)
	refused("other kind", s, []byte("d\x00\x01"), sealed)
	refused("longer key of the record", s, []byte("i\x00\x01\x00"), sealed)
	refused("other volume", testSealer(t, k, VolumeID{2}), key, sealed)
	refused("other metadata key", testSealer(t, testKey(t, 2), VolumeID{1}), key, sealed)
	refused("AEAD without the label", s, key, testAEAD(t, k).Seal(nil, plaintext, key))
	for bit := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("flipped bit", s, key, flipped)
	}
	for n := range sealed {
		refused("truncated", s, key, sealed[:n])
	}
	// Longer than any pooled buffer, and empty.
	long := bytes.Repeat([]byte("x"), 100_000)
	for _, p := range [][]byte{nil, long} {
		if out, err := s.Open(nil, long, s.Seal(nil, long, p)); err != nil || !bytes.Equal(out, p) {
			t.Errorf("record of %d bytes: %v", len(p), err)
		}
	}
}

func TestRecordSealerConcurrent(t *testing.T) {
	s := testSealer(t, testKey(t, 1), VolumeID{1})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				key, plain := []byte{byte(g)}, bytes.Repeat([]byte{byte(g)}, i)
				out, err := s.Open(nil, key, s.Seal(nil, key, plain))
				if err != nil || !bytes.Equal(out, plain) {
					t.Errorf("goroutine %d: %v", g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestRecordSealerNonces: no two records have the same nonce, few have the same
// half that selects the derived key, and more such halves than are remembered
// open all the same.
func TestRecordSealerNonces(t *testing.T) {
	s := testSealer(t, testKey(t, 1), VolumeID{1})
	key, plain := []byte("i"), []byte("record")
	nonces := make(map[[nonceSize]byte]bool)
	prefixes := make(map[[prefixSize]byte]int)
	const n = 3*sealBatchSize + 1
	for range n {
		sealed := s.Seal(nil, key, plain)
		nonces[[nonceSize]byte(sealed)] = true
		prefixes[[prefixSize]byte(sealed)]++
	}
	if len(nonces) != n {
		t.Errorf("%d records have %d nonces", n, len(nonces))
	}
	if len(prefixes) != 4 {
		t.Errorf("%d records share %d prefixes, want 4", n, len(prefixes))
	}
	for p, uses := range prefixes {
		if uses > sealBatchSize {
			t.Errorf("%d records share the prefix %x", uses, p)
		}
	}
	// Two sealers of one key stand for the two copies of a restored store.
	var sealed [][]byte
	for range 2 * len(s.opened) {
		sealed = append(sealed, testSealer(t, testKey(t, 1), VolumeID{1}).Seal(nil, key, plain))
	}
	for range 2 {
		for _, r := range sealed {
			if out, err := s.Open(nil, key, r); err != nil || !bytes.Equal(out, plain) {
				t.Fatalf("opened is %q: %v", out, err)
			}
		}
	}
}
