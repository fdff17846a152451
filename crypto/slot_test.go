package crypto

import (
	"bytes"
	"errors"
	"testing"
)

func TestSecret(t *testing.T) {
	b := []byte("secret")
	s := PassphraseSecret(b)
	if s.Kind() != SlotPassphrase || string(s.Bytes()) != "secret" {
		t.Errorf("secret is %v, %q", s.Kind(), s.Bytes())
	}
	if got := s.GoString(); got != "[secret passphrase]" {
		t.Errorf("prints as %q", got)
	}
	copied := s
	s.Wipe()
	if !bytes.Equal(b, make([]byte, 6)) || !bytes.Equal(copied.Bytes(), b) {
		t.Error("wiping left the secret or a copy of it")
	}
	if k := KeyFileSecret(b).Kind(); k != SlotKeyFile {
		t.Errorf("kind is %v", k)
	}
	Secret{}.Wipe()
	if (Secret{}).Bytes() != nil {
		t.Error("no secret has bytes")
	}
}

// TestSlotIsSalted: one secret in two slots leads to different keys and wraps.
func TestSlotIsSalted(t *testing.T) {
	root, secret := testKey(t, 1), bytes.Repeat([]byte{1}, MinKeyFileSize)
	for _, kind := range []SlotKind{SlotPassphrase, SlotKeyFile} {
		var slots [2]slot
		var keys [2]*Key
		for i := range slots {
			slots[i] = slot{id: 1, kind: kind, params: cheap()}
			if err := slots[i].seal(VolumeID{}, root, secret); err != nil {
				t.Fatal(err)
			}
			k, err := slots[i].key(secret)
			if err != nil {
				t.Fatal(err)
			}
			defer k.Wipe()
			keys[i] = k
		}
		if keys[0].Equal(keys[1]) || slots[0].salt == slots[1].salt || slots[0].wrapped == slots[1].wrapped {
			t.Errorf("%v: two slots are alike", kind)
		}
	}
}

// TestFeatures decodes what comes after the check for unknown features, of which version 1 refuses all.
func TestFeatures(t *testing.T) {
	v := newTestVolume(t)
	for what, c := range map[string]struct {
		features []string
		want     error
	}{
		"none":       {nil, nil},
		"one":        {[]string{"a-1"}, nil},
		"two":        {[]string{"a", "b"}, nil},
		"unsorted":   {[]string{"b", "a"}, ErrFormat},
		"twice":      {[]string{"a", "a"}, ErrFormat},
		"empty":      {[]string{""}, ErrFormat},
		"upper case": {[]string{"A"}, ErrFormat},
		"underscore": {[]string{"a_b"}, ErrFormat},
		"quote":      {[]string{`a"b`}, ErrFormat},
		"long":       {[]string{"abcdefghijklmnopqrstuvwxyzabcdefg"}, ErrFormat},
	} {
		v.header.features = c.features
		b := v.marshal(t, v.header)
		h, err := decodeHeader(b)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		if err == nil && !bytes.Equal(v.marshal(t, h), b) {
			t.Errorf("%s: encoded differently", what)
		}
		if len(c.features) > 0 {
			if _, err := ParseHeader(b); !errors.Is(err, ErrFeature) {
				t.Errorf("%s: unknown feature gave %v", what, err)
			}
		}
	}
}

// TestNoKeyIsLeft counts arena slots around everything that makes keys for itself, success and failure.
func TestNoKeyIsLeft(t *testing.T) {
	v := newTestVolume(t)
	tampered := rechecksum(bytes.Replace(v.bytes, []byte(`"generation": 2`), []byte(`"generation": 3`), 1))
	aead := testAEAD(t, v.root)
	for what, fn := range map[string]func(){
		"add":        func() { v.add(t, v.header, SlotPassphrase, "x", "") },
		"marshal":    func() { v.marshal(t, v.header) },
		"right":      func() { v.opens(t, parse(t, v.bytes), passphrase("secret"), 1) },
		"wrong":      func() { _, _, _ = parse(t, v.bytes).Unlock(passphrase("wrong")) },
		"tampered":   func() { _, _, _ = parse(t, tampered).Unlock(passphrase("secret")) },
		"bad unwrap": func() { _, _ = aead.UnwrapKey(make([]byte, WrappedKeySize), nil) },
		"bad size":   func() { _, _ = KeyFromBytes(make([]byte, 3)) },
	} {
		free := func() int {
			secrets.mu.Lock()
			defer secrets.mu.Unlock()
			return len(secrets.free)
		}
		before := free()
		fn()
		// The arena may have grown by whole chunks.
		if left := (before - free()) % (arenaChunk / KeySize); left != 0 {
			t.Errorf("%s: %d keys left", what, left)
		}
	}
}
