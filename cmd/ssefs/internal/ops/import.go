package ops

import (
	"context"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/kms"
)

// ImportRequest carries key material, encrypted to the public key of the import parameters. The material expires when
// Expires says, never if that is zero.
type ImportRequest struct {
	Key     string    `json:"key"`
	Token   []byte    `json:"import_token"`
	Wrapped []byte    `json:"encrypted_material"`
	Expires time.Time `json:"expires,omitzero"`
}

func (o *Operations) keyImportParameters(ctx context.Context, peer control.Peer, req KeyRequest) (kms.ImportParameters, error) {
	return o.session.KMS().GetImportParameters(ctx, req.by(peer), req.Key)
}

func (o *Operations) keyImport(ctx context.Context, peer control.Peer, req ImportRequest) (Key, error) {
	return o.changed(ctx, req.Key, o.session.KMS().Import(ctx, kms.By{UID: peer.UID}, req.Key, req.Token, req.Wrapped, req.Expires))
}
