package secret

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"ssefs/crypto"
)

// script answers prompts in order.
type script struct {
	answers []string
	prompts []string
}

func (s *script) Ask(_ context.Context, prompt string) ([]byte, error) {
	s.prompts = append(s.prompts, prompt)
	if len(s.answers) == 0 {
		return nil, ErrNone
	}
	a := s.answers[0]
	s.answers = s.answers[1:]
	return []byte(a), nil
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	binary := "\x00\n secret \r\n"
	for _, tt := range []struct {
		name   string
		source Source
		asked  []string
		kind   crypto.SlotKind
		want   string
	}{
		{"key file as it is", Source{KeyFile: write(t, "k", binary)}, nil, crypto.SlotKeyFile, binary},
		{"passphrase file", Source{PassphraseFile: write(t, "p", " pass word \n")}, nil, crypto.SlotPassphrase, " pass word "},
		{"passphrase file of Windows", Source{PassphraseFile: write(t, "p", "pass\r\n")}, nil, crypto.SlotPassphrase, "pass"},
		{"passphrase file without end of line", Source{PassphraseFile: write(t, "p", "pass")}, nil, crypto.SlotPassphrase, "pass"},
		{"only one end of line goes", Source{PassphraseFile: write(t, "p", "pass\n\n")}, nil, crypto.SlotPassphrase, "pass\n"},
		{"terminal", Source{}, []string{"typed"}, crypto.SlotPassphrase, "typed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source.Read(t.Context(), &script{answers: tt.asked}, "the store")
			if err != nil || got.Kind() != tt.kind || string(got.Bytes()) != tt.want {
				t.Errorf("got %q of kind %v, %v, want %q of kind %v", got.Bytes(), got.Kind(), err, tt.want, tt.kind)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		source Source
		asked  []string
		want   error
	}{
		{"missing", Source{KeyFile: filepath.Join(t.TempDir(), "none")}, nil, ErrMissing},
		{"empty key file", Source{KeyFile: write(t, "k", "")}, nil, ErrUnusable},
		{"empty passphrase file", Source{PassphraseFile: write(t, "p", "\n")}, nil, ErrUnusable},
		{"too long", Source{KeyFile: write(t, "k", strings.Repeat("x", maxSize+1))}, nil, ErrUnusable},
		{"a directory", Source{KeyFile: t.TempDir()}, nil, ErrUnusable},
		{"empty answer", Source{}, []string{""}, ErrUnusable},
		{"no terminal", Source{}, nil, ErrNone},
	} {
		if _, err := tt.source.Read(t.Context(), &script{answers: tt.asked}, "the store"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestReadNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.key")
	made, err := Source{KeyFile: path}.ReadNew(t.Context(), &script{}, "the store")
	if err != nil || len(made.Bytes()) != keyFileSize {
		t.Fatalf("made %d bytes, %v", len(made.Bytes()), err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	again, err := Source{KeyFile: path}.ReadNew(t.Context(), &script{}, "the store")
	if err != nil || string(again.Bytes()) != string(made.Bytes()) {
		t.Errorf("an existing key file was not taken as it is: %v", err)
	}
	if made, err := EnsureKeyFile(path); made || err != nil {
		t.Errorf("an existing key file was made again: %v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left over: %v, %v", names, err)
	}
	typed := &script{answers: []string{"abc", "abc"}}
	if got, err := (Source{}).ReadNew(t.Context(), typed, "the store"); err != nil || string(got.Bytes()) != "abc" || len(typed.prompts) != 2 {
		t.Errorf("typed twice: %q after %d prompts, %v", got.Bytes(), len(typed.prompts), err)
	}
	if _, err := (Source{}).ReadNew(t.Context(), &script{answers: []string{"abc", "abd"}}, "the store"); !errors.Is(err, ErrUnusable) {
		t.Errorf("two different passphrases: %v", err)
	}
	if _, err := (Source{}).ReadNew(t.Context(), &script{answers: []string{""}}, "the store"); !errors.Is(err, ErrUnusable) {
		t.Errorf("an empty passphrase: %v", err)
	}
}

// TestEnsureKeyFileTogether: of many that make the same key file one does, and all see it whole.
func TestEnsureKeyFileTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	var wait sync.WaitGroup
	var made atomic.Int32
	for range 16 {
		wait.Go(func() {
			mine, err := EnsureKeyFile(path)
			if mine {
				made.Add(1)
			}
			if b, readErr := os.ReadFile(path); err != nil || readErr != nil || len(b) != keyFileSize {
				t.Errorf("%d bytes, %v, %v", len(b), err, readErr)
			}
		})
	}
	wait.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

func TestValidate(t *testing.T) {
	if err := (Source{KeyFile: "a", PassphraseFile: "b"}).Validate(); err == nil {
		t.Error("two sources passed")
	}
}

func TestExposed(t *testing.T) {
	path := write(t, "k", "x")
	if Exposed(path) {
		t.Error("0600 is not exposed")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if !Exposed(path) {
		t.Error("0640 is exposed")
	}
}
