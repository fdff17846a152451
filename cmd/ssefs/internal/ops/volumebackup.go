package ops

import (
	"context"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/fs/archive"
)

// VolumeBackupRequest asks for a backup of the volume.
type VolumeBackupRequest struct {
	// Base is the statement of the backup to be based on, empty for a full one.
	Base []byte `json:"base,omitempty"`
}

func (o *Operations) volumeBackup(ctx context.Context, peer control.Peer, req VolumeBackupRequest, w control.StreamWriter) error {
	var base *archive.Statement
	if len(req.Base) > 0 {
		var err error
		if base, err = archive.ParseStatement(req.Base); err != nil {
			return exit.With(exit.Usage, err)
		}
	}
	log := o.session.Logger().With("uid", peer.UID, "incremental", base != nil)
	log.Info("backup begun")
	begun := time.Now()
	if err := o.session.Backup(ctx, w, base); err != nil {
		log.Warn("backup failed", "err", err)
		return err
	}
	log.Info("backup done", "took", time.Since(begun).Round(time.Millisecond).String())
	return nil
}
