package crypto

import (
	"fmt"
	"strings"
)

// Algorithm is how the data keys of a bucket's files are protected. The zero value is no algorithm:
// forgetting it must not mean AlgorithmNone. The numbers are part of the on-disk format.
type Algorithm uint8

const (
	// AlgorithmNone stores contents in the clear, authenticated.
	AlgorithmNone Algorithm = iota + 1
	// AlgorithmAES256 wraps data keys under the volume's service master key.
	AlgorithmAES256
	// AlgorithmKMS wraps data keys under a customer master key.
	AlgorithmKMS
)

// String is the mode word of the policy grammar.
func (a Algorithm) String() string {
	switch a {
	case AlgorithmNone:
		return "none"
	case AlgorithmAES256:
		return "AES256"
	case AlgorithmKMS:
		return "KMS"
	}
	return fmt.Sprintf("algorithm %d", uint8(a))
}

// ContentMode says how the contents of files are stored whose data keys are protected like this.
func (a Algorithm) ContentMode() ContentMode {
	if a == AlgorithmNone {
		return Clear
	}
	return Encrypted
}

const (
	maxKeyID     = 64
	maxAliasName = 255
	aliasPrefix  = "alias/"
)

// Policy says how the files created in a bucket are encrypted. Policies are comparable: two that mean the
// same are ==.
type Policy struct {
	Algorithm Algorithm
	Key       string // AlgorithmKMS only: "" for the default key, a key ID, or "alias/NAME"
}

// ParsePolicy reads a policy: none, AES256, KMS, KMS:KEY-ID or KMS:alias/NAME. The mode word and "alias/" may
// be in any case, and so may a key ID that has the form of a UUID (it is one number, whatever the case);
// other key IDs and alias names are taken as they are. Nothing is trimmed. ErrPolicy.
func ParsePolicy(s string) (Policy, error) {
	word, key, hasKey := strings.Cut(s, ":")
	var p Policy
	switch {
	case equalFold(word, "none"):
		p.Algorithm = AlgorithmNone
	case equalFold(word, "AES256"):
		p.Algorithm = AlgorithmAES256
	case equalFold(word, "KMS"):
		p.Algorithm = AlgorithmKMS
	default:
		return Policy{}, policyError(s, "want none, AES256, KMS, KMS:<key-id> or KMS:alias/<name>")
	}
	if !hasKey {
		return p, nil
	}
	if p.Algorithm != AlgorithmKMS {
		return Policy{}, policyError(s, "only KMS takes a key")
	}
	switch {
	case key == "":
		return Policy{}, policyError(s, "no key after the colon")
	case len(key) >= len(aliasPrefix) && equalFold(key[:len(aliasPrefix)], aliasPrefix):
		key = aliasPrefix + key[len(aliasPrefix):]
	case isUUID(key):
		key = strings.ToLower(key)
	}
	p.Key = key
	if err := p.Validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// policyError quotes no more of the input than a message can bear.
func policyError(s, why string) error {
	if len(s) > 80 {
		s = s[:80] + "..."
	}
	return fmt.Errorf("%w %q: %s", ErrPolicy, s, why)
}

// Validate reports whether p is a policy that ParsePolicy could have returned. ErrPolicy.
func (p Policy) Validate() error {
	switch p.Algorithm {
	case AlgorithmNone, AlgorithmAES256:
		if p.Key != "" {
			return policyError(p.String(), "only KMS takes a key")
		}
		return nil
	case AlgorithmKMS:
	default:
		return policyError(p.String(), "unknown algorithm")
	}
	if name, isAlias := strings.CutPrefix(p.Key, aliasPrefix); isAlias {
		if len(name) < 1 || len(name) > maxAliasName || !consistsOf(name, "/_-") {
			return policyError(p.String(), "an alias is 1 to 255 letters, digits, '/', '_' and '-'")
		}
		return nil
	}
	if len(p.Key) > maxKeyID || !consistsOf(p.Key, "-") {
		return policyError(p.String(), "a key ID is 1 to 64 letters, digits and '-'")
	}
	if isUUID(p.Key) && p.Key != strings.ToLower(p.Key) {
		return policyError(p.String(), "a key ID of UUID form is lower-case")
	}
	return nil
}

// String is the canonical text of the policy, which ParsePolicy reads back as p.
func (p Policy) String() string {
	if p.Key == "" {
		return p.Algorithm.String()
	}
	return p.Algorithm.String() + ":" + p.Key
}

// equalFold compares s with an ASCII word, ignoring the case of ASCII letters only: strings.EqualFold alone
// would take the Kelvin sign for a k.
func equalFold(s, word string) bool {
	return len(s) == len(word) && strings.EqualFold(s, word)
}

// consistsOf reports whether s is of ASCII letters, digits and the bytes of extra only.
func consistsOf(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// isUUID reports whether s is 8-4-4-4-12 hexadecimal digits of either case.
func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i] | 0x20 // lower case; leaves digits and '-' alone
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
