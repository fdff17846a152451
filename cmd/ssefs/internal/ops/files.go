package ops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/fs"
	"ssefs/fs/volume"
)

// PathRequest names a file by its path from the root of the volume; a leading slash does not matter.
type PathRequest struct {
	Path string `json:"path"`
}

// FileInfo describes a file or directory and its encryption.
type FileInfo struct {
	Path     string    `json:"path"`
	Inode    uint64    `json:"inode"`
	Type     string    `json:"type"`
	Mode     string    `json:"mode"` // permission bits, octal
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Links    uint64    `json:"links"`
	Size     uint64    `json:"size"`
	Modified time.Time `json:"modified"`

	// As the virtual xattrs user.sse.* tell.
	Policy        string `json:"policy,omitempty"`    // of a bucket
	Algorithm     string `json:"algorithm,omitempty"` // of a directory: of the files that are made in it
	DataAlgorithm string `json:"data_algorithm,omitempty"`
	KeyID         string `json:"key_id,omitempty"`
	KeyVersion    uint32 `json:"key_version,omitempty"`
}

func (o *Operations) stat(_ context.Context, _ control.Peer, req PathRequest) (FileInfo, error) {
	v := o.session.Volume()
	n, err := o.walk(req.Path)
	if err != nil {
		return FileInfo{}, fmt.Errorf("%s: %w", req.Path, err)
	}
	defer v.Unpin(n)
	a := n.Stat()
	info := FileInfo{
		Path: req.Path, Inode: n.Ino, Type: TypeName(a.Mode), Mode: fmt.Sprintf("%04o", a.Mode&0o7777),
		UID: a.UID, GID: a.GID, Links: uint64(a.Nlink), Size: a.Size, Modified: time.Unix(a.Mtime.Sec, int64(a.Mtime.Nsec)),
	}
	sse, err := fs.Encryption(v, n)
	if err != nil {
		return FileInfo{}, fmt.Errorf("%s: %w", req.Path, err)
	}
	info.Algorithm, info.DataAlgorithm, info.KeyID, info.KeyVersion = sse.Algorithm, sse.DataAlgorithm, sse.KeyID, sse.KeyVersion
	if a.IsDir() && a.Bucket == n.Ino {
		policy, err := v.Policy(n.Ino)
		if err != nil {
			return FileInfo{}, fmt.Errorf("%s: %w", req.Path, err)
		}
		info.Policy = policy.String()
	}
	return info, nil
}

// walk returns the inode at a path, pinned. It follows no symlinks, nor "." and "..", which the volume does not store.
func (o *Operations) walk(path string) (*volume.Inode, error) {
	v := o.session.Volume()
	n, err := v.Inode(volume.RootInode)
	for _, name := range strings.Split(path, "/") {
		if err != nil {
			return nil, err
		}
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			v.Unpin(n)
			return nil, errors.New("a path within the volume has no '..'")
		}
		dir := n.Ino
		v.Unpin(n)
		n, err = v.Lookup(dir, name)
	}
	return n, err
}

// TypeName names the type in a file's mode.
func TypeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "character device"
	case unix.S_IFBLK:
		return "block device"
	}
	return "unknown"
}
