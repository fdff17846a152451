package kms

import (
	"bytes"
	"errors"
	"maps"
	"testing"
	"time"

	"filippo.io/age"

	"ssefs/crypto"
)

// backupOf exports the keys of s to a new identity.
func backupOf(t *testing.T, s *Service) ([]byte, *age.X25519Identity) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	info, err := s.ExportBackup(ctx, alice.by(), &b, id.Recipient())
	if err != nil || info.Generation != s.Generation() {
		t.Fatalf("export: %+v, %v", info, err)
	}
	return b.Bytes(), id
}

func (c Caller) by() By { return By{UID: c.UID} }

// TestBackupRestores loses the keystore in several ways, and gets it back with its data keys, states and grants.
func TestBackupRestores(t *testing.T) {
	for what, lose := range map[string]func(st *store){
		"both copies damaged": func(st *store) { st.damage(FileA, damages["tag"]); st.damage(FileB, damages["tag"]) },
		"both copies lost":    func(st *store) { delete(st.files, FileA); delete(st.files, FileB) },
		"all in order":        func(*store) {},
	} {
		t.Run(what, func(t *testing.T) {
			st := newStore(t)
			st.logs = &memFiles{files: map[string][]byte{}}
			s := st.create(t)
			key := createKey(t, s, alice.by(), CreateOptions{Description: "kept"}).ID
			disabled := createKey(t, s, alice.by(), CreateOptions{}).ID
			if err := s.Disable(ctx, root, disabled); err != nil {
				t.Fatal(err)
			}
			fc := st.file(1)
			dek, e, err := s.NewDataKey(ctx, kmsPolicy(key), fc, alice)
			if err != nil {
				t.Fatal(err)
			}
			aes, aesEnvelope, err := s.NewDataKey(ctx, crypto.Policy{Algorithm: crypto.AlgorithmAES256}, fc, alice)
			if err != nil {
				t.Fatal(err)
			}
			backup, id := backupOf(t, s)
			s.Close()
			head := st.head
			lose(st)

			s, info, err := RestoreBackup(st.options(), root, bytes.NewReader(backup), id)
			if err != nil {
				t.Fatal(err)
			}
			if info.Keys != 2 || info.MasterKeyVersions != 1 || st.head <= head {
				t.Errorf("restored %+v, head from %d to %d", info, head, st.head)
			}
			s.Close()
			consistent(t, st)
			s = st.open(t)
			opens(t, s, e, fc, alice, dek)
			opens(t, s, aesEnvelope, fc, alice, aes)
			if _, err := s.OpenEnvelope(ctx, e, fc, bob); !errors.Is(err, ErrDenied) {
				t.Errorf("grants are lost: %v", err)
			}
			if got, err := s.Describe(ctx, disabled); err != nil || got.State != Disabled {
				t.Errorf("state %v, %v", got.State, err)
			}
			events := map[string]int{}
			err = s.Audit(ctx, AuditKeys, func(r AuditRecord) error { events[r.Event]++; return nil })
			if err != nil || events["export-backup"] != 1 || events["import-backup"] != 1 {
				t.Errorf("on record: %v, %v", events, err)
			}
		})
	}
}

// TestBackupBringsDeletedKeysBack: that is what a backup is, and it is said.
func TestBackupBringsDeletedKeysBack(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	key := createKey(t, s, alice.by(), CreateOptions{}).ID
	backup, id := backupOf(t, s)
	later := createKey(t, s, alice.by(), CreateOptions{}).ID
	if _, err := s.ScheduleDeletion(ctx, root, key, MinDeletionDays); err != nil {
		t.Fatal(err)
	}
	st.clock.advance(MinDeletionDays * 24 * time.Hour)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s, _, err := RestoreBackup(st.options(), root, bytes.NewReader(backup), id)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := s.Describe(ctx, key); err != nil || info.State != Enabled {
		t.Errorf("state %v, %v", info.State, err)
	}
	if _, err := s.Describe(ctx, later); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key made after the backup: %v", err)
	}
	for _, say := range []string{"comes back", "made after the backup"} {
		if !bytes.Contains([]byte(st.log.String()), []byte(say)) {
			t.Errorf("the log does not say %q", say)
		}
	}
}

// TestBackupRefused: nothing is touched when a backup cannot be used.
func TestBackupRefused(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	createKey(t, s, alice.by(), CreateOptions{})
	backup, id := backupOf(t, s)
	s.Close()
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(plain []byte) []byte {
		var b bytes.Buffer
		w, err := age.Encrypt(&b, id.Recipient())
		if err == nil {
			_, err = w.Write(plain)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	plain := encodeBackup(mustModel(t, st), st.volume, st.clock.Now())
	changed := func(at int) []byte { b := bytes.Clone(plain); b[at] ^= 1; return seal(b) }
	before, head := st.snapshot(), st.head
	for what, b := range map[string][]byte{
		"empty": nil, "no age file": []byte("hello"), "cut off": backup[:len(backup)-1], "changed": append(bytes.Clone(backup[:len(backup)-1]), backup[len(backup)-1]^1),
		"something else": seal([]byte("hello")), "another magic": changed(0), "another format": changed(9), "another volume": changed(12),
		"more bytes": seal(append(bytes.Clone(plain), 0)), "fewer bytes": seal(plain[:len(plain)-1]),
	} {
		if _, _, err := RestoreBackup(st.options(), root, bytes.NewReader(b), id); !errors.Is(err, ErrBackup) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, _, err := RestoreBackup(st.options(), root, bytes.NewReader(backup), stranger); !errors.Is(err, ErrBackup) {
		t.Errorf("another identity: %v", err)
	}
	if st.head != head || !maps.EqualFunc(before, st.snapshot(), bytes.Equal) {
		t.Error("a refused backup changed the keystore")
	}
	st.open(t)
}

// TestBackupIsSecret: no material is in the file in the clear.
func TestBackupIsSecret(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	createKey(t, s, alice.by(), CreateOptions{Description: "a-telling-name"})
	backup, _ := backupOf(t, s)
	m := mustModel(t, st)
	if bytes.Contains(backup, m.service.newest().key.Bytes()) || bytes.Contains(backup, []byte("a-telling-name")) {
		t.Error("the backup shows what it holds")
	}
	if _, err := s.ExportBackup(ctx, root, &bytes.Buffer{}); err == nil {
		t.Error("a backup for nobody")
	}
}

// mustModel reads the keystore.
func mustModel(t *testing.T, st *store) *model {
	t.Helper()
	aead, err := crypto.NewAEAD(st.key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := unseal(st.files[FileA], aead, st.volume)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.wipe)
	return m
}
