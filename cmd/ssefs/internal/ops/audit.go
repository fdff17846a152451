package ops

import (
	"context"
	"errors"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/kms"
)

// The chains of the audit log.
const (
	ChainKeys = "keys" // what was done to keys
	ChainUses = "uses" // how they were used, and refusals
)

// AuditRequest asks for a chain of the audit log.
type AuditRequest struct {
	Chain string `json:"chain"`
	// Count asks for the number of records and the verification only.
	Count bool `json:"count,omitempty"`
}

// AuditChain is a chain of the audit log, verified as far as Broken says.
type AuditChain struct {
	Chain   string        `json:"chain"`
	Count   int           `json:"count"`
	Records []AuditRecord `json:"records,omitempty"`
	// Broken is where and how the chain is damaged, "" if it is whole. The records are those before that place.
	Broken string `json:"broken,omitempty"`
}

// AuditRecord is an entry of the audit log.
type AuditRecord struct {
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	Event     string    `json:"event"`
	UID       int64     `json:"uid"` // -1 for the drive itself
	KeyID     string    `json:"key_id,omitempty"`
	Detail    string    `json:"detail,omitempty"`
	Error     string    `json:"error,omitempty"`
	Bucket    string    `json:"bucket,omitempty"`
	Inode     uint64    `json:"inode,omitempty"`
	Operation string    `json:"operation,omitempty"`
	Uses      uint64    `json:"uses,omitempty"`
	Calls     uint64    `json:"calls,omitempty"`
}

func (o *Operations) audit(ctx context.Context, _ control.Peer, req AuditRequest) (AuditChain, error) {
	prefix, ok := map[string]string{ChainKeys: kms.AuditKeys, ChainUses: kms.AuditUse}[req.Chain]
	if !ok {
		return AuditChain{}, exit.Errorf(exit.Usage, "the chains of the audit log are %s and %s, not %q", ChainKeys, ChainUses, req.Chain)
	}
	names, err := o.bucketNames()
	if err != nil {
		return AuditChain{}, err
	}
	chain := AuditChain{Chain: req.Chain}
	err = o.session.KMS().Audit(ctx, prefix, func(r kms.AuditRecord) error {
		chain.Count++
		if !req.Count {
			chain.Records = append(chain.Records, describeRecord(r, names))
		}
		return nil
	})
	if errors.Is(err, kms.ErrAudit) {
		chain.Broken, err = err.Error(), nil
	}
	return chain, err
}

func describeRecord(r kms.AuditRecord, names map[uint64]string) AuditRecord {
	a := AuditRecord{
		Seq: r.Seq, Time: r.Time, Event: r.Event, UID: uidOrDrive(r.UID), KeyID: r.KeyID, Detail: r.Detail, Error: r.Error,
		Inode: r.Inode, Uses: r.Uses, Calls: r.Calls,
	}
	if r.Bucket != 0 {
		a.Bucket = bucketName(names, r.Bucket)
	}
	if r.Op != 0 {
		a.Operation = r.Op.String()
	}
	return a
}
