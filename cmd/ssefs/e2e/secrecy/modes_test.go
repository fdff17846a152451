package secrecy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// private checks that everything at and below dir is its user's alone.
func private(t *testing.T, who drive.Identity, dir, when string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != dir {
			return nil // a daemon at work has removed it
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return nil // as above
		}
		seen++
		want := uint32(0o600)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			want = 0o700
		}
		if got := st.Mode & 0o7777; got != want || int(st.Uid) != who.UID {
			t.Errorf("%s: %s has mode %o of uid %d, want %o of %d", when, p, got, st.Uid, want, who.UID)
		}
		return nil
	})
	expect.OK(t, err, "walk %s", dir)
	if seen < 2 {
		t.Errorf("%s: %s has %d files", when, dir, seen)
	}
}

// TestFilesArePrivate: whatever the umask, the files of a store, logs, sockets, key files and backups are their user's
// alone, while mounted, after a crash, after each command that writes, and those of salvage, which are in the clear, too.
func TestFilesArePrivate(t *testing.T) {
	u := newUser(t) // with a umask that forbids nothing
	look := func(when string) {
		t.Helper()
		private(t, u.who, u.store, when)
		private(t, u.who, filepath.Join(u.runtime, "ssefs"), when)
	}
	u.mount("--create")
	expect.Mode(t, expect.Stat(t, u.key), 0o600, "key file")
	look("new")
	u.must("bucket", "create", "b", "--sse", "KMS", "--store", u.store)
	for i := range 3 {
		expect.OK(t, u.as(u.who, func() error {
			return os.WriteFile(filepath.Join(u.point, "b", fmt.Sprint(i)), expect.Random(uint64(i), 2<<20), 0o666)
		}), "write")
		u.must("sync", u.point)
		u.must("kms", "create", "--store", u.store)
	}
	look("after work")
	out := filepath.Join(u.base, "out")
	expect.OK(t, os.Mkdir(out, 0o700), "mkdir")
	expect.OK(t, os.Chown(out, u.who.UID, u.who.GID), "chown")
	u.must("backup", filepath.Join(out, "backup"), "--store", u.store)
	const anybody = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p" // the example of age's documentation
	u.must("kms", "export-backup", filepath.Join(out, "keys"), "--store", u.store, "--recipient", anybody)
	u.must("key", "add", "--new-key-file", filepath.Join(out, "second-key"), "--store", u.store)
	private(t, u.who, out, "what commands made while mounted")
	daemon := u.status().PID
	expect.OK(t, unix.Kill(daemon, unix.SIGKILL), "kill")
	gone(t, daemon)
	expect.OK(t, unix.Unmount(u.point, unix.MNT_DETACH), "unmount")
	look("after a crash")
	u.must("fsck", u.store, "--key-file", u.key)
	look("after a check that recovered")
	u.mount()
	look("mounted again")
	u.must("gc", "--store", u.store)
	look("after a collection")
	u.must("umount", u.point)
	look("after a clean end")
	u.must("gc", u.store, "--key-file", u.key)
	u.must("bucket", "create", "offline", "--store", u.store, "--key-file", u.key)
	if r := u.run("fsck", "--repair", u.store, "--key-file", u.key); r.Code > 1 {
		t.Errorf("repair: exit %d, %s", r.Code, r.Stderr)
	}
	look("after commands without a daemon")
	u.must("backup", filepath.Join(out, "second"), "--store", u.store, "--key-file", u.key)
	u.must("restore", filepath.Join(out, "backup"), filepath.Join(out, "restored"), "--key-file", u.key)
	private(t, u.who, out, "what commands made without a daemon")
	u.must("fsck", "--salvage", filepath.Join(u.base, "salvaged"), u.store, "--key-file", u.key)
	expect.Mode(t, expect.Stat(t, filepath.Join(u.base, "salvaged")), 0o700, "a salvaged copy")
	expect.Mode(t, expect.Stat(t, filepath.Join(u.base, "salvaged", "salvage-report.txt")), 0o600, "the report of a salvage")
}

