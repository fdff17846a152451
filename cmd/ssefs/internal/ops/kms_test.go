package ops

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/kms"
)

// refusedWith fails the test unless an operation is refused with want.
func refusedWith(t *testing.T, c Caller, operation string, request any, want error) {
	t.Helper()
	if err := c.Call(t.Context(), operation, request, nil); !errors.Is(err, want) {
		t.Errorf("%s %+v: %v, want %v", operation, request, err, want)
	}
}

func refusedAsUsage(t *testing.T, c Caller, operation string, request any) {
	t.Helper()
	if err := c.Call(t.Context(), operation, request, nil); exit.Of(err) != exit.Usage {
		t.Errorf("%s %+v: %v, want a usage error", operation, request, err)
	}
}

func TestKeyLife(t *testing.T) {
	c := open(t, control.Peer{UID: 5})
	k := call[Key](t, c, KeyCreate, KeyRequest{RotateEvery: "90d"})
	if k.RotateEvery != "90d" || time.Until(k.NextRotation) < 89*24*time.Hour || k.Origin != "KMS" || k.Region != kms.DefaultRegion {
		t.Errorf("made %+v", k)
	}
	if far := call[Key](t, c, KeyCreate, KeyRequest{Region: "far-1"}); far.Region != "far-1" || far.RotateEvery != "off" {
		t.Errorf("made %+v", far)
	}
	refusedAsUsage(t, c, KeyCreate, KeyRequest{Origin: "ELSEWHERE"})
	refusedAsUsage(t, c, KeyCreate, KeyRequest{RotateEvery: "often"})
	refusedAsUsage(t, c, KeyCreate, KeyRequest{RotateEvery: "1s"})
	refusedAsUsage(t, c, KeyCreate, KeyRequest{Region: "Far Away"})
	refusedAsUsage(t, c, KeyCreate, KeyRequest{Origin: "EXTERNAL", RotateEvery: "90d"})

	ref := KeyRequest{Key: k.ID}
	if got := call[Key](t, c, KeySetDescription, KeyRequest{Key: k.ID, Description: "new"}); got.Description != "new" {
		t.Errorf("described %+v", got)
	}
	if got := call[Key](t, c, KeyRotate, ref); got.Current != 2 || len(got.Versions) != 2 {
		t.Errorf("rotated %+v", got)
	}
	if got := call[Key](t, c, KeySetRotation, KeyRequest{Key: k.ID, RotateEvery: "off"}); got.RotateEvery != "off" || !got.NextRotation.IsZero() {
		t.Errorf("rotation ended %+v", got)
	}
	refusedAsUsage(t, c, KeySetRotation, KeyRequest{Key: k.ID, RotateEvery: "now and then"})
	if got := call[Key](t, c, KeyProtect, ref); !got.Protected {
		t.Errorf("protected %+v", got)
	}
	refusedWith(t, c, KeyScheduleDeletion, KeyRequest{Key: k.ID, Days: 7}, kms.ErrProtected)
	if got := call[Key](t, c, KeyUnprotect, ref); got.Protected {
		t.Errorf("unprotected %+v", got)
	}
	refusedWith(t, c, KeyCancelDeletion, ref, kms.ErrState)
	for _, days := range []int{0, 6, 31} {
		refusedAsUsage(t, c, KeyScheduleDeletion, KeyRequest{Key: k.ID, Days: days})
	}
	gone := call[Key](t, c, KeyScheduleDeletion, KeyRequest{Key: k.ID, Days: 7})
	if left := time.Until(gone.DeletionDate); gone.State != "PendingDeletion" || left < 6*24*time.Hour || left > 8*24*time.Hour {
		t.Errorf("to be deleted %+v", gone)
	}
	refusedWith(t, c, KeyRotate, ref, kms.ErrState)
	if got := call[Key](t, c, KeyCancelDeletion, ref); got.State != "Enabled" || !got.DeletionDate.IsZero() {
		t.Errorf("kept %+v", got)
	}

	m := call[MasterKey](t, c, MasterKeyRotate, None{})
	if m.Current != 2 || m.RotateEvery != "90d" || m.NextRotation.IsZero() {
		t.Errorf("master key %+v", m)
	}
	call[MasterKey](t, c, MasterKeySetRotation, KeyRequest{RotateEvery: "off"})
	refusedAsUsage(t, c, MasterKeySetRotation, KeyRequest{RotateEvery: "1s"})
	if m := call[MasterKey](t, c, MasterKeyDescribe, None{}); m.RotateEvery != "off" || len(m.Versions) != 2 {
		t.Errorf("master key %+v", m)
	}

	call[Alias](t, c, AliasCreate, AliasRequest{Name: "a", Key: k.ID})
	other := call[Key](t, c, KeyCreate, KeyRequest{})
	if a := call[Alias](t, c, AliasUpdate, AliasRequest{Name: "a", Key: other.ID}); a != (Alias{"alias/a", other.ID}) {
		t.Errorf("alias %+v", a)
	}
	refusedWith(t, c, AliasUpdate, AliasRequest{Name: "b", Key: other.ID}, kms.ErrNoAlias)
	refusedWith(t, c, AliasUpdate, AliasRequest{Name: "acs/oss", Key: other.ID}, kms.ErrAlias)
}

