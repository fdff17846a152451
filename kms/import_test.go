package kms

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ssefs/crypto"
)

func material(fill byte) []byte { return bytes.Repeat([]byte{fill}, materialSize) }

// wrapMaterial encrypts as a user would.
func wrapMaterial(t testing.TB, p ImportParameters, h hash.Hash, m []byte) []byte {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(p.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := rsa.EncryptOAEP(h, rand.Reader, public.(*rsa.PublicKey), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

func importParameters(t testing.TB, s *Service, id string) ImportParameters {
	t.Helper()
	p, err := s.GetImportParameters(ctx, root, id)
	if err != nil {
		t.Fatalf("GetImportParameters: %v", err)
	}
	return p
}

func importMaterial(t testing.TB, s *Service, id string, m []byte, expires time.Time) {
	t.Helper()
	p := importParameters(t, s, id)
	if err := s.Import(ctx, root, id, p.Token, wrapMaterial(t, p, sha256.New(), m), expires); err != nil {
		t.Fatalf("Import: %v", err)
	}
}

func TestImport(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	events := &eventLog{}
	s.Subscribe(events.add)
	k := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal})
	other := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal})
	if k.State != PendingImport || k.Current != 0 {
		t.Errorf("new external key: %+v", k)
	}
	ordinary := createKey(t, s, root, CreateOptions{})
	_, err := s.GetImportParameters(ctx, root, ordinary.ID)
	wantErr(t, "parameters for an ordinary key", err, ErrState)
	wantErr(t, "import for an ordinary key", s.Import(ctx, root, ordinary.ID, nil, nil, time.Time{}), ErrState)
	wantErr(t, "delete material of an ordinary key", s.DeleteMaterial(ctx, root, ordinary.ID), ErrState)

	wantErr(t, "no token yet", s.Import(ctx, root, k.ID, nil, nil, time.Time{}), ErrImport)
	wantErr(t, "the hash of no token", s.Import(ctx, root, k.ID, make([]byte, 32), nil, time.Time{}), ErrImport)
	p := importParameters(t, s, k.ID)
	foreign := importParameters(t, s, other.ID)
	good := wrapMaterial(t, p, sha256.New(), material(1))
	for what, c := range map[string]struct {
		token, wrapped []byte
		expires        time.Time
		want           error
	}{
		"another key's token":    {foreign.Token, good, time.Time{}, ErrImport},
		"no token":               {nil, good, time.Time{}, ErrImport},
		"another key's material": {p.Token, wrapMaterial(t, foreign, sha256.New(), material(1)), time.Time{}, ErrImport},
		"another hash":           {p.Token, wrapMaterial(t, p, sha1.New(), material(1)), time.Time{}, ErrImport},
		"short material":         {p.Token, wrapMaterial(t, p, sha256.New(), material(1)[1:]), time.Time{}, ErrImport},
		"long material":          {p.Token, wrapMaterial(t, p, sha256.New(), append(material(1), 0)), time.Time{}, ErrImport},
		"not wrapped":            {p.Token, material(1), time.Time{}, ErrImport},
		"expired before":         {p.Token, good, epoch, ErrArgument},
		"too far":                {p.Token, good, epoch.AddDate(1000, 0, 0), ErrArgument},
	} {
		wantErr(t, what, s.Import(ctx, root, k.ID, c.token, c.wrapped, c.expires), c.want)
	}
	if err := s.Import(ctx, root, k.ID, p.Token, good, time.Time{}); err != nil {
		t.Fatal(err)
	}
	dek, e := makeFile(t, s, kmsPolicy(k.ID), st.file(1), alice)
	opens(t, s, e, st.file(1), alice, dek)

	wantErr(t, "other material while there is some", s.Import(ctx, root, k.ID, p.Token, wrapMaterial(t, p, sha256.New(), material(2)), time.Time{}), ErrImport)
	opens(t, s, e, st.file(1), alice, dek)
	wiped := s.state.keys[k.ID].newest().key
	if err := s.DeleteMaterial(ctx, root, k.ID); err != nil {
		t.Fatal(err)
	}
	if wiped.Bytes() != nil {
		t.Error("deleted material was not wiped")
	}
	wantErr(t, "delete material twice", s.DeleteMaterial(ctx, root, k.ID), ErrState)
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "material deleted", err, ErrNoKey)
	s.Close()
	s = st.open(t)
	s.Subscribe(events.add)
	wantErr(t, "other material", s.Import(ctx, root, k.ID, p.Token, wrapMaterial(t, p, sha256.New(), material(2)), time.Time{}), ErrImport)
	if err := s.Import(ctx, root, k.ID, p.Token, good, epoch.Add(time.Hour)); err != nil {
		t.Fatalf("the same material again: %v", err)
	}
	opens(t, s, e, st.file(1), alice, dek)

	// Expiry acts by itself, and Maintain takes the material away.
	st.clock.advance(time.Hour)
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "expired", err, ErrKeyExpired)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "expired and gone", err, ErrKeyExpired)
	if info, err := s.Describe(ctx, k.ID); err != nil || info.State != PendingImport || !info.MaterialExpired {
		t.Errorf("%+v, %v", info, err)
	}
	if err := s.Import(ctx, root, k.ID, p.Token, good, time.Time{}); err != nil {
		t.Fatal(err)
	}
	opens(t, s, e, st.file(1), alice, dek)
	events.want(t, Event{k.ID, nil}, Event{k.ID, ErrNoKey}, Event{k.ID, nil}, Event{k.ID, ErrKeyExpired}, Event{k.ID, nil})

	// The token's day ends; the RSA key goes with it.
	st.clock.advance(23*time.Hour - time.Nanosecond)
	if err := s.Import(ctx, root, k.ID, p.Token, good, time.Time{}); err != nil {
		t.Errorf("just before the token expires: %v", err)
	}
	st.clock.advance(time.Nanosecond)
	wantErr(t, "token expired", s.Import(ctx, root, k.ID, p.Token, good, time.Time{}), ErrImport)
	private := s.state.keys[k.ID].imported.private
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(private, make([]byte, len(private))) {
		t.Error("the import's private key was not wiped")
	}
	consistent(t, st)
}

// TestEqualMaterial checks that two keys with the same material are two keys.
func TestEqualMaterial(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	var ids [2]string
	for i := range ids {
		ids[i] = createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal}).ID
		importMaterial(t, s, ids[i], material(1), time.Time{})
	}
	if s.state.keys[ids[0]].imported.fingerprint == s.state.keys[ids[1]].imported.fingerprint {
		t.Error("equal fingerprints")
	}
	_, e := makeFile(t, s, kmsPolicy(ids[0]), st.file(1), alice)
	e.KeyID = ids[1]
	_, err := s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "the other key", err, crypto.ErrAuth)
}

// TestImportWithOpenSSL is the worked example of the documentation.
func TestImportWithOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("this test needs openssl: apt-get install openssl")
	}
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal}).ID
	p := importParameters(t, s, id)
	dir := t.TempDir()
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.PublicKey})
	if err := os.WriteFile(filepath.Join(dir, "public.pem"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"rand", "-out", "material.bin", "32"},
		{"pkeyutl", "-encrypt", "-pubin", "-inkey", "public.pem", "-in", "material.bin", "-out", "wrapped.bin",
			"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256"},
	} {
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	wrapped, err := os.ReadFile(filepath.Join(dir, "wrapped.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Import(ctx, root, id, p.Token, wrapped, time.Time{}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(dir, "material.bin"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.state.keys[id].newest().key.Bytes(), want) {
		t.Error("the material is not what openssl wrapped")
	}
}
