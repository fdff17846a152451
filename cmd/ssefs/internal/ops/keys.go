package ops

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/kms"
)

// Key describes a customer master key.
type Key struct {
	ID          string       `json:"id"`
	Description string       `json:"description"`
	Region      string       `json:"region"`
	State       string       `json:"state"`
	Origin      string       `json:"origin"`
	Managed     bool         `json:"managed"`
	Protected   bool         `json:"deletion_protection"`
	CreatorUID  uint32       `json:"creator_uid"`
	Created     time.Time    `json:"created"`
	Aliases     []string     `json:"aliases"`
	Grants      []Grant      `json:"grants"`
	Versions    []KeyVersion `json:"versions"`
	Current     uint32       `json:"current_version"`
	// RotateEvery is as package interval writes it. NextRotation is there while rotation is not suspended.
	RotateEvery  string    `json:"rotate_every"`
	NextRotation time.Time `json:"next_rotation,omitzero"`
	// DeletionDate is when a key that is pending deletion loses its material, DeletedAt when a deleted one did.
	DeletionDate time.Time `json:"deletion_date,omitzero"`
	DeletedAt    time.Time `json:"deleted,omitzero"`
	// Of imported material.
	MaterialExpires time.Time `json:"material_expires,omitzero"`
	MaterialExpired bool      `json:"material_expired,omitzero"`
}

// KeyVersion describes one version of a key.
type KeyVersion struct {
	Number  uint32    `json:"version"`
	Created time.Time `json:"created"`
}

// KeyRequest names a key by ID or alias, or describes one to be made.
type KeyRequest struct {
	Key         string `json:"key,omitempty"`
	Description string `json:"description,omitempty"`
	// Origin is KMS or EXTERNAL, "" for KMS.
	Origin string `json:"origin,omitempty"`
	Region string `json:"region,omitempty"`
	// RotateEvery is as package interval writes it, "" for off.
	RotateEvery string `json:"rotate_every,omitempty"`
	// Days is how far ahead a key is deleted.
	Days int `json:"days,omitempty"`
	// Managed confirms that a change of the managed default key is meant.
	Managed bool `json:"managed,omitempty"`
}

func (r *KeyRequest) by(peer control.Peer) kms.By { return kms.By{UID: peer.UID, Managed: r.Managed} }

func (o *Operations) keyCreate(ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
	options := kms.CreateOptions{Description: req.Description, Region: req.Region}
	switch req.Origin {
	case "", kms.OriginKMS.String():
	case kms.OriginExternal.String():
		options.Origin = kms.OriginExternal
	default:
		return Key{}, exit.Errorf(exit.Usage, "the origin of a key is %v or %v, not %q", kms.OriginKMS, kms.OriginExternal, req.Origin)
	}
	if req.RotateEvery != "" {
		var err error
		if options.RotateEvery, err = interval.Parse(req.RotateEvery); err != nil {
			return Key{}, exit.With(exit.Usage, err)
		}
	}
	info, err := o.session.KMS().CreateKey(ctx, req.by(peer), options)
	if errors.Is(err, kms.ErrOneCopy) {
		err = fmt.Errorf("key %s was made: %w", info.ID, err)
	}
	return describeKey(info), explainKey(err)
}

func (o *Operations) keyList(ctx context.Context, _ control.Peer, _ None) ([]Key, error) {
	infos, err := o.session.KMS().List(ctx)
	keys := make([]Key, 0, len(infos))
	for _, i := range infos {
		keys = append(keys, describeKey(i))
	}
	return keys, err
}

func (o *Operations) keyDescribe(ctx context.Context, _ control.Peer, req KeyRequest) (Key, error) {
	return o.describe(ctx, req.Key)
}

func (o *Operations) describe(ctx context.Context, ref string) (Key, error) {
	info, err := o.session.KMS().Describe(ctx, ref)
	return describeKey(info), err
}

// changed answers a change of a key with what has become of it.
func (o *Operations) changed(ctx context.Context, ref string, err error) (Key, error) {
	if err != nil {
		return Key{}, explainKey(err)
	}
	return o.describe(ctx, ref)
}

