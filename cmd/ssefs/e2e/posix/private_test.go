package posix

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestPrivateMount: on a drive that nobody but root may enter the kernel checks no permissions, and everything is as
// it is for root elsewhere.
func TestPrivateMount(t *testing.T) {
	d := drive.New(t, drive.Options{Private: true})
	dir := d.Bucket("bucket")
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("#!/bin/sh\nexit 7\n"))

	// Others do not get in, whatever the modes say.
	err := drive.As(t, drive.User(1001), func() error {
		var st unix.Stat_t
		return unix.Stat(p, &st)
	})
	expect.Errno(t, err, unix.EACCES, "stat by another user")

	// Root reads and writes what modes forbid, and executes what somebody may.
	expect.OK(t, unix.Chmod(p, 0), "chmod")
	expect.OK(t, unix.Access(p, unix.R_OK|unix.W_OK), "access to a file without permissions")
	expect.Write(t, p, []byte("#!/bin/sh\nexit 8\n"))
	expect.Errno(t, unix.Access(p, unix.X_OK), unix.EACCES, "access to execute what nobody may")
	if err := exec.Command(p).Run(); !os.IsPermission(err) {
		t.Errorf("executing what nobody may: %v", err)
	}
	expect.OK(t, unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK), "access to a directory")
	expect.OK(t, unix.Chmod(p, 0o010), "chmod")
	expect.OK(t, unix.Access(p, unix.X_OK), "access to execute")
	cmd := exec.Command(p)
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 8 {
		t.Errorf("executing: %v", err)
	}

	// ACLs are kept and inherited, and the mask is the mode's group bits.
	expect.OK(t, unix.Chmod(p, 0o600), "chmod")
	drive.Must(t, "setfacl", "-m", "u:1001:rw,g:2001:r", p)
	expect.Mode(t, expect.Stat(t, p), 0o660, "mode shows the mask")
	expect.OK(t, unix.Chmod(p, 0o640), "chmod of a file with an ACL")
	sub := expect.Mkdir(t, filepath.Join(dir, "sub"))
	drive.Must(t, "setfacl", "-d", "-m", "u::rwx,u:1001:rwx,g::rx,o::-", sub)
	check := func(when string) {
		t.Helper()
		sameACL(t, acl(t, p), "user::rw- user:1001:rw- group::--- group:2001:r-- mask::r-- other::---", "ACL of the file "+when)
		sameACL(t, acl(t, filepath.Join(sub, "new")),
			"user::rw- user:1001:rwx group::r-x mask::rw- other::---", "inherited ACL "+when)
	}
	expect.OK(t, drive.WithUmask(t, 0o077, func() error {
		fd, err := unix.Open(filepath.Join(sub, "new"), unix.O_CREAT|unix.O_WRONLY, 0o666)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}), "create below a default ACL")
	check("when new")

	// The umask counts where no default ACL takes its place; set-ID bits go with a new owner; directories hand their
	// group down.
	expect.OK(t, drive.WithUmask(t, 0o027, func() error { return unix.Mkdir(filepath.Join(dir, "masked"), 0o777) }), "mkdir")
	expect.Mode(t, expect.Stat(t, filepath.Join(dir, "masked")), 0o750, "mode under a umask")
	expect.OK(t, unix.Chmod(p, 0o6750), "chmod")
	expect.OK(t, unix.Chown(p, 1001, 1001), "chown")
	expect.Mode(t, expect.Stat(t, p), 0o750, "mode after chown")
	expect.OK(t, unix.Chown(p, 0, 0), "chown back")
	expect.OK(t, unix.Chmod(p, 0o640), "chmod back")
	shared := expect.Mkdir(t, filepath.Join(dir, "shared"))
	expect.OK(t, unix.Chown(shared, 0, 2001), "chown")
	expect.OK(t, unix.Chmod(shared, 0o2775), "chmod")
	below := expect.Mkdir(t, filepath.Join(shared, "below"))
	if st := expect.Stat(t, below); st.Gid != 2001 || st.Mode&unix.S_ISGID == 0 {
		t.Errorf("a directory below a set-group-ID one has group %d and mode %o", st.Gid, st.Mode)
	}

	d.Remount()
	check("after remount")
	// With the kernel's checks switched on nothing is different for root.
	d.Remount("-o", "default_permissions")
	check("with default_permissions")
}
