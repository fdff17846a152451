package daemon

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/crypto"
)

// Config says what to mount where. Paths are absolute and canonical. It holds no secret.
type Config struct {
	Store      string
	Mountpoint string
	Runtime    string // runtime directory, for the control socket
	Options    mountopt.Options
}

// maxConfig bounds what a child reads, in bytes.
const maxConfig = 2 << 20

// writeHandover sends a configuration, the secret's kind in one byte and the secret, each with its length in 4
// bytes before it.
func writeHandover(w io.Writer, cfg Config, s crypto.Secret) error {
	text, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{text, {byte(s.Kind())}, s.Bytes()} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(part)))
		if _, err := w.Write(n[:]); err != nil {
			return err
		}
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// readHandover is the other end of writeHandover.
func readHandover(r io.Reader) (Config, crypto.Secret, error) {
	var parts [3][]byte
	for i := range parts {
		var n [4]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return Config{}, crypto.Secret{}, fmt.Errorf("handover: %w", err)
		}
		size := binary.BigEndian.Uint32(n[:])
		if size > maxConfig {
			return Config{}, crypto.Secret{}, errors.New("handover: too long")
		}
		parts[i] = make([]byte, size)
		if _, err := io.ReadFull(r, parts[i]); err != nil {
			return Config{}, crypto.Secret{}, fmt.Errorf("handover: %w", err)
		}
	}
	var cfg Config
	if err := json.Unmarshal(parts[0], &cfg); err != nil {
		return Config{}, crypto.Secret{}, fmt.Errorf("handover: %w", err)
	}
	switch {
	case bytes.Equal(parts[1], []byte{byte(crypto.SlotPassphrase)}):
		return cfg, crypto.PassphraseSecret(parts[2]), nil
	case bytes.Equal(parts[1], []byte{byte(crypto.SlotKeyFile)}):
		return cfg, crypto.KeyFileSecret(parts[2]), nil
	}
	return Config{}, crypto.Secret{}, errors.New("handover: unknown kind of secret")
}
