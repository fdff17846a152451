// Package secret gets the passphrases and key files that unlock a store: from files, or from a terminal
// that does not echo.
//
// Never from the command line or the environment, which other processes can read. What is returned belongs
// to the caller, who wipes it.
package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
)

var (
	// ErrNone is returned when no file was named and there is no terminal to ask on.
	ErrNone = errors.New("no secret: give --key-file or --passphrase-file (there is no terminal to ask on)")
	// ErrMissing is wrapped when a named file does not exist.
	ErrMissing = errors.New("no such file")
	// ErrUnusable is wrapped when a secret is empty, too long or cannot be read.
	ErrUnusable = errors.New("unusable secret")
)

// maxSize bounds a secret in bytes; no key file is larger.
const maxSize = crypto.MaxKeyFileSize

// keyFileSize is the length in bytes of a key file that EnsureKeyFile makes.
const keyFileSize = crypto.MinKeyFileSize

// Source says where a secret comes from; with both fields empty the terminal is asked.
type Source struct {
	KeyFile        string
	PassphraseFile string
}

// Validate refuses two sources at once.
func (s Source) Validate() error {
	if s.KeyFile != "" && s.PassphraseFile != "" {
		return errors.New("give --key-file or --passphrase-file, not both")
	}
	return nil
}

// Terminal asks for passphrases.
type Terminal interface {
	// Ask shows the prompt and reads a line without echo; ErrNone without a terminal.
	Ask(ctx context.Context, prompt string) ([]byte, error)
}

// Read gets the secret of an existing slot; what names it in the prompt.
func (s Source) Read(ctx context.Context, t Terminal, what string) (crypto.Secret, error) {
	switch {
	case s.KeyFile != "":
		b, err := readFile(s.KeyFile)
		return crypto.KeyFileSecret(b), err
	case s.PassphraseFile != "":
		b, err := readPassphraseFile(s.PassphraseFile)
		return crypto.PassphraseSecret(b), err
	}
	b, err := t.Ask(ctx, "Passphrase for "+what+": ")
	if err == nil && len(b) == 0 {
		err = fmt.Errorf("%w: the passphrase is empty", ErrUnusable)
	}
	return crypto.PassphraseSecret(b), err
}

// ReadNew gets the secret of a slot to be made: a key file that does not exist is made, and a passphrase is
// asked for twice.
func (s Source) ReadNew(ctx context.Context, t Terminal, what string) (crypto.Secret, error) {
	if s.KeyFile != "" {
		if _, err := EnsureKeyFile(s.KeyFile); err != nil {
			return crypto.Secret{}, err
		}
	}
	if s.KeyFile != "" || s.PassphraseFile != "" {
		return s.Read(ctx, t, what)
	}
	first, err := t.Ask(ctx, "New passphrase for "+what+": ")
	if err != nil {
		return crypto.Secret{}, err
	}
	if len(first) == 0 {
		return crypto.Secret{}, fmt.Errorf("%w: the passphrase is empty", ErrUnusable)
	}
	second, err := t.Ask(ctx, "The same passphrase again: ")
	if err != nil {
		clear(first)
		return crypto.Secret{}, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return crypto.Secret{}, fmt.Errorf("%w: the passphrases differ", ErrUnusable)
	}
	return crypto.PassphraseSecret(first), nil
}

// EnsureKeyFile makes a key file of keyFileSize random bytes, mode 0600, unless there is a file already, and tells
// whether it did. The file appears whole, and is on disk for good when it returns: a store whose only key vanished in a power
// cut would be lost.
func EnsureKeyFile(path string) (made bool, err error) {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return false, nil // reading it tells what is wrong with it
	}
	dir := filepath.Dir(path)
	temp, err := writeTemp(dir)
	if err != nil {
		return false, fmt.Errorf("key file: %w", err)
	}
	err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if err != nil {
		_ = os.Remove(temp)
		if errors.Is(err, os.ErrExist) {
			return false, nil // somebody was faster
		}
		return false, fmt.Errorf("key file %s: %w", path, err)
	}
	if err := syncDir(dir); err != nil {
		return true, fmt.Errorf("key file: %w", err)
	}
	return true, nil
}

// writeTemp writes a new key to a file of another name.
func writeTemp(dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, ".ssefs-key-*") // mode 0600
	if err != nil {
		return "", err
	}
	key := make([]byte, keyFileSize)
	defer clear(key)
	_, _ = rand.Read(key) // never fails: it ends the program instead
	_, err = f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return f.Name(), err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Exposed tells whether the file at path can be read by users other than its owner.
func Exposed(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o077 != 0
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		clear(b)
		return nil, fmt.Errorf("%w: %w", ErrUnusable, err)
	case len(b) == 0:
		return nil, fmt.Errorf("%w: %s is empty", ErrUnusable, path)
	case len(b) > maxSize:
		clear(b)
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrUnusable, path, maxSize)
	}
	return b, nil
}

// readPassphraseFile takes one line ending off, which editors add and people do not type.
func readPassphraseFile(path string) ([]byte, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: the passphrase in %s is empty", ErrUnusable, path)
	}
	return b, nil
}
