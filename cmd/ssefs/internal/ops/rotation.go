package ops

import (
	"context"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/kms"
)

// MasterKey describes the service master key, which wraps the data keys of AES256 files.
type MasterKey struct {
	Current      uint32       `json:"current_version"`
	Versions     []KeyVersion `json:"versions"`
	RotateEvery  string       `json:"rotate_every"` // as package interval writes it
	NextRotation time.Time    `json:"next_rotation,omitzero"`
}

func (o *Operations) keyRotate(ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
	_, err := o.session.KMS().Rotate(ctx, req.by(peer), req.Key)
	return o.changed(ctx, req.Key, err)
}

func (o *Operations) keySetRotation(ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
	every, err := interval.Parse(req.RotateEvery)
	if err != nil {
		return Key{}, exit.With(exit.Usage, err)
	}
	return o.changed(ctx, req.Key, o.session.KMS().SetRotation(ctx, req.by(peer), req.Key, every))
}

func (o *Operations) masterKey(ctx context.Context, _ control.Peer, _ None) (MasterKey, error) {
	info, err := o.session.KMS().MasterKey(ctx)
	k := MasterKey{
		Current: info.Current, Versions: []KeyVersion{}, RotateEvery: interval.Format(info.RotateEvery), NextRotation: info.NextRotation,
	}
	for _, v := range info.Versions {
		k.Versions = append(k.Versions, KeyVersion(v))
	}
	return k, err
}

func (o *Operations) masterKeyRotate(ctx context.Context, peer control.Peer, _ None) (MasterKey, error) {
	if _, err := o.session.KMS().RotateMasterKey(ctx, kms.By{UID: peer.UID}); err != nil {
		return MasterKey{}, err
	}
	return o.masterKey(ctx, peer, None{})
}

func (o *Operations) masterKeySetRotation(ctx context.Context, peer control.Peer, req KeyRequest) (MasterKey, error) {
	every, err := interval.Parse(req.RotateEvery)
	if err != nil {
		return MasterKey{}, exit.With(exit.Usage, err)
	}
	if err := o.session.KMS().SetMasterKeyRotation(ctx, kms.By{UID: peer.UID}, every); err != nil {
		return MasterKey{}, err
	}
	return o.masterKey(ctx, peer, None{})
}
