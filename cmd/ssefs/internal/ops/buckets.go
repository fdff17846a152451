package ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
)

// Bucket describes a bucket.
type Bucket struct {
	Name   string `json:"name"`
	Policy string `json:"policy"`
	// BucketKey tells whether bucket keys stand between the customer master key and the data keys of new files.
	BucketKey bool      `json:"bucket_key"`
	UID       uint32    `json:"uid"`
	GID       uint32    `json:"gid"`
	Mode      string    `json:"mode"` // octal
	Inode     uint64    `json:"inode"`
	Created   time.Time `json:"created"`
}

// DefaultPolicy asks for the volume's default policy.
const DefaultPolicy = "default"

// BucketRequest names a bucket, or describes one to be made or changed. What is empty is the default for a new bucket,
// and stays as it is for another.
type BucketRequest struct {
	Name   string `json:"name"`
	Policy string `json:"policy,omitempty"` // or DefaultPolicy
	// BucketKey is on or off.
	BucketKey string `json:"bucket_key,omitempty"`
	Mode      uint32 `json:"mode,omitempty"` // permission bits
}

func (o *Operations) bucketCreate(ctx context.Context, peer control.Peer, req BucketRequest) (Bucket, error) {
	if err := checkBucketName(req.Name); err != nil {
		return Bucket{}, err
	}
	policy, err := o.policy(req.Policy)
	if err != nil {
		return Bucket{}, err
	}
	wrapping, err := wrapping(req.BucketKey)
	if err != nil {
		return Bucket{}, err
	}
	v := o.session.Volume()
	n, err := v.Create(ctx, volume.RootInode, req.Name, volume.NewNode{
		Mode: unix.S_IFDIR | req.Mode&0o7777, UID: peer.UID, GID: peer.GID, Policy: &policy, Wrapping: wrapping,
	})
	if err != nil {
		return Bucket{}, fmt.Errorf("bucket %q: %w", req.Name, err)
	}
	v.Unpin(n)
	if o.mount.Appeared != nil {
		o.mount.Appeared(req.Name)
	}
	if err := v.Sync(); err != nil {
		return Bucket{}, err
	}
	return o.bucket(req.Name)
}

func (o *Operations) bucketList(context.Context, control.Peer, None) ([]Bucket, error) {
	infos, err := o.session.Volume().Buckets()
	list := make([]Bucket, 0, len(infos))
	for _, b := range infos {
		list = append(list, describeBucket(b))
	}
	return list, err
}

func (o *Operations) bucketShow(_ context.Context, _ control.Peer, req BucketRequest) (Bucket, error) {
	return o.bucket(req.Name)
}

func (o *Operations) bucketSet(_ context.Context, peer control.Peer, req BucketRequest) (Bucket, error) {
	policy, err := o.policy(req.Policy)
	if err != nil {
		return Bucket{}, err
	}
	wrapping, err := wrapping(req.BucketKey)
	if err != nil {
		return Bucket{}, err
	}
	v := o.session.Volume()
	n, err := v.Lookup(volume.RootInode, req.Name)
	if err != nil {
		return Bucket{}, explainBucket(req.Name, err)
	}
	defer v.Unpin(n)
	if req.Policy != "" {
		err = v.SetPolicy(n, policy, peer.UID)
	}
	if req.BucketKey != "" && err == nil {
		err = v.SetWrapping(n, wrapping, peer.UID)
	}
	if err != nil {
		return Bucket{}, fmt.Errorf("bucket %q: %w", req.Name, err)
	}
	if err := v.Sync(); err != nil {
		return Bucket{}, err
	}
	return o.bucket(req.Name)
}

// policy reads a policy; DefaultPolicy and "" are the volume's default.
func (o *Operations) policy(text string) (crypto.Policy, error) {
	if text == "" || strings.EqualFold(text, DefaultPolicy) {
		return o.session.Volume().Settings().DefaultPolicy, nil
	}
	return crypto.ParsePolicy(text)
}

// policyKey returns the reference to the customer master key that a policy uses, if it uses one.
func policyKey(p crypto.Policy) (ref string, ok bool) {
	switch {
	case p.Algorithm != crypto.AlgorithmKMS:
		return "", false
	case p.Key == "":
		return kms.DefaultAlias, true
	}
	return p.Key, true
}

// wrapping reads whether bucket keys are used; they are unless told otherwise.
func wrapping(bucketKey string) (kms.Wrapping, error) {
	switch bucketKey {
	case "", "on":
		return kms.ByBucketKey, nil
	case "off":
		return kms.Direct, nil
	}
	return 0, exit.Errorf(exit.Usage, "bucket keys are on or off, not %q", bucketKey)
}

// bucket describes the bucket of a name.
func (o *Operations) bucket(name string) (Bucket, error) {
	infos, err := o.session.Volume().Buckets()
	if err != nil {
		return Bucket{}, err
	}
	for _, b := range infos {
		if b.Name == name {
			return describeBucket(b), nil
		}
	}
	return Bucket{}, explainBucket(name, volume.ErrNotExist)
}

func describeBucket(b volume.BucketInfo) Bucket {
	return Bucket{
		Name: b.Name, Policy: b.Policy.String(), BucketKey: b.Wrapping == kms.ByBucketKey, UID: b.UID, GID: b.GID, Mode: fmt.Sprintf("%04o", b.Mode),
		Inode: b.Inode, Created: time.Unix(b.Btime.Sec, int64(b.Btime.Nsec)),
	}
}

func explainBucket(name string, err error) error {
	if errors.Is(err, volume.ErrNotExist) {
		return fmt.Errorf("there is no bucket %q: 'ssefs bucket list' shows them", name)
	}
	return fmt.Errorf("bucket %q: %w", name, err)
}

// checkBucketName refuses what no directory can be called.
func checkBucketName(name string) error {
	switch {
	case name == "" || name == "." || name == "..", strings.ContainsAny(name, "/\x00"):
		return exit.Errorf(exit.Usage, "%q cannot be the name of a bucket", name)
	case len(name) > 255:
		return exit.Errorf(exit.Usage, "the name of a bucket has at most 255 bytes, not %d", len(name))
	}
	return nil
}
