package mounts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnsuitable is wrapped by every refusal of a mount point.
var ErrUnsuitable = errors.New("mount point")

// CheckPoint tells whether a drive whose store lies at storePath can be mounted over point; both are
// canonical. Each refusal says what to do.
func CheckPoint(point, storePath string) error {
	list, err := List()
	if err != nil {
		return err
	}
	if m, ok := At(list, point); ok && m.FUSE() {
		return checkMounted(point, m)
	}
	if err := checkDirectory(point); err != nil {
		return err
	}
	if inside(point, storePath) || inside(storePath, point) {
		return fmt.Errorf("%w %s and the store %s lie within each other: give the store a place outside", ErrUnsuitable, point, storePath)
	}
	return nil
}

// checkMounted explains why a FUSE mount cannot be mounted over.
func checkMounted(point string, m Mount) error {
	var st unix.Statfs_t
	if err := unix.Statfs(point, &st); errors.Is(err, unix.ENOTCONN) {
		return fmt.Errorf("%w %s is a dead FUSE mount, its daemon is gone (Transport endpoint is not connected): clean up with 'ssefs umount %s' and mount again",
			ErrUnsuitable, point, point)
	}
	return fmt.Errorf("%w %s is already mounted (%s on type %s): unmount that first with 'ssefs umount %s' or umount(8)",
		ErrUnsuitable, point, m.Source, m.Type, point)
}

func checkDirectory(point string) error {
	st, err := os.Stat(point)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w %s does not exist: make it with 'mkdir %s'", ErrUnsuitable, point, point)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnsuitable, err)
	case !st.IsDir():
		return fmt.Errorf("%w %s is not a directory", ErrUnsuitable, point)
	}
	d, err := os.Open(point)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsuitable, err)
	}
	_, err = d.Readdirnames(1)
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err == nil:
		return fmt.Errorf("%w %s is not empty: its files would be hidden; empty it or choose another", ErrUnsuitable, point)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrUnsuitable, err)
	}
	return nil
}

// inside tells whether path is dir or lies below it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}
