package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) statCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat PATH",
		Short: "Show how a file or directory of the drive is encrypted",
		Long: `Show a file or directory with everything about its encryption. PATH lies on a mounted
drive; with --store it is a path within the volume, such as photos/2024/a.jpg.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := a.stat(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.show(info, func(w io.Writer) { writeFileInfo(w, info) })
		},
	}
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) stat(ctx context.Context, path string) (ops.FileInfo, error) {
	if _, ok, err := driveHolding(path); err == nil && ok {
		return statOnDrive(path)
	}
	if a.store == "" {
		if _, err := os.Lstat(path); err != nil {
			return ops.FileInfo{}, err
		}
		return ops.FileInfo{}, exit.Errorf(exit.Usage, "%s is not on a mounted drive: name its volume with --store", path)
	}
	var info ops.FileInfo
	t, err := a.find(ctx, nil)
	if err != nil {
		return info, err
	}
	err = t.Call(ctx, ops.Stat, ops.PathRequest{Path: path}, &info)
	if closeErr := t.close(); err == nil {
		err = closeErr
	}
	return info, err
}

// statOnDrive asks the kernel, so that every user of the drive may, with the permissions of the file.
func statOnDrive(path string) (ops.FileInfo, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return ops.FileInfo{}, err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ops.FileInfo{}, errors.New("stat without a stat")
	}
	info := ops.FileInfo{
		Path: path, Inode: sys.Ino, Type: ops.TypeName(sys.Mode), Mode: fmt.Sprintf("%04o", sys.Mode&0o7777),
		UID: sys.Uid, GID: sys.Gid, Links: uint64(sys.Nlink), Size: uint64(sys.Size), Modified: st.ModTime(),
	}
	var version string
	for name, field := range map[string]*string{
		"user.sse.policy":         &info.Policy,
		"user.sse.algorithm":      &info.Algorithm,
		"user.sse.key-id":         &info.KeyID,
		"user.sse.key-version":    &version,
		"user.sse.data-algorithm": &info.DataAlgorithm,
	} {
		if *field, err = xattr(path, name); err != nil {
			return ops.FileInfo{}, err
		}
	}
	if version != "" {
		n, err := strconv.ParseUint(version, 10, 32)
		if err != nil {
			return ops.FileInfo{}, fmt.Errorf("user.sse.key-version: %w", err)
		}
		info.KeyVersion = uint32(n)
	}
	return info, nil
}

// xattr returns an attribute, "" if the file has none of that name. Symlinks and special files have no user attributes.
func xattr(path, name string) (string, error) {
	buf := make([]byte, 1024)
	n, err := unix.Lgetxattr(path, name, buf)
	switch {
	case err == nil:
		return string(buf[:n]), nil
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP):
		return "", nil
	}
	return "", &os.PathError{Op: "getxattr " + name, Path: path, Err: err}
}

func writeFileInfo(w io.Writer, f ops.FileInfo) {
	row(w, "Path:", f.Path)
	row(w, "Type:", f.Type)
	row(w, "Inode:", f.Inode)
	row(w, "Mode:", f.Mode)
	row(w, "Owner:", fmt.Sprintf("%d:%d", f.UID, f.GID))
	row(w, "Links:", f.Links)
	row(w, "Size:", f.Size)
	row(w, "Modified:", f.Modified.Local().Format(time.RFC3339Nano))
	for _, line := range []struct{ title, value string }{
		{"Bucket policy:", f.Policy},
		{"Algorithm:", f.Algorithm},
		{"Data algorithm:", f.DataAlgorithm},
		{"Key:", f.KeyID},
	} {
		if line.value != "" {
			row(w, line.title, line.value)
		}
	}
	if f.KeyVersion != 0 {
		row(w, "Key version:", f.KeyVersion)
	}
}
