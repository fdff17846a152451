package mounts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// fuseConf says what users other than root may do.
const fuseConf = "/etc/fuse.conf"

// Sharing says who may use a drive besides the user that mounts it.
type Sharing int

// The kinds of sharing.
const (
	Private Sharing = iota
	AllowOther
)

// CheckFUSE tells whether the user uid can mount a FUSE drive over point at all, before anything is opened. Each
// refusal says what to do; those about the mount point itself wrap ErrUnsuitable.
func CheckFUSE(uid int, point string, sharing Sharing) error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return fmt.Errorf("there is no FUSE here (%w): load the kernel module with 'modprobe fuse'", err)
	}
	if uid == 0 {
		return nil
	}
	if err := unix.Access("/dev/fuse", unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("/dev/fuse is closed to users (%w): let root run 'chmod 666 /dev/fuse', which is how systems set it up, or mount as root", err)
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		return errors.New("mounting as a user needs fusermount3: install the package fuse3")
	}
	if sharing == AllowOther {
		conf, err := os.ReadFile(fuseConf)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !allowsOther(string(conf)) {
			return fmt.Errorf("allow_other is not allowed to users: put the line 'user_allow_other' into %s, or mount as root", fuseConf)
		}
	}
	if unix.Access(point, unix.W_OK) != nil {
		return fmt.Errorf("%w %s cannot be written to by you, so you cannot mount over it", ErrUnsuitable, point)
	}
	return nil
}

// allowsOther tells whether a fuse.conf has the line user_allow_other.
func allowsOther(conf string) bool {
	for line := range strings.Lines(conf) {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}
