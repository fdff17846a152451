package ops

import (
	"context"
	"strings"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/kms"
)

// Alias is a name of a key.
type Alias struct {
	Name  string `json:"name"`
	KeyID string `json:"key_id"`
}

// AliasRequest names an alias and, to make one, its key.
type AliasRequest struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"`
}

func (o *Operations) aliasCreate(ctx context.Context, peer control.Peer, req AliasRequest) (Alias, error) {
	name := aliasName(req.Name)
	if err := o.session.KMS().CreateAlias(ctx, kms.By{UID: peer.UID}, name, req.Key); err != nil {
		return Alias{}, err
	}
	info, err := o.session.KMS().Describe(ctx, name)
	return Alias{Name: name, KeyID: info.ID}, err
}

func (o *Operations) aliasUpdate(ctx context.Context, peer control.Peer, req AliasRequest) (Alias, error) {
	name := aliasName(req.Name)
	if err := o.session.KMS().UpdateAlias(ctx, kms.By{UID: peer.UID}, name, req.Key); err != nil {
		return Alias{}, err
	}
	info, err := o.session.KMS().Describe(ctx, name)
	return Alias{Name: name, KeyID: info.ID}, err
}

func (o *Operations) aliasList(ctx context.Context, _ control.Peer, _ None) ([]Alias, error) {
	list, err := o.session.KMS().Aliases(ctx)
	aliases := make([]Alias, 0, len(list))
	for _, a := range list {
		aliases = append(aliases, Alias(a))
	}
	return aliases, err
}

func (o *Operations) aliasDelete(ctx context.Context, peer control.Peer, req AliasRequest) (None, error) {
	return None{}, o.session.KMS().DeleteAlias(ctx, kms.By{UID: peer.UID}, aliasName(req.Name))
}

// aliasName completes a name given without its prefix.
func aliasName(name string) string {
	const prefix = "alias/"
	if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
		return prefix + name[len(prefix):]
	}
	return prefix + name
}
