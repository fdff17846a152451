package crypto

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"errors"
	"testing"
)

func testAEAD(t testing.TB, k *Key) *AEAD {
	t.Helper()
	a, err := NewAEAD(k)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestXAESVectors are the vectors of the C2SP specification: one for each value of the bit that the CMAC
// subkey depends on.
func TestXAESVectors(t *testing.T) {
	for _, v := range []struct {
		key       byte
		aad, want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		a := testAEAD(t, testKey(t, v.key))
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed := a.sealWithNonce(nil, nonce, []byte("XAES-256-GCM"), []byte(v.aad))
		if got := hex.EncodeToString(sealed[nonceSize:]); got != v.want {
			t.Errorf("key %d: %s, want %s", v.key, got, v.want)
		}
		if !bytes.Equal(sealed[:nonceSize], nonce) {
			t.Errorf("nonce is %q", sealed[:nonceSize])
		}
		if out, err := a.Open(nil, sealed, []byte(v.aad)); err != nil || string(out) != "XAES-256-GCM" {
			t.Errorf("opened as %q: %v", out, err)
		}
	}
}

// TestXAESAccumulated are the 10,000 random vectors of the C2SP specification, hashed into one.
func TestXAESAccumulated(t *testing.T) {
	in, out := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := in.Read(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	for range 10_000 {
		k, err := KeyFromBytes(read(KeySize))
		if err != nil {
			t.Fatal(err)
		}
		a := testAEAD(t, k)
		k.Wipe()
		nonce := read(nonceSize)
		plaintext := read(int(read(1)[0]))
		aad := read(int(read(1)[0]))
		sealed := a.sealWithNonce(nil, nonce, plaintext, aad)
		if _, err := out.Write(sealed[nonceSize:]); err != nil {
			t.Fatal(err)
		}
		opened, err := a.Open(nil, sealed, aad)
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Fatalf("opened as %x, want %x: %v", opened, plaintext, err)
		}
	}
	sum := make([]byte, 32)
	if _, err := out.Read(sum); err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(sum), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"; got != want {
		t.Errorf("hash of the vectors is %s, want %s", got, want)
	}
}

func TestAEADRefusesWhatIsNotItsOwn(t *testing.T) {
	a := testAEAD(t, testKey(t, 1))
	plaintext, aad := []byte("contents"), []byte("context")
	sealed := a.Seal([]byte("kept"), plaintext, aad)
	if string(sealed[:4]) != "kept" || len(sealed) != 4+len(plaintext)+SealOverhead {
		t.Fatalf("sealed is %q", sealed)
	}
	sealed = sealed[4:]
	opened, err := a.Open([]byte("kept"), sealed, aad)
	if err != nil || string(opened) != "keptcontents" {
		t.Fatalf("opened is %q: %v", opened, err)
	}
	if bytes.Equal(a.Seal(nil, plaintext, aad)[:nonceSize], sealed[:nonceSize]) {
		t.Error("nonce was used twice")
	}
	refused := func(what string, a *AEAD, sealed, aad []byte) {
		if out, err := a.Open(nil, sealed, aad); !errors.Is(err, ErrAuth) || out != nil {
			t.Errorf("%s: opened as %q, %v", what, out, err)
		}
	}
	for bit := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[bit/8] ^= 1 << (bit % 8)
		refused("flipped bit", a, flipped, aad)
	}
	for n := range sealed {
		refused("truncated", a, sealed[:n], aad)
	}
	refused("extended", a, append(bytes.Clone(sealed), 0), aad)
	refused("other context", a, sealed, []byte("contexT"))
	refused("no context", a, sealed, nil)
	refused("other key", testAEAD(t, testKey(t, 2)), sealed, aad)
}

func TestWrapKey(t *testing.T) {
	a, k, aad := testAEAD(t, testKey(t, 1)), testKey(t, 2), []byte("context")
	wrapped, err := a.WrapKey([]byte("kept"), k, aad)
	if err != nil || len(wrapped) != 4+WrappedKeySize || string(wrapped[:4]) != "kept" {
		t.Fatalf("wrapped is %q: %v", wrapped, err)
	}
	wrapped = wrapped[4:]
	back, err := a.UnwrapKey(wrapped, aad)
	if err != nil || !back.Equal(k) {
		t.Fatalf("unwrapped is another key: %v", err)
	}
	back.Wipe()
	for what, b := range map[string][]byte{
		"truncated": wrapped[:len(wrapped)-1], "empty": nil, "extended": append(bytes.Clone(wrapped), 0),
		"short key": a.Seal(nil, make([]byte, 16), aad), "long key": a.Seal(nil, make([]byte, 64), aad),
	} {
		if _, err := a.UnwrapKey(b, aad); !errors.Is(err, ErrAuth) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := a.UnwrapKey(wrapped, nil); !errors.Is(err, ErrAuth) {
		t.Errorf("other context: %v", err)
	}
	gone := testKey(t, 3)
	gone.Wipe()
	if _, err := a.WrapKey(nil, gone, aad); !errors.Is(err, ErrWiped) {
		t.Errorf("wiped key: %v", err)
	}
}
