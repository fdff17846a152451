package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrBusy is wrapped when a mount is in use.
var ErrBusy = errors.New("busy")

// Unmount takes a FUSE mount away the plain way: it fails with ErrBusy while files or directories of it are in use.
func Unmount(point string) error { return unmount(point, 0) }

// Detach takes a mount out of the name space at once and leaves those who use it their open files.
func Detach(point string) error { return unmount(point, unix.MNT_DETACH) }

func unmount(point string, flags int) error {
	if os.Geteuid() == 0 {
		err := unix.Unmount(point, flags|unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("%s is %w", point, ErrBusy)
		case err != nil:
			return fmt.Errorf("unmount %s: %w", point, err)
		}
		return nil
	}
	return fusermount(point, flags)
}

// fusermount unmounts through the set-uid helper that users other than root need.
func fusermount(point string, flags int) error {
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		return fmt.Errorf("unmounting as a user needs fusermount3 (package fuse3): %w", err)
	}
	args := []string{"-u", point}
	if flags&unix.MNT_DETACH != 0 {
		args = []string{"-u", "-z", point}
	}
	var stderr bytes.Buffer
	cmd := exec.Command(helper, args...)
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		if strings.Contains(text, "busy") {
			return fmt.Errorf("%s is %w", point, ErrBusy)
		}
		return fmt.Errorf("unmount %s: %s (%w)", point, text, err)
	}
	return nil
}

// Abort cuts the connection between a FUSE file system and the process that serves it: all its users get errors. It
// needs the control file system of FUSE, which most systems mount.
func (m Mount) Abort() error {
	_, minor, ok := strings.Cut(m.Device, ":")
	if !ok {
		return fmt.Errorf("no connection: device %q", m.Device)
	}
	f, err := os.OpenFile("/sys/fs/fuse/connections/"+minor+"/abort", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString("1")
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
