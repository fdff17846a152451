package kms

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"ssefs/crypto"
)

// content returns the encoded content of a keystore with one of everything.
func content(t testing.TB) []byte {
	t.Helper()
	m := &model{generation: 9, created: epoch, keys: map[string]*cmk{}, aliases: map[string]string{}}
	ch := &change{model: m, now: epoch}
	m.service.every = DefaultRotation
	for _, r := range []*ring{&m.service, &m.service, &m.clear} {
		if err := m.generate(r, epoch); err != nil {
			t.Fatal(err)
		}
	}
	add := func(k cmk) *cmk {
		k.region = "local"
		if err := ch.addKey(&k); err != nil {
			t.Fatal(err)
		}
		return &k
	}
	managed := add(cmk{origin: OriginKMS, managed: true, protected: true})
	m.aliases[DefaultAlias], m.aliases["alias/x"] = managed.id, managed.id
	add(cmk{origin: OriginKMS, disabled: true, deletion: epoch.Add(dayLong), creator: 1 << 31, description: "dis",
		grants: []Grant{{GrantUser, 0, opAll}, {GrantGroup, 1 << 31, OpDecrypt}}})
	external := add(cmk{origin: OriginExternal})
	external.imported = imported{fingerprint: [32]byte{1}, expires: epoch.Add(time.Hour), token: [32]byte{2}, tokenEnds: epoch.Add(dayLong), private: []byte("private")}
	if err := m.generate(&external.ring, epoch); err != nil {
		t.Fatal(err)
	}
	gone := add(cmk{origin: OriginExternal})
	gone.imported = imported{fingerprint: [32]byte{1}, expires: epoch, expired: true}
	gone.versions = []*version{{number: 1, created: epoch}}
	ch.bury(add(cmk{origin: OriginKMS}))
	defer m.wipe()
	defer wipeKeys(m.dropped)
	return encodeModel(m)
}

func encodeModel(m *model) []byte {
	count := encoder{counting: true}
	count.model(m)
	enc := encoder{b: make([]byte, 0, count.n)}
	enc.model(m)
	return enc.b
}

func TestCodecRoundTrip(t *testing.T) {
	b := content(t)
	if cap(b) != len(b) {
		t.Errorf("content of %d bytes was counted as %d: it would leave copies of keys behind", len(b), cap(b))
	}
	m, err := decode(bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	defer m.wipe()
	if len(m.keys) != 5 || len(m.aliases) != 2 || m.generation != 9 {
		t.Errorf("%d keys, %d aliases, generation %d", len(m.keys), len(m.aliases), m.generation)
	}
	if again := encodeModel(m); !bytes.Equal(again, b) {
		t.Error("encoding again gives other bytes")
	}
}

// TestDecodeRefuses cuts and changes the content everywhere: nothing panics, and
// what decodes is what was encoded.
func TestDecodeRefuses(t *testing.T) {
	b := content(t)
	for n := range b {
		if m, err := decode(bytes.Clone(b[:n])); err == nil {
			m.wipe()
			t.Fatalf("cut to %d bytes: no error", n)
		}
	}
	if m, err := decode(append(bytes.Clone(b), 0)); err == nil {
		m.wipe()
		t.Error("a byte too many: no error")
	}
	for i := range b {
		for _, x := range []byte{1, 0x80, 0xff} {
			checkDecode(t, func() []byte { c := bytes.Clone(b); c[i] ^= x; return c }())
		}
	}
}

// checkDecode checks that b is refused with ErrFormat or is the encoding of what
// it decodes to.
func checkDecode(t *testing.T, b []byte) {
	m, err := decode(bytes.Clone(b))
	if err != nil {
		if !errors.Is(err, crypto.ErrFormat) {
			t.Errorf("error %v", err)
		}
		return
	}
	defer m.wipe()
	if !bytes.Equal(encodeModel(m), b) {
		t.Errorf("%x decodes and encodes to %x", b, encodeModel(m))
	}
	for _, k := range m.keys {
		_ = k.usable(func() time.Time { return epoch })
		_ = m.describe(k, epoch)
	}
}

func TestDecodeWipesMaterial(t *testing.T) {
	b := content(t)
	m, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	defer m.wipe()
	for _, r := range slices.Collect(maps.Values(map[string]*ring{"service": &m.service, "clear": &m.clear})) {
		for _, v := range r.versions {
			if bytes.Contains(b, v.key.Bytes()) {
				t.Error("the buffer still contains key material")
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	b := content(f)
	f.Add(b)
	f.Add(b[:50])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { checkDecode(t, b) })
}

// FuzzUnseal reads what a disk may return for a keystore file.
func FuzzUnseal(f *testing.F) {
	st := newStore(f)
	st.create(f).Close()
	aead, err := crypto.NewAEAD(st.key)
	if err != nil {
		f.Fatal(err)
	}
	good := st.files[FileA]
	f.Add(good)
	f.Add(good[:headerSize+crypto.SealOverhead])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := unseal(b, aead, st.volume)
		if (err == nil) != bytes.Equal(b, good) {
			t.Errorf("%x: %v", b, err)
		}
		if m != nil {
			m.wipe()
		}
	})
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newID()
		u, ok := parseID(id)
		if !ok || formatID(u) != id || seen[id] || id[14] != '4' {
			t.Fatalf("ID %q", id)
		}
		seen[id] = true
	}
	for _, bad := range []string{"", "x", newID() + "0", "0123456789abcdef0123456789abcdef0123", "0123456G-89ab-4def-8123-456789abcdef", "0123456A-89ab-4def-8123-456789abcdef"} {
		if _, ok := parseID(bad); ok {
			t.Errorf("%q is taken for an ID", bad)
		}
	}
}
