package kms

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"ssefs/crypto"
)

// A backup is an age file (age-encryption.org/v1). Its content is
//
//	8   magic "ssefsBAK"
//	2   format version, 1
//	16  volume ID
//	8   time of the backup
//	    the content of a keystore, see codec.go
const (
	backupMagic      = "ssefsBAK"
	backupHeaderSize = len(backupMagic) + 2 + 16 + 8
	// maxBackup bounds what is read of a backup, in bytes.
	maxBackup = 64 << 20
)

// ErrBackup is wrapped for a backup that cannot be read, or is not one of this volume.
var ErrBackup = errors.New("key backup refused")

// BackupInfo describes a backup of the keys.
type BackupInfo struct {
	Created    time.Time `json:"created"`
	Generation uint64    `json:"generation"`
	// Keys counts the CMKs with their tombstones, MasterKeyVersions the versions of the service master key.
	Keys              int `json:"keys"`
	MasterKeyVersions int `json:"master_key_versions"`
}

// ExportBackup writes all keys to dst, encrypted to the recipients: the service
// master key, the CMKs with their material and grants, aliases. Whoever can
// decrypt it, and has the store, can read all files whose keys it holds, whatever
// becomes of the keys later: a backup outlives deletion. It is recorded in the
// audit log before it is written. A change of keys that is going on is waited for.
func (s *Service) ExportBackup(ctx context.Context, by By, dst io.Writer, to ...age.Recipient) (BackupInfo, error) {
	var plain []byte
	defer func() { clear(plain) }()
	var info BackupInfo
	err := s.change(ctx, func(ch *change) error {
		ch.note(by, "export-backup", "", fmt.Sprintf("%d keys, for %d recipients", len(ch.keys), len(to)))
		info = ch.backupInfo(ch.now)
		plain = encodeBackup(ch.model, s.volume, ch.now)
		return nil
	})
	if err != nil && !errors.Is(err, ErrOneCopy) {
		return BackupInfo{}, err
	}
	w, err := age.Encrypt(dst, to...)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("kms: backup: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return BackupInfo{}, fmt.Errorf("kms: backup: %w", err)
	}
	if err := w.Close(); err != nil {
		return BackupInfo{}, fmt.Errorf("kms: backup: %w", err)
	}
	return info, nil
}

func (m *model) backupInfo(created time.Time) BackupInfo {
	return BackupInfo{Created: created, Generation: m.generation, Keys: len(m.keys), MasterKeyVersions: len(m.service.versions)}
}

// RestoreBackup makes the keys of a backup the volume's keystore, in place of one
// that is damaged, lost or, if the caller means it, in order: then keys come back
// in the state that they had, deleted ones included, and keys made since are lost.
// It is recorded in the audit log, and for an explicit command only. Errors wrap
// ErrBackup when the backup is to blame.
func RestoreBackup(o Options, by By, src io.Reader, ids ...age.Identity) (*Service, BackupInfo, error) {
	m, created, err := readBackup(o.Volume, src, ids)
	if err != nil {
		return nil, BackupInfo{}, err
	}
	info := m.backupInfo(created)
	s, err := open(o, func(k *keystore, head uint64) (*model, error) {
		return k.replace(m, head), nil
	})
	if err != nil {
		m.wipe()
		return nil, BackupInfo{}, err
	}
	err = s.change(context.Background(), func(ch *change) error {
		ch.note(by, "import-backup", "", fmt.Sprintf("of %s, generation %d, %d keys", day(created), info.Generation, info.Keys))
		return nil
	})
	if err != nil && !errors.Is(err, ErrOneCopy) {
		s.Close()
		return nil, BackupInfo{}, fmt.Errorf("kms: restoring the keystore: %w", err)
	}
	return s, info, nil
}

// replace prepares m to be written in place of whatever keystore there is, and
// says what becomes of the keys in that.
func (k *keystore) replace(m *model, head uint64) *model {
	a, b := k.readCopy(FileA), k.readCopy(FileB)
	defer wipeModels(a.m, b.m)
	now := a.m
	if now == nil || b.m != nil && b.m.generation > now.generation {
		now = b.m
	}
	next := max(head, m.generation)
	if now != nil {
		k.compare(now, m)
		next = max(next, now.generation)
	}
	m.generation = next
	k.open = true
	return m
}

// compare logs what changes for keys when a backup takes the place of a keystore.
func (k *keystore) compare(now, backup *model) {
	for id, present := range now.keys {
		was, ok := backup.keys[id]
		switch {
		case !ok:
			k.log.Warn("a key was made after the backup: its files cannot be opened any more", "key", id)
		case !present.deleted.IsZero() && was.deleted.IsZero():
			k.log.Warn("a key that was deleted after the backup comes back", "key", id)
		case len(present.versions) > len(was.versions):
			k.log.Warn("a key was rotated after the backup: files under its newer versions cannot be opened any more", "key", id)
		}
	}
	if len(now.service.versions) > len(backup.service.versions) {
		k.log.Warn("the service master key was rotated after the backup: files under its newer versions cannot be opened any more")
	}
}

// encodeBackup returns the content of a backup, for the caller to wipe.
func encodeBackup(m *model, volume crypto.VolumeID, now time.Time) []byte {
	count := encoder{counting: true}
	count.model(m)
	b := make([]byte, 0, backupHeaderSize+count.n)
	b = append(b, backupMagic...)
	b = binary.BigEndian.AppendUint16(b, formatVersion)
	b = append(b, volume[:]...)
	enc := encoder{b: b}
	enc.time(now)
	enc.model(m)
	return enc.b
}

// readBackup decrypts and decodes a backup of a volume.
func readBackup(volume crypto.VolumeID, src io.Reader, ids []age.Identity) (*model, time.Time, error) {
	fail := func(err error) (*model, time.Time, error) {
		return nil, time.Time{}, fmt.Errorf("%w: %w", ErrBackup, err)
	}
	r, err := age.Decrypt(src, ids...)
	if err != nil {
		return fail(err)
	}
	// One buffer that does not grow, so that it can be wiped.
	plain := make([]byte, maxBackup)
	n, err := io.ReadFull(r, plain)
	defer func() { clear(plain[:n]) }()
	switch {
	case err == nil:
		return fail(errors.New("too long"))
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return fail(err)
	case n < backupHeaderSize || string(plain[:len(backupMagic)]) != backupMagic:
		return fail(errors.New("not a backup of keys"))
	}
	d := decoder{b: plain[len(backupMagic):n]}
	if v := d.uint(2); v != formatVersion {
		return fail(fmt.Errorf("%w: backup format %d, this program knows %d", crypto.ErrVersion, v, formatVersion))
	}
	if [16]byte(d.bytes(16)) != volume {
		return fail(errors.New("it is of another volume"))
	}
	created := d.time()
	m, err := decode(d.b)
	if err != nil {
		return fail(err)
	}
	return m, created, nil
}
