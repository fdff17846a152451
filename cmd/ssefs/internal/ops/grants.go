package ops

import (
	"context"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/kms"
)

// Grant says who may use a key, and how.
type Grant struct {
	Kind  string `json:"kind"` // user or group
	ID    uint32 `json:"id"`
	Allow string `json:"allow"` // decrypt, generate, or both with a comma
}

// GrantRequest gives a grant on a key, named by ID or alias, or takes it away.
type GrantRequest struct {
	Key string `json:"key"`
	Grant
}

func (o *Operations) keyGrant(ctx context.Context, peer control.Peer, req GrantRequest) (Key, error) {
	return o.changeGrants(ctx, peer, req, o.session.KMS().Grant)
}

func (o *Operations) keyRevoke(ctx context.Context, peer control.Peer, req GrantRequest) (Key, error) {
	return o.changeGrants(ctx, peer, req, o.session.KMS().Revoke)
}

func (o *Operations) changeGrants(ctx context.Context, peer control.Peer, req GrantRequest,
	change func(context.Context, kms.By, string, kms.Grant) error,
) (Key, error) {
	g := kms.Grant{ID: req.ID}
	switch req.Kind {
	case kms.GrantUser.String():
		g.Kind = kms.GrantUser
	case kms.GrantGroup.String():
		g.Kind = kms.GrantGroup
	default:
		return Key{}, exit.Errorf(exit.Usage, "a grant is for a user or a group, not for a %q", req.Kind)
	}
	if err := g.Ops.UnmarshalText([]byte(req.Allow)); err != nil {
		return Key{}, exit.With(exit.Usage, err)
	}
	err := change(ctx, kms.By{UID: peer.UID}, req.Key, g)
	if err != nil {
		return Key{}, err // no remedy: the default key takes no grants at all
	}
	return o.describe(ctx, req.Key)
}
