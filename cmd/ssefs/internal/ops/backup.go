package ops

import (
	"bytes"
	"context"
	"runtime/debug"
	"strings"

	"filippo.io/age"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/kms"
)

// BackupRequest asks for a backup of all keys, for recipients as age writes them, or under a passphrase, which travels
// over the private socket only.
type BackupRequest struct {
	Recipients []string `json:"recipients,omitempty"`
	Passphrase []byte   `json:"passphrase,omitempty"`
}

// Backup is a backup of all keys: an age file, and what is in it.
type Backup struct {
	File []byte `json:"file"`
	kms.BackupInfo
}

func (o *Operations) keyBackup(ctx context.Context, peer control.Peer, req BackupRequest) (Backup, error) {
	defer clear(req.Passphrase)
	to, err := recipients(req)
	if err != nil {
		return Backup{}, exit.With(exit.Usage, err)
	}
	var file bytes.Buffer
	info, err := o.session.KMS().ExportBackup(ctx, kms.By{UID: peer.UID}, &file, to...)
	if err != nil {
		return Backup{}, err
	}
	if len(req.Passphrase) > 0 {
		debug.FreeOSMemory() // what stretching the passphrase took
	}
	o.session.Logger().Info("keys exported to a backup", "keys", info.Keys, "generation", info.Generation, "uid", peer.UID)
	return Backup{file.Bytes(), info}, nil
}

func recipients(req BackupRequest) ([]age.Recipient, error) {
	if len(req.Passphrase) > 0 {
		if len(req.Recipients) > 0 {
			return nil, exit.Errorf(exit.Usage, "a backup is for recipients or under a passphrase, not both")
		}
		r, err := age.NewScryptRecipient(string(req.Passphrase))
		if err != nil {
			return nil, err
		}
		return []age.Recipient{r}, nil
	}
	return age.ParseRecipients(strings.NewReader(strings.Join(req.Recipients, "\n")))
}
