package session

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// key returns a key file's secret; equal letters give equal ones.
func key(letter string) crypto.Secret {
	return crypto.KeyFileSecret([]byte(strings.Repeat(letter, crypto.MinKeyFileSize)))
}

func silent() Options { return Options{Logger: slog.New(slog.DiscardHandler)} }

func mustOpen(t *testing.T, path string, o Options) *Session {
	t.Helper()
	s, err := OpenOrCreate(t.Context(), path, key("a"), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t *testing.T, s *Session) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCreateAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	if _, err := Open(t.Context(), path, key("a"), silent()); exit.Of(err) != exit.NoStore || !strings.Contains(err.Error(), "--create") {
		t.Errorf("a missing store: %v", err)
	}
	s := mustOpen(t, path, silent())
	id := s.ID()
	if got := s.Volume().Settings(); got.DefaultPolicy.String() != "AES256" || got.Region != kms.DefaultRegion {
		t.Errorf("a new volume has %+v", got)
	}
	if err := s.EnsureBucket(t.Context(), "photos", Owner{UID: 7, GID: 8}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path, silent())
	if s.ID() != id {
		t.Error("opening made another volume")
	}
	buckets, err := s.Volume().Buckets()
	if err != nil || len(buckets) != 1 || buckets[0].Name != "photos" || buckets[0].UID != 7 || buckets[0].GID != 8 {
		t.Errorf("buckets %+v, %v", buckets, err)
	}
	if err := s.RequireBucket("photos"); err != nil {
		t.Error(err)
	}
	if err := s.RequireBucket("none"); err == nil || !strings.Contains(err.Error(), "--create") {
		t.Errorf("a missing bucket: %v", err)
	}
	mustClose(t, s)
	if _, err := OpenOrCreate(t.Context(), path, key("b"), silent()); !errors.Is(err, crypto.ErrWrongSecret) {
		t.Errorf("another key: %v", err)
	}
	// The refusal must have let go of the store.
	mustClose(t, mustOpen(t, path, silent()))
}

// TestFilesArePrivate: with the umask that programs which open a store set, since Badger leaves modes to it.
func TestFilesArePrivate(t *testing.T) {
	before := unix.Umask(0o077)
	defer unix.Umask(before)
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	err := filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(name)
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnfinishedCreationStartsOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	// What a kill before the last step leaves.
	if err := os.Remove(filepath.Join(path, store.HeaderFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "creating"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), path, key("a"), silent()); exit.Of(err) != exit.NoStore || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("an unfinished store: %v", err)
	}
	mustClose(t, mustOpen(t, path, silent()))
}

func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	o := silent()
	o.Settings = Settings{DefaultPolicy: "kms", Region: "cn-hangzhou"}
	mustClose(t, mustOpen(t, path, o))
	s := mustOpen(t, path, silent())
	if got := s.Volume().Settings(); got.DefaultPolicy.String() != "KMS" || got.Region != "cn-hangzhou" {
		t.Errorf("kept %+v", got)
	}
	mustClose(t, s)
	for _, bad := range []Settings{{Region: "no blanks"}, {DefaultPolicy: "KMS:alias/unknown"}, {DefaultPolicy: "rot13"}} {
		o.Settings = bad
		if _, err := Open(t.Context(), path, key("a"), o); err == nil {
			t.Errorf("%+v passed", bad)
		}
		s := mustOpen(t, path, silent())
		if got := s.Volume().Settings(); got.DefaultPolicy.String() != "KMS" || got.Region != "cn-hangzhou" {
			t.Errorf("refusing %+v left %+v", bad, got)
		}
		mustClose(t, s)
	}
	o.Settings = Settings{DefaultPolicy: "none"}
	s = mustOpen(t, path, o)
	if got := s.Volume().Settings(); got.DefaultPolicy.String() != "none" || got.Region != "cn-hangzhou" {
		t.Errorf("changed to %+v", got)
	}
	mustClose(t, s)
}

func TestSlots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path, silent())
	added, err := s.AddSlot(key("b"), "spare")
	if err != nil || added.Label != "spare" || added.Kind != crypto.SlotKeyFile {
		t.Fatalf("added %+v, %v", added, err)
	}
	first := s.Slots()[0].ID
	if err := s.RemoveSlot(first); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveSlot(added.ID); !errors.Is(err, crypto.ErrLastSlot) {
		t.Errorf("the last slot: %v", err)
	}
	if err := s.RemoveSlot(99); !errors.Is(err, crypto.ErrNoSlot) {
		t.Errorf("no slot: %v", err)
	}
	mustClose(t, s)
	if _, err := Open(t.Context(), path, key("a"), silent()); !errors.Is(err, crypto.ErrWrongSecret) {
		t.Errorf("the removed key opens it: %v", err)
	}
	s, err = Open(t.Context(), path, key("b"), silent())
	if err != nil {
		t.Fatal(err)
	}
	if slots := s.Slots(); len(slots) != 1 || slots[0].ID != added.ID {
		t.Errorf("slots %+v", slots)
	}
	mustClose(t, s)
}

func TestReadOnlyChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	o := silent()
	o.ReadOnly = true
	s, err := Open(t.Context(), path, key("a"), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EnsureBucket(t.Context(), "b", Owner{}); !errors.Is(err, volume.ErrReadOnly) {
		t.Errorf("a bucket in a read-only volume: %v", err)
	}
	if _, err := s.AddSlot(key("b"), ""); !errors.Is(err, volume.ErrReadOnly) {
		t.Errorf("a slot in a read-only volume: %v", err)
	}
	mustClose(t, s)
}

// TestOwner: a store in use is refused at once, and one whose drive is not mounted any more is waited for.
func TestOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := mustOpen(t, path, silent())
	var inUse *store.InUseError
	if _, err := Open(t.Context(), path, key("a"), silent()); !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Errorf("a store in use: %v", err)
	}
	for _, closing := range []bool{false, true} {
		if err := s.SetOwner(store.OwnerInfo{Mountpoint: filepath.Join(path, "unmounted"), Closing: closing}); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		// How long closing takes nobody knows; that it has begun is said within moments.
		time.AfterFunc(300*time.Millisecond, func() {
			err := s.SetOwner(store.OwnerInfo{PID: os.Getpid(), Closing: true})
			closed <- errors.Join(err, s.Close())
		})
		next, err := Open(t.Context(), path, key("a"), silent())
		if err != nil {
			t.Fatalf("closing=%v: not waited for: %v", closing, err)
		}
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
		s = next
	}
	mustClose(t, s)
}

func TestInspectDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	i, err := Inspect(t.Context(), path, key("a"), silent())
	if err != nil || i.KeystoreError != nil || i.Material().KMS == nil {
		t.Fatalf("a good store: %+v, %v", i, err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{store.KeystoreA, store.KeystoreB} {
		if err := os.Truncate(filepath.Join(path, name), 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), path, key("a"), silent()); exit.Of(err) != exit.Damaged {
		t.Errorf("a damaged keystore: %v", err)
	}
	i, err = Inspect(t.Context(), path, key("a"), silent())
	if err != nil || !errors.Is(i.KeystoreError, kms.ErrKeystoreDamaged) || i.Material().KMS != nil {
		t.Errorf("a damaged keystore: %+v, %v", i, err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
}
