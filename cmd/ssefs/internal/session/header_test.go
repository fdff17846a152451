package session

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/fs/volume"
	"ssefs/store"
)

func readHeader(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path, store.HeaderFile))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeHeader(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path, store.HeaderFile), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// changeSlots adds slots, each a change of its own.
func changeSlots(t *testing.T, path string, letters ...string) {
	t.Helper()
	s := mustOpen(t, path, silent())
	for _, l := range letters {
		if _, err := s.AddSlot(key(l), l); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, s)
}

// TestOldHeader: a header that was put back is refused, whatever opens the volume, and told by a check.
func TestOldHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	old := readHeader(t, path)
	changeSlots(t, path, "b")
	readOnly := silent()
	readOnly.ReadOnly = true
	writeHeader(t, path, old)
	for _, o := range []Options{silent(), readOnly} {
		_, err := Open(t.Context(), path, key("a"), o)
		if !errors.Is(err, volume.ErrRollback) || exit.Of(err) != exit.Damaged || !strings.Contains(err.Error(), "accept-header") {
			t.Errorf("an old header, read-only %v: %v", o.ReadOnly, err)
		}
	}
	i, err := Inspect(t.Context(), path, key("a"), silent())
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(i.HeaderError, volume.ErrRollback) || i.KeystoreError != nil {
		t.Errorf("a check finds header %v, keystore %v", i.HeaderError, i.KeystoreError)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAcceptHeader: an old header can be made the current one, and then none of those before is.
func TestAcceptHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	mustClose(t, mustOpen(t, path, silent()))
	accept := silent()
	accept.Header = AnyHeader
	if _, err := Open(t.Context(), path, key("a"), accept); !errors.Is(err, ErrHeaderCurrent) {
		t.Errorf("accepting the current header: %v", err)
	}
	old := [][]byte{readHeader(t, path)}
	for _, l := range []string{"b", "c", "d"} {
		changeSlots(t, path, l)
		old = append(old, readHeader(t, path))
	}
	writeHeader(t, path, old[1])
	s, err := Open(t.Context(), path, key("a"), accept)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, path, silent())
	if n := len(s.Slots()); n != 2 {
		t.Errorf("%d slots, want the two of the header that was accepted", n)
	}
	mustClose(t, s)
	accepted := readHeader(t, path)
	for i, b := range old {
		writeHeader(t, path, b)
		if _, err := Open(t.Context(), path, key("a"), silent()); !errors.Is(err, volume.ErrRollback) {
			t.Errorf("header %d put back: %v", i, err)
		}
	}
	writeHeader(t, path, accepted)
	mustClose(t, mustOpen(t, path, silent()))
}

// TestInterruptedHeader: of a change of slots that ended between the header and the head, the header counts; one that
// is further ahead does not.
func TestInterruptedHeader(t *testing.T) {
	path, copied := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "copy")
	mustClose(t, mustOpen(t, path, silent()))
	if err := os.CopyFS(copied, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	changeSlots(t, path, "b")
	writeHeader(t, copied, readHeader(t, path))
	readOnly := silent()
	readOnly.ReadOnly = true
	for _, o := range []Options{readOnly, silent()} {
		s, err := Open(t.Context(), copied, key("b"), o)
		if err != nil {
			t.Fatalf("a header one ahead, read-only %v: %v", o.ReadOnly, err)
		}
		if got, want := s.Volume().Header(), s.header.Generation(); (got == want) == o.ReadOnly {
			t.Errorf("read-only %v: the head names generation %d of %d", o.ReadOnly, got, want)
		}
		mustClose(t, s)
	}
	changeSlots(t, path, "c", "d")
	writeHeader(t, copied, readHeader(t, path))
	if _, err := Open(t.Context(), copied, key("b"), silent()); !errors.Is(err, volume.ErrRollback) {
		t.Errorf("a header two ahead: %v", err)
	}
}
