package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// BackupTag authenticates what a backup says about itself, its digest included: HMAC-SHA256 under the volume's
// backup key. Two backups never have the same one, so it also names a backup.
type BackupTag [32]byte

// labelBackup keeps a tag apart from everything else that a key may be used for.
const labelBackup = "ssefsbk1"

// TagBackup computes the tag of a statement under key. ErrWiped.
func TagBackup(key *Key, statement []byte) (BackupTag, error) {
	var tag BackupTag
	err := key.use(func(b []byte) error {
		mac := hmac.New(sha256.New, b)
		mac.Write([]byte(labelBackup))
		mac.Write(statement)
		mac.Sum(tag[:0])
		return nil
	})
	if err != nil {
		return BackupTag{}, fmt.Errorf("tag of a backup: %w", err)
	}
	return tag, nil
}

// CheckBackup is ErrAuth unless tag is the one of statement under key. ErrWiped.
func CheckBackup(key *Key, statement []byte, tag BackupTag) error {
	want, err := TagBackup(key, statement)
	if err != nil {
		return err
	}
	if !hmac.Equal(want[:], tag[:]) {
		return fmt.Errorf("%w: backup", ErrAuth)
	}
	return nil
}
