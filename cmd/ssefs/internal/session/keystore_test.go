package session

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/kms"
	"ssefs/store"
)

// TestMasterKeyRotationIsKept: the interval is set at creation or at any mount, and later mounts leave it.
func TestMasterKeyRotationIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	every := func(setting string) time.Duration {
		t.Helper()
		o := silent()
		o.Settings.RotateMasterKey = setting
		s := mustOpen(t, path, o)
		defer mustClose(t, s)
		info, err := s.KMS().MasterKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.RotateEvery
	}
	for _, step := range []struct {
		setting string
		want    time.Duration
	}{{"30d", 30 * 24 * time.Hour}, {"", 30 * 24 * time.Hour}, {"off", 0}, {"", 0}, {"12h", 12 * time.Hour}} {
		if got := every(step.setting); got != step.want {
			t.Errorf("with %q: every %v, want %v", step.setting, got, step.want)
		}
	}
	o := silent()
	for _, bad := range []string{"90", "1s"} {
		o.Settings.RotateMasterKey = bad
		if _, err := OpenOrCreate(t.Context(), path, key("a"), o); err == nil {
			t.Errorf("%q passed", bad)
		} else if bad == "90" && !errors.Is(err, interval.ErrInterval) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if got := every(""); got != 12*time.Hour {
		t.Errorf("a refused interval changed it to %v", got)
	}
}

// TestKeyUseIsRecorded: the usage counts and the audit log are in the store, and a read-only session leaves them alone.
func TestKeyUseIsRecorded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path, silent())
	if _, err := s.KMS().CreateKey(t.Context(), kms.By{UID: 5}, kms.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	log := filepath.Join(path, store.AuditKeysLog+".001")
	before, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	o := silent()
	o.ReadOnly = true
	s = mustOpen(t, path, o)
	created := 0
	err = s.KMS().Audit(t.Context(), kms.AuditKeys, func(r kms.AuditRecord) error {
		if r.Event == "create" && r.UID == 5 {
			created++
		}
		return nil
	})
	if err != nil || created != 1 {
		t.Errorf("the creation of a key is on record %d times, %v", created, err)
	}
	if _, err := s.KMS().CreateKey(t.Context(), kms.By{}, kms.CreateOptions{}); err == nil {
		t.Error("a read-only session made a key")
	}
	mustClose(t, s)
	if after, err := os.ReadFile(log); err != nil || string(after) != string(before) {
		t.Errorf("a read-only session changed the audit log: %v", err)
	}
}

// TestAcceptKeystore puts old copies of the keystore back: they are refused, until they are accepted, which is on record.
func TestAcceptKeystore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path, silent())
	info, err := s.KMS().CreateKey(t.Context(), kms.By{}, kms.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(filepath.Join(path, store.KeystoreA))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.KMS().Disable(t.Context(), kms.By{}, info.ID); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	accept := silent()
	accept.Keystore = AnyKeystore
	if _, err := Open(t.Context(), path, key("a"), accept); !errors.Is(err, ErrKeystoreCurrent) {
		t.Errorf("accepting where all is in order: %v", err)
	}
	for _, name := range []string{store.KeystoreA, store.KeystoreB} {
		if err := os.WriteFile(filepath.Join(path, name), old, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), path, key("a"), silent()); !errors.Is(err, kms.ErrRollback) || !strings.Contains(err.Error(), "accept-keystore") {
		t.Errorf("an old keystore: %v", err)
	}
	s, err = Open(t.Context(), path, key("a"), accept)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path, silent())
	defer mustClose(t, s)
	if info, err := s.KMS().Describe(t.Context(), info.ID); err != nil || info.State != kms.Enabled {
		t.Errorf("the old keystore is not in use: %v, %v", info.State, err)
	}
	accepted := 0
	err = s.KMS().Audit(t.Context(), kms.AuditKeys, func(r kms.AuditRecord) error {
		if r.Event == "open-anyway" && r.UID == uint32(os.Getuid()) {
			accepted++
		}
		return nil
	})
	if err != nil || accepted != 1 {
		t.Errorf("accepted %d times on record, %v", accepted, err)
	}
}

// TestRestoreBackup: a damaged keystore comes back from a backup; one in order only if that is meant.
func TestRestoreBackup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path, silent())
	info, err := s.KMS().CreateKey(t.Context(), kms.By{}, kms.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var backup bytes.Buffer
	if _, err := s.KMS().ExportBackup(t.Context(), kms.By{}, &backup, id.Recipient()); err != nil {
		t.Fatal(err)
	}
	if err := s.KMS().Disable(t.Context(), kms.By{}, info.ID); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	restore := func(rule KeystoreRule) error {
		restored := 0
		o := silent()
		o.Keystore = rule
		o.Backup = Backup{bytes.NewReader(backup.Bytes()), []age.Identity{id}, func(i kms.BackupInfo) { restored = i.Keys }}
		s, err := Open(t.Context(), path, key("a"), o)
		if err != nil {
			return err
		}
		if restored != 1 {
			t.Errorf("%d keys restored", restored)
		}
		return s.Close()
	}
	state := func() kms.State {
		t.Helper()
		s := mustOpen(t, path, silent())
		defer mustClose(t, s)
		info, err := s.KMS().Describe(t.Context(), info.ID)
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	if err := restore(BackupForDamaged); !errors.Is(err, ErrKeystoreCurrent) {
		t.Errorf("in place of one in order: %v", err)
	}
	if got := state(); got != kms.Disabled {
		t.Errorf("a refused backup changed the key's state to %v", got)
	}
	for _, name := range []string{store.KeystoreA, store.KeystoreB} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("damage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), path, key("a"), silent()); !errors.Is(err, kms.ErrKeystoreDamaged) || !strings.Contains(err.Error(), "import-backup") {
		t.Errorf("a damaged keystore: %v", err)
	}
	if err := restore(BackupForDamaged); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != kms.Enabled {
		t.Errorf("the key is %v", got)
	}
	if err := restore(BackupForAny); err != nil {
		t.Errorf("in place of one in order, on purpose: %v", err)
	}
	if got := state(); got != kms.Enabled {
		t.Errorf("the key is %v", got)
	}
}