// keyChange is an operation that changes one key and needs nothing but its name.
func keyChange(change func(*kms.Service, context.Context, kms.By, string) error) operation {
	return typed(func(o *Operations, ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
		return o.changed(ctx, req.Key, change(o.session.KMS(), ctx, req.by(peer), req.Key))
	})
}

func (o *Operations) keySetDescription(ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
	return o.changed(ctx, req.Key, o.session.KMS().SetDescription(ctx, req.by(peer), req.Key, req.Description))
}

func (o *Operations) keyScheduleDeletion(ctx context.Context, peer control.Peer, req KeyRequest) (Key, error) {
	_, err := o.session.KMS().ScheduleDeletion(ctx, req.by(peer), req.Key, req.Days)
	return o.changed(ctx, req.Key, err)
}

// Dependents are the files that cannot be read any more when a key is gone.
type Dependents struct {
	KeyID   string        `json:"key_id"`
	Files   uint64        `json:"files"`
	Buckets []BucketFiles `json:"buckets"`
	// Policies are the buckets whose policy uses the key for new files.
	Policies []string `json:"policies"`
}

// BucketFiles is how many of them lie in a bucket.
type BucketFiles struct {
	Bucket string `json:"bucket"`
	Files  uint64 `json:"files"`
}

// keyDependents counts the files under a key, open ones without a name included.
func (o *Operations) keyDependents(ctx context.Context, _ control.Peer, req KeyRequest) (Dependents, error) {
	info, err := o.session.KMS().Describe(ctx, req.Key)
	if err != nil {
		return Dependents{}, err
	}
	v := o.session.Volume()
	if !o.session.ReadOnly() {
		if err := v.Sync(); err != nil {
			return Dependents{}, err
		}
	}
	counts, err := v.CountKeyFiles(ctx, info.ID)
	if err != nil {
		return Dependents{}, err
	}
	buckets, err := v.Buckets()
	if err != nil {
		return Dependents{}, err
	}
	d := Dependents{KeyID: info.ID, Buckets: []BucketFiles{}, Policies: []string{}}
	names := map[uint64]string{}
	for _, b := range buckets {
		names[b.Inode] = b.Name
		if ref, ok := policyKey(b.Policy); ok {
			if of, err := o.session.KMS().Describe(ctx, ref); err == nil && of.ID == info.ID {
				d.Policies = append(d.Policies, b.Name)
			}
		}
	}
	for _, c := range counts {
		d.Files += c.Files
		d.Buckets = append(d.Buckets, BucketFiles{bucketName(names, c.Bucket), c.Files})
	}
	return d, nil
}

// bucketName names a bucket by its number; one that was removed has no name any more.
func bucketName(names map[uint64]string, number uint64) string {
	if name, ok := names[number]; ok {
		return name
	}
	return fmt.Sprintf("#%d", number)
}

// explainKey adds the remedy that the key service, which knows no command line, leaves out.
func explainKey(err error) error {
	switch {
	case errors.Is(err, kms.ErrManaged):
		return fmt.Errorf("%w with --managed", err)
	case errors.Is(err, kms.ErrProtected):
		return fmt.Errorf("%w: 'ssefs kms unprotect' ends it", err)
	}
	return err
}

func describeKey(i kms.KeyInfo) Key {
	k := Key{
		ID: i.ID, Description: i.Description, Region: i.Region, State: i.State.String(), Origin: i.Origin.String(),
		Managed: i.Managed, Protected: i.Protected, CreatorUID: i.Creator, Created: i.Created, Current: i.Current,
		Aliases: append([]string{}, i.Aliases...), Grants: []Grant{}, Versions: []KeyVersion{},
		RotateEvery: interval.Format(i.RotateEvery), NextRotation: i.NextRotation,
		DeletionDate: i.DeletionDate, DeletedAt: i.DeletedAt,
		MaterialExpires: i.MaterialExpires, MaterialExpired: i.MaterialExpired,
	}
	for _, g := range i.Grants {
		k.Grants = append(k.Grants, Grant{Kind: g.Kind.String(), ID: g.ID, Allow: g.Ops.String()})
	}
	for _, v := range i.Versions {
		k.Versions = append(k.Versions, KeyVersion(v))
	}
	return k
}