func TestGrants(t *testing.T) {
	c := open(t, control.Peer{UID: 5})
	k := call[Key](t, c, KeyCreate, KeyRequest{})
	user := func(id uint32, allow string) GrantRequest { return GrantRequest{k.ID, Grant{"user", id, allow}} }
	call[Key](t, c, KeyGrant, user(9, "decrypt"))
	got := call[Key](t, c, KeyGrant, GrantRequest{k.ID, Grant{"group", 9, "decrypt,generate"}})
	want := []Grant{{"user", 5, "decrypt,generate"}, {"user", 9, "decrypt"}, {"group", 9, "decrypt,generate"}}
	if !slices.Equal(got.Grants, want) {
		t.Errorf("grants %+v", got.Grants)
	}
	refusedWith(t, c, KeyRevoke, user(9, "generate"), kms.ErrNoGrant)
	if got := call[Key](t, c, KeyRevoke, user(9, "decrypt,generate")); len(got.Grants) != 2 {
		t.Errorf("grants %+v", got.Grants)
	}
	for _, bad := range []Grant{{"user", 1, "everything"}, {"user", 1, ""}, {"role", 1, "decrypt"}} {
		refusedAsUsage(t, c, KeyGrant, GrantRequest{k.ID, bad})
	}
	call[Bucket](t, c, BucketCreate, BucketRequest{Name: "b", Policy: "KMS"})
	refusedWith(t, c, KeyGrant, GrantRequest{kms.DefaultAlias, Grant{"user", 1, "decrypt"}}, kms.ErrManaged)
}

func TestImport(t *testing.T) {
	c := open(t, control.Peer{})
	k := call[Key](t, c, KeyCreate, KeyRequest{Origin: "EXTERNAL"})
	ref := KeyRequest{Key: k.ID}
	if k.State != "PendingImport" || k.Origin != "EXTERNAL" || k.Current != 0 {
		t.Errorf("made %+v", k)
	}
	refusedWith(t, c, BucketCreate, BucketRequest{Name: "b", Policy: "KMS:" + k.ID}, kms.ErrNoKey)
	p := call[kms.ImportParameters](t, c, KeyImportParameters, ref)
	parsed, err := x509.ParsePKIXPublicKey(p.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(material []byte) []byte {
		wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, parsed.(*rsa.PublicKey), material, nil)
		if err != nil {
			t.Fatal(err)
		}
		return wrapped
	}
	material := wrap(bytes.Repeat([]byte{7}, 32))
	expires := time.Now().Add(time.Hour)
	got := call[Key](t, c, KeyImport, ImportRequest{Key: k.ID, Token: p.Token, Wrapped: material, Expires: expires})
	if got.State != "Enabled" || got.Current != 1 || !got.MaterialExpires.Equal(expires) {
		t.Errorf("imported %+v", got)
	}
	refusedWith(t, c, KeyImport, ImportRequest{Key: k.ID, Token: p.Token, Wrapped: wrap(bytes.Repeat([]byte{8}, 32))}, kms.ErrImport)
	refusedWith(t, c, KeyImport, ImportRequest{Key: k.ID, Token: []byte("no"), Wrapped: material}, kms.ErrImport)
	refusedAsUsage(t, c, KeyImport, ImportRequest{Key: k.ID, Token: p.Token, Wrapped: material, Expires: time.Now().Add(-time.Hour)})
	refusedWith(t, c, KeyRotate, ref, kms.ErrState)
	if got := call[Key](t, c, KeyDeleteMaterial, ref); got.State != "PendingImport" || got.Current != 1 {
		t.Errorf("material deleted %+v", got)
	}
	if got := call[Key](t, c, KeyImport, ImportRequest{Key: k.ID, Token: p.Token, Wrapped: material}); got.State != "Enabled" || !got.MaterialExpires.IsZero() {
		t.Errorf("imported again %+v", got)
	}
	inner := call[Key](t, c, KeyCreate, KeyRequest{})
	refusedWith(t, c, KeyImportParameters, KeyRequest{Key: inner.ID}, kms.ErrState)
	refusedWith(t, c, KeyDeleteMaterial, KeyRequest{Key: inner.ID}, kms.ErrState)
}

