package ops

import (
	"context"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/kms"
)

// UsageRequest asks for the uses of keys from a day on, all for the zero time.
type UsageRequest struct {
	Since time.Time `json:"since,omitzero"`
}

// KeyUsage counts how a user used a key in a day, in UTC, for the files of a bucket. Counts older than a month may stand
// under the first day of their month or year.
type KeyUsage struct {
	Day    string `json:"day"`
	KeyID  string `json:"key_id"`
	Bucket string `json:"bucket"` // #NUMBER for one that was removed
	UID    int64  `json:"uid"`    // -1 for the drive itself
	Op     string `json:"operation"`
	// Uses counts data keys made or opened, Calls how often the key itself was needed for that.
	Uses  uint64 `json:"uses"`
	Calls uint64 `json:"calls"`
}

func (o *Operations) keyUsage(ctx context.Context, _ control.Peer, req UsageRequest) ([]KeyUsage, error) {
	rows, err := o.session.KMS().Usage(ctx, req.Since)
	if err != nil {
		return nil, err
	}
	names, err := o.bucketNames()
	if err != nil {
		return nil, err
	}
	usage := make([]KeyUsage, 0, len(rows))
	for _, r := range rows {
		usage = append(usage, KeyUsage{
			Day: r.Day.Format(time.DateOnly), KeyID: r.KeyID, Bucket: bucketName(names, r.Bucket), UID: uidOrDrive(r.UID),
			Op: r.Op.String(), Uses: r.Uses, Calls: r.Calls,
		})
	}
	return usage, nil
}

// bucketNames maps the numbers of buckets to their names.
func (o *Operations) bucketNames() (map[uint64]string, error) {
	buckets, err := o.session.Volume().Buckets()
	names := map[uint64]string{}
	for _, b := range buckets {
		names[b.Inode] = b.Name
	}
	return names, err
}

// uidOrDrive returns -1 for the drive's own work.
func uidOrDrive(uid uint32) int64 {
	if uid == kms.DriveUID {
		return -1
	}
	return int64(uid)
}
