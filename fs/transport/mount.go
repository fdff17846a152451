package transport

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is what mount(2) is to do. go-fuse would mount as well, but answer INIT
// in the same breath, before rings can be tried on the device.
type Mount struct {
	Point      string
	FsName     string
	Subtype    string
	Flags      uintptr // MS_*, of a mount by root
	Options    []string
	AllowOther bool
	MaxRead    int
}

// open mounts and returns the FUSE device: by mount(2) for root, through
// fusermount3 for others.
func (m Mount) open() (device int, err error) {
	if os.Geteuid() == 0 {
		return m.direct()
	}
	return m.helped()
}

func (m Mount) direct() (device int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(m.Point, &st); err != nil {
		return 0, fmt.Errorf("%s: %w", m.Point, err)
	}
	if device, err = unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return 0, fmt.Errorf("/dev/fuse: %w", err)
	}
	options := append([]string{
		fmt.Sprintf("fd=%d", device), fmt.Sprintf("rootmode=%o", st.Mode&unix.S_IFMT),
		fmt.Sprintf("user_id=%d", os.Geteuid()), fmt.Sprintf("group_id=%d", os.Getegid()),
	}, m.options()...)
	err = unix.Mount(m.FsName, m.Point, "fuse."+m.Subtype, m.Flags, strings.Join(options, ","))
	if err != nil {
		return 0, errors.Join(err, unix.Close(device))
	}
	return device, nil
}

// options are those that the kernel knows.
func (m Mount) options() []string {
	o := append([]string{fmt.Sprintf("max_read=%d", m.MaxRead)}, m.Options...)
	if m.AllowOther {
		o = append(o, "allow_other")
	}
	return o
}

// helped has fusermount3 mount, which sends the device through a socket.
func (m Mount) helped() (device int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "fusermount3"), os.NewFile(uintptr(pair[1]), "fusermount3")
	defer func() { err = errors.Join(err, ours.Close()) }()
	options := m.options()
	options = append(options, "fsname="+m.FsName, "subtype="+m.Subtype)
	for i, o := range options {
		options[i] = strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(o)
	}
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		return 0, errors.Join(fmt.Errorf("mounting as a user needs fusermount3 (package fuse3): %w", err), theirs.Close())
	}
	cmd := exec.Command(helper, m.Point, "-o", strings.Join(options, ","))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	err = cmd.Run()
	if err = errors.Join(err, theirs.Close()); err != nil {
		return 0, fmt.Errorf("fusermount3: %w", err)
	}
	return receive(int(ours.Fd()))
}

// receive takes a file descriptor out of a message.
func receive(socket int) (fd int, err error) {
	var data [4]byte
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, data[:], control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("receive the FUSE device: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("receive the FUSE device: %d messages, %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return 0, fmt.Errorf("receive the FUSE device: %d descriptors, %w", len(fds), err)
	}
	return fds[0], nil
}

// detach takes a mount away that cannot be used.
func (m Mount) detach() error {
	if os.Geteuid() == 0 {
		return unix.Unmount(m.Point, unix.MNT_DETACH)
	}
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		return err
	}
	return exec.Command(helper, "-u", "-z", "--", filepath.Clean(m.Point)).Run()
}
