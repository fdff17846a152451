package ops

import (
	"context"
	"errors"
	"os"
	"time"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/cmd/ssefs/internal/sandbox"
	"ssefs/fs/transport"
)

// Volume says which volume a daemon serves, and where.
type Volume struct {
	PID        int       `json:"pid"`
	ID         string    `json:"volume_id"`
	Store      string    `json:"store"`
	Mountpoint string    `json:"mountpoint"`
	Bucket     string    `json:"bucket,omitempty"`
	ReadOnly   bool      `json:"read_only"`
	UID        int       `json:"uid"`
	Since      time.Time `json:"since"`
}

// VolumeStatus is how a volume does.
type VolumeStatus struct {
	Volume
	DefaultPolicy string `json:"default_policy"`
	Region        string `json:"region"`
	Buckets       int    `json:"buckets"`
	Inodes        uint64 `json:"inodes"`
	// The disk that the store lies on: its size, and what is free for the drive.
	Total     int64 `json:"total_bytes"`
	Available int64 `json:"available_bytes"`
	// StoreBytes is what the store's database takes up.
	StoreBytes int64 `json:"store_bytes"`
	// Transport is how the kernel's requests come: io_uring, over so many rings at present, or /dev/fuse, with the reason
	// why not over io_uring.
	Transport       string `json:"transport,omitempty"`
	TransportReason string `json:"transport_reason,omitempty"`
	Rings           int    `json:"rings,omitempty"`
	// SandboxABI is the version of Landlock that confines the daemon, 0 if nothing does, with the reason.
	SandboxABI    int    `json:"sandbox_landlock_abi"`
	SandboxReason string `json:"sandbox_reason,omitempty"`
}

func (o *Operations) info(context.Context, control.Peer, None) (Volume, error) {
	return Volume{
		PID:        os.Getpid(),
		ID:         o.session.ID().String(),
		Store:      o.session.Path(),
		Mountpoint: o.mount.Mountpoint,
		Bucket:     o.mount.Bucket,
		ReadOnly:   o.session.ReadOnly(),
		UID:        os.Getuid(),
		Since:      o.session.Since(),
	}, nil
}

func (o *Operations) status(ctx context.Context, peer control.Peer, _ None) (VolumeStatus, error) {
	info, err := o.info(ctx, peer, None{})
	if err != nil {
		return VolumeStatus{}, err
	}
	v := o.session.Volume()
	buckets, err := v.Buckets()
	if err != nil {
		return VolumeStatus{}, err
	}
	size, err := v.Statfs()
	if err != nil {
		return VolumeStatus{}, err
	}
	lsm, vlog := o.session.DB().Size()
	settings := v.Settings()
	var how transport.Status
	if o.mount.Transport != nil {
		how = o.mount.Transport()
	}
	var confined sandbox.Status
	if o.mount.Sandbox != nil {
		confined = o.mount.Sandbox()
	}
	return VolumeStatus{
		SandboxABI: confined.ABI, SandboxReason: confined.Reason,
		Transport: how.Name, TransportReason: how.Reason, Rings: how.Rings,
		Volume: info, DefaultPolicy: settings.DefaultPolicy.String(), Region: settings.Region,
		Buckets: len(buckets), Inodes: size.Inodes, Total: int64(size.Total), Available: int64(size.Available),
		StoreBytes: lsm + vlog,
	}, nil
}

func (o *Operations) sync(_ context.Context, _ control.Peer, _ None) (None, error) {
	return None{}, o.session.Volume().Sync()
}

func (o *Operations) waitClosed(ctx context.Context, _ control.Peer, _ None) (None, error) {
	if o.mount.Closed == nil {
		return None{}, errors.New("the volume is not mounted")
	}
	select {
	case <-o.mount.Closed:
		return None{}, o.mount.CloseError()
	case <-ctx.Done():
		return None{}, ctx.Err()
	}
}