// TestDependentsOfKey counts nothing in an empty volume, and names the buckets whose policy uses the key by any name.
func TestDependentsOfKey(t *testing.T) {
	c := open(t, control.Peer{})
	k := call[Key](t, c, KeyCreate, KeyRequest{})
	call[Alias](t, c, AliasCreate, AliasRequest{Name: "a", Key: k.ID})
	for name, policy := range map[string]string{"id": "KMS:" + k.ID, "alias": "KMS:alias/a", "default": "KMS", "none": "none"} {
		call[Bucket](t, c, BucketCreate, BucketRequest{Name: name, Policy: policy})
	}
	for ref, want := range map[string][]string{k.ID: {"alias", "id"}, kms.DefaultAlias: {"default"}} {
		d := call[Dependents](t, c, KeyDependents, KeyRequest{Key: ref})
		if d.Files != 0 || len(d.Buckets) != 0 || !slices.Equal(d.Policies, want) {
			t.Errorf("%s: %+v, want %v", ref, d, want)
		}
	}
	refusedWith(t, c, KeyDependents, KeyRequest{Key: "alias/none"}, kms.ErrNoKey)
}

func TestAuditAndUsage(t *testing.T) {
	c := open(t, control.Peer{UID: 5})
	k := call[Key](t, c, KeyCreate, KeyRequest{})
	call[Key](t, c, KeyDisable, KeyRequest{Key: k.ID})
	chain := call[AuditChain](t, c, Audit, AuditRequest{Chain: ChainKeys})
	if chain.Broken != "" || chain.Count != len(chain.Records) {
		t.Errorf("chain %+v", chain)
	}
	var events []string
	for _, r := range chain.Records {
		events = append(events, r.Event)
		if r.Event == "disable" && (r.UID != 5 || r.KeyID != k.ID) {
			t.Errorf("record %+v", r)
		}
	}
	if want := []string{"create-keystore", "create", "disable"}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
	counted := call[AuditChain](t, c, Audit, AuditRequest{Chain: ChainKeys, Count: true})
	if counted.Count != chain.Count || counted.Records != nil {
		t.Errorf("counted %+v", counted)
	}
	refusedAsUsage(t, c, Audit, AuditRequest{Chain: "other"})
	if usage := call[[]KeyUsage](t, c, Usage, UsageRequest{}); len(usage) != 0 {
		t.Errorf("usage of a key that was not used: %+v", usage)
	}
}

func TestBucketKeys(t *testing.T) {
	c := open(t, control.Peer{})
	if b := call[Bucket](t, c, BucketCreate, BucketRequest{Name: "a", Policy: "KMS"}); !b.BucketKey {
		t.Errorf("made %+v", b)
	}
	if b := call[Bucket](t, c, BucketCreate, BucketRequest{Name: "b", Policy: "KMS", BucketKey: "off"}); b.BucketKey {
		t.Errorf("made %+v", b)
	}
	if b := call[Bucket](t, c, BucketSet, BucketRequest{Name: "a", BucketKey: "off"}); b.BucketKey || b.Policy != "KMS" {
		t.Errorf("set %+v", b)
	}
	if b := call[Bucket](t, c, BucketSet, BucketRequest{Name: "a", Policy: "none"}); b.BucketKey || b.Policy != "none" {
		t.Errorf("the policy alone was set: %+v", b)
	}
	if b := call[Bucket](t, c, BucketSet, BucketRequest{Name: "a", BucketKey: "on"}); !b.BucketKey || b.Policy != "none" {
		t.Errorf("set %+v", b)
	}
	refusedAsUsage(t, c, BucketSet, BucketRequest{Name: "a", BucketKey: "maybe"})
}

func TestBackup(t *testing.T) {
	c := open(t, control.Peer{UID: 5})
	call[Key](t, c, KeyCreate, KeyRequest{})
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := call[Backup](t, c, KeyBackup, BackupRequest{Recipients: []string{id.Recipient().String()}})
	if r, err := age.Decrypt(bytes.NewReader(b.File), id); err != nil || b.Keys != 1 || time.Since(b.Created) > time.Minute {
		t.Errorf("backup %+v, %v, %v", b.BackupInfo, r, err)
	}
	for _, bad := range []BackupRequest{
		{}, {Recipients: []string{"age1nobody"}}, {Recipients: []string{id.Recipient().String()}, Passphrase: []byte("x")},
	} {
		refusedAsUsage(t, c, KeyBackup, bad)
	}
}
