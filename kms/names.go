package kms

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	aliasPrefix    = "alias/"
	reservedPrefix = "alias/acs/"

	maxAlias       = 255 // bytes, without the prefix
	maxDescription = 1024
	maxRegion      = 64
)

// newID returns a random UUID, version 4. IDs are never reused.
func newID() string {
	var u [16]byte
	// crypto/rand.Read never fails: the runtime aborts instead.
	_, _ = rand.Read(u[:])
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return formatID(u)
}

// formatID returns the canonical text of a key ID.
func formatID(u [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// parseID is the inverse of formatID.
func parseID(s string) (u [16]byte, ok bool) {
	if len(s) != 36 {
		return u, false
	}
	raw, err := hex.DecodeString(s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36])
	if err != nil {
		return u, false
	}
	copy(u[:], raw)
	return u, formatID(u) == s
}

func canonID(ref string) string { return strings.ToLower(ref) }

func isAlias(ref string) bool {
	return len(ref) >= len(aliasPrefix) && strings.EqualFold(ref[:len(aliasPrefix)], aliasPrefix)
}

// canonAlias puts the prefix into lower case, as in policies; the name itself is
// taken as it is.
func canonAlias(name string) string {
	if !isAlias(name) {
		return name
	}
	return aliasPrefix + name[len(aliasPrefix):]
}

// checkAlias returns the canonical form of an alias that a user may create.
func checkAlias(name string) (string, error) {
	name = canonAlias(name)
	if !validAlias(name) {
		return "", fmt.Errorf("%w: %q; it is alias/ and 1 to %d letters, digits, '_', '-' or '/'", ErrAlias, name, maxAlias)
	}
	// In any case, so that none can be mistaken for the service's.
	if strings.HasPrefix(strings.ToLower(name)+"/", reservedPrefix) {
		return "", fmt.Errorf("%w: %q; %s... is reserved for the service", ErrAlias, name, reservedPrefix)
	}
	return name, nil
}

// validAlias reports whether name is well-formed and canonical.
func validAlias(name string) bool {
	rest, ok := strings.CutPrefix(name, aliasPrefix)
	if !ok || rest == "" || len(rest) > maxAlias {
		return false
	}
	for _, c := range []byte(rest) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '/':
		default:
			return false
		}
	}
	return true
}

func checkDescription(s string) error {
	if len(s) > maxDescription || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%w: a description is at most %d bytes of text in one line", ErrArgument, maxDescription)
	}
	return nil
}

func checkRegion(s string) error {
	if s == "" || len(s) > maxRegion || strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}) {
		return fmt.Errorf("%w: region %q; it is lower-case letters, digits and '-'", ErrArgument, s)
	}
	return nil
}
