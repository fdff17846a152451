package fs

import (
	"strconv"

	"ssefs/crypto"
	"ssefs/fs/volume"
)

// The attributes that show and set encryption. They answer getxattr(2) and are
// never listed.
const (
	ssePrefix        = "user.sse."
	ssePolicy        = ssePrefix + "policy"
	sseAlgorithm     = ssePrefix + "algorithm"
	sseKeyID         = ssePrefix + "key-id"
	sseKeyVersion    = ssePrefix + "key-version"
	sseDataAlgorithm = ssePrefix + "data-algorithm"
)

// dataAlgorithm is how contents are encrypted, as user.sse.data-algorithm has
// it. Contents of bucket mode none are authenticated only.
const (
	dataAlgorithm     = "XAES-256-GCM"
	dataAlgorithmNone = "none"
)

// serviceKeyID is shown as the key of files in mode AES256, whose envelopes
// name no key: there is one service master key.
const serviceKeyID = "service-master-key"

// SSE is how a file is encrypted.
type SSE struct {
	Algorithm     string `json:"algorithm"`
	KeyID         string `json:"key_id,omitempty"`
	KeyVersion    uint32 `json:"key_version,omitempty"`
	DataAlgorithm string `json:"data_algorithm"`
}

// Encryption tells how a file is encrypted, or how files that are created in a
// directory will be.
func Encryption(v *volume.Volume, n *volume.Inode) (SSE, error) {
	a := n.Stat()
	if !a.IsRegular() {
		p, err := v.Policy(a.Bucket)
		if err != nil || a.Bucket == 0 {
			p = v.Settings().DefaultPolicy
		}
		return SSE{Algorithm: p.Algorithm.String(), KeyID: p.Key, DataAlgorithm: dataAlgorithmOf(p.Algorithm)}, nil
	}
	e, err := v.Envelope(n)
	if err != nil {
		return SSE{}, err
	}
	s := SSE{Algorithm: e.Algorithm.String(), DataAlgorithm: dataAlgorithmOf(e.Algorithm)}
	switch e.Algorithm {
	case crypto.AlgorithmAES256:
		s.KeyID, s.KeyVersion = serviceKeyID, e.KeyVersion
	case crypto.AlgorithmKMS:
		s.KeyID, s.KeyVersion = e.KeyID, e.KeyVersion
	}
	return s, nil
}

func dataAlgorithmOf(a crypto.Algorithm) string {
	if a == crypto.AlgorithmNone {
		return dataAlgorithmNone
	}
	return dataAlgorithm
}

// sseXattr reads one of the attributes.
func (d *drive) sseXattr(n *volume.Inode, name string) ([]byte, error) {
	if name == ssePolicy {
		if !isBucket(n) {
			return nil, errNotSupported
		}
		p, err := d.v.Policy(n.Ino)
		return []byte(p.String()), err
	}
	s, err := Encryption(d.v, n)
	if err != nil {
		return nil, err
	}
	value := ""
	switch name {
	case sseAlgorithm:
		value = s.Algorithm
	case sseKeyID:
		value = s.KeyID
	case sseKeyVersion:
		if s.KeyVersion != 0 {
			value = strconv.FormatUint(uint64(s.KeyVersion), 10)
		}
	case sseDataAlgorithm:
		value = s.DataAlgorithm
	}
	if value == "" {
		return nil, volume.ErrNoXattr
	}
	return []byte(value), nil
}

func isBucket(n *volume.Inode) bool {
	a := n.Stat()
	return a.IsDir() && a.Bucket == n.Ino
}

// setSSEXattr sets a bucket's policy; all other attributes are read-only.
func (d *drive) setSSEXattr(n *volume.Inode, name string, value []byte, mode volume.XattrMode, uid uint32) error {
	if err := policyOnly(n, name); err != nil {
		return err
	}
	if mode == volume.XattrCreate {
		return volume.ErrExist // every bucket has a policy
	}
	p, err := crypto.ParsePolicy(string(value))
	if err != nil {
		return err
	}
	return d.v.SetPolicy(n, p, uid)
}

// removeSSEXattr gives a bucket the volume's default policy.
func (d *drive) removeSSEXattr(n *volume.Inode, name string, uid uint32) error {
	if err := policyOnly(n, name); err != nil {
		return err
	}
	return d.v.SetPolicy(n, d.v.Settings().DefaultPolicy, uid)
}

func policyOnly(n *volume.Inode, name string) error {
	if name != ssePolicy {
		return errReadOnlyXattr
	}
	if !isBucket(n) {
		return errNotSupported
	}
	return nil
}