// TestControlSocketOfAUser: another user does not reach it, and where the directory was opened to all by mistake is told no
// by name. Root and the user are served.
func TestControlSocketOfAUser(t *testing.T) {
	u := newUser(t)
	u.mount("--create")
	found := sockets(t, u)
	if len(found) != 1 {
		t.Fatalf("control sockets: %q", found)
	}
	other := drive.User(1002)
	_, err := request(t, other, found[0])
	expect.Errno(t, err, unix.EACCES, "connect as another user")
	for _, p := range []string{u.runtime, filepath.Dir(found[0])} {
		expect.OK(t, os.Chmod(p, 0o755), "chmod")
	}
	_, err = request(t, other, found[0])
	expect.Errno(t, err, unix.EACCES, "connect as another user to a socket in an open directory")
	expect.OK(t, os.Chmod(found[0], 0o666), "chmod")
	reply, err := request(t, other, found[0])
	if err != nil || !strings.Contains(reply, "403 Forbidden") || !strings.Contains(reply, "not to uid 1002") || strings.Contains(reply, "volume_id") {
		t.Errorf("another user at an open socket: %q, %v", reply, err)
	}
	for _, who := range []drive.Identity{{}, u.who} {
		reply, err := request(t, who, found[0])
		if err != nil || !strings.Contains(reply, "200 OK") || !strings.Contains(reply, "volume_id") {
			t.Errorf("uid %d: %q, %v", who.UID, reply, err)
		}
	}
	// A client does not talk to a socket that anybody could have put there.
	if r := u.run("status"); strings.Contains(r.Stdout, u.store) {
		t.Errorf("a socket in a directory that is open to others is trusted: %q", r.Stdout)
	}
	expect.OK(t, os.Chmod(filepath.Dir(found[0]), 0o700), "chmod")
	u.must("umount", u.point)
}

// request asks a control socket what it serves, as a user, and returns all of the reply.
func request(t *testing.T, who drive.Identity, socket string) (reply string, err error) {
	t.Helper()
	err = drive.As(t, who, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
			return err
		}
		const text = "POST /v1/info HTTP/1.1\r\nHost: ssefs\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			return err
		}
		b := make([]byte, 4096)
		for {
			n, err := unix.Read(fd, b)
			if err != nil && !errors.Is(err, unix.ECONNRESET) {
				return err
			}
			if n <= 0 {
				return nil
			}
			reply += string(b[:n])
		}
	})
	return reply, err
}

// TestSetuidPrograms: on a drive that is mounted by hand, set-uid programs run as who starts them, and devices are closed,
// unless the mount says otherwise; a user's mount cannot say so.
func TestSetuidPrograms(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	program, err := os.ReadFile("/usr/bin/id")
	expect.OK(t, err, "read a program")
	suid, null := filepath.Join(b, "id"), filepath.Join(b, "null")
	expect.Write(t, suid, program)
	expect.OK(t, unix.Chmod(suid, 0o4755), "chmod")
	expect.OK(t, unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), "mknod")
	expect.OK(t, unix.Chmod(null, 0o666), "chmod")
	who := drive.User(1001)
	try := func(options string) (effective string, open error) {
		t.Helper()
		if options != "" {
			d.Remount("-o", options)
		}
		var r drive.Result
		open = drive.As(t, who, func() error {
			r = drive.Exec(t, suid, "-u")
			fd, err := unix.Open(null, unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		})
		return strings.TrimSpace(r.Stdout), open
	}
	effective, open := try("")
	expect.Equal(t, effective, "1001", "uid of a set-uid program by default")
	expect.Errno(t, open, unix.EACCES, "open a device by default")
	effective, open = try("suid,dev")
	expect.Equal(t, effective, "0", "uid of a set-uid program with suid")
	expect.OK(t, open, "open a device with dev")
	effective, open = try("suid,nosuid,dev,nodev")
	expect.Equal(t, effective, "1001", "uid of a set-uid program with nosuid")
	expect.Errno(t, open, unix.EACCES, "open a device with nodev")
	expect.Mode(t, expect.Stat(t, suid), 0o4755, "the mode is kept all the same")

	u := newUser(t)
	u.run("mount", u.store, u.point, "--key-file", u.key, "--create", "-o", "suid,dev") // fusermount may refuse, or not listen
	if m, ok := drive.MountOf(t, u.point); ok {
		options := strings.Join(m.Options, ",") + ","
		if !strings.Contains(options, "nosuid,") || !strings.Contains(options, "nodev,") {
			t.Errorf("a user's mount with suid and dev has %s", options)
		}
		u.must("umount", u.point)
	}
}
