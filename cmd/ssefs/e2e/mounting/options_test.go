package mounting

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// shown mounts with options and returns what the kernel says of the mount.
func shown(t *testing.T, s *site, options string) drive.Mountinfo {
	t.Helper()
	var args []string
	if options != "" {
		args = []string{"-o", options}
	}
	s.mustMount(args...)
	m, ok := drive.MountOf(t, s.point)
	if !ok {
		t.Fatalf("nothing is mounted after a mount with %q", options)
	}
	s.unmount()
	return m
}

func TestMountOptions(t *testing.T) {
	s := newSite(t)
	s.created()
	for _, c := range []struct{ options, has, hasNot string }{
		{"", "rw,nosuid,nodev", "noexec,ro,allow_other"},
		{"dev,suid,exec", "rw", "nosuid,nodev,noexec"},
		{"nodev,nosuid,noexec", "nosuid,nodev,noexec", ""},
		{"allow_other", "allow_other", ""},
		{"ro", "ro", "rw"},
		{"rw,nofail,_netdev,user,noauto,x-systemd.automount,defaults", "rw", ""},
	} {
		m := shown(t, s, c.options)
		expect.Equal(t, m.Type, "fuse.ssefs", "type of a mount with %q", c.options)
		for _, o := range strings.Split(c.has, ",") {
			if !slices.Contains(m.Options, o) {
				t.Errorf("mount with %q: %q lacks %s", c.options, m.Options, o)
			}
		}
		for _, o := range strings.Split(c.hasNot, ",") {
			if o != "" && slices.Contains(m.Options, o) {
				t.Errorf("mount with %q: %q has %s", c.options, m.Options, o)
			}
		}
	}
	m := shown(t, s, "fsname=my drive\\, mine,subtype=other")
	expect.Equal(t, m.Type, "fuse.other", "type with a subtype")
	expect.Equal(t, m.Source, "my drive, mine", "source with a name")
}

// TestReadAhead: the kernel reads further ahead than it does by itself.
func TestReadAhead(t *testing.T) {
	s := newSite(t)
	s.created()
	s.mustMount()
	var st unix.Stat_t
	expect.OK(t, unix.Stat(s.point, &st), "stat")
	kib, err := os.ReadFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev)))
	expect.OK(t, err, "read-ahead")
	expect.Equal(t, strings.TrimSpace(string(kib)), "512", "read-ahead in KiB")
	s.unmount()
}

func TestReadOnly(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create")
	b := expect.Mkdir(t, filepath.Join(s.point, "b"))
	p := filepath.Join(b, "file")
	expect.Write(t, p, []byte("contents"))
	s.unmount()
	s.mustMount("-o", "ro")
	expect.Contents(t, p, []byte("contents"))
	expect.Equal(t, len(expect.Names(t, b)), 1, "entries")
	_, err := unix.Open(p, unix.O_RDWR, 0)
	for what, err := range map[string]error{
		"open":     err,
		"unlink":   unix.Unlink(p),
		"mkdir":    unix.Mkdir(b+"/dir", 0o755),
		"bucket":   unix.Mkdir(s.point+"/c", 0o755),
		"chmod":    unix.Chmod(p, 0o600),
		"rename":   unix.Rename(p, p+"2"),
		"truncate": unix.Truncate(p, 0),
		"setxattr": unix.Setxattr(p, "user.x", nil, 0),
		"policy":   unix.Setxattr(b, "user.sse.policy", []byte("none"), 0),
	} {
		expect.Errno(t, err, unix.EROFS, "%s on a read-only drive", what)
	}
	if r := drive.CLI(t, "bucket", "create", "c", "--store", s.store); r.Code != 1 {
		t.Errorf("bucket create on a read-only drive: exit %d, want 1: %s", r.Code, r.Stderr)
	}
	s.unmount()
}

// TestAllowOther: without it only who mounted the drive gets in, root included.
func TestAllowOther(t *testing.T) {
	s := newSite(t)
	s.created()
	list := func() error {
		return drive.As(t, drive.User(1001), func() error {
			_, err := os.ReadDir(s.point)
			return err
		})
	}
	s.mustMount()
	expect.Errno(t, list(), unix.EACCES, "another user without allow_other")
	s.unmount()
	s.mustMount("-o", "allow_other")
	expect.OK(t, list(), "another user with allow_other")
	// Permissions hold for him.
	b := expect.Mkdir(t, filepath.Join(s.point, "private"))
	expect.OK(t, unix.Chmod(b, 0o700), "chmod")
	expect.Errno(t, drive.As(t, drive.User(1001), func() error {
		_, err := os.ReadDir(b)
		return err
	}), unix.EACCES, "another user in a private bucket")
	expect.Errno(t, drive.As(t, drive.User(1001), func() error { return unix.Mkdir(s.point+"/mine", 0o755) }), unix.EACCES,
		"a bucket of another user")
	s.unmount()
}

// TestOneBucketAsRoot: --bucket shows a bucket alone.
func TestOneBucketAsRoot(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create", "--bucket", "work", "-o", "allow_other")
	expect.Write(t, filepath.Join(s.point, "file"), []byte("in the bucket"))
	expect.Mkdir(t, filepath.Join(s.point, "dir"))
	expect.OK(t, unix.Symlink("file", filepath.Join(s.point, "link")), "symlink")
	expect.OK(t, unix.Link(filepath.Join(s.point, "file"), filepath.Join(s.point, "dir", "hard")), "link")
	expect.OK(t, unix.Rename(filepath.Join(s.point, "link"), filepath.Join(s.point, "dir", "link")), "rename")
	expect.SetXattr(t, s.point, "user.sse.policy", "none")
	expect.Write(t, filepath.Join(s.point, "clear"), []byte("x"))
	expect.Equal(t, expect.Xattr(t, filepath.Join(s.point, "clear"), "user.sse.algorithm"), "none", "algorithm under the new policy")
	var up, root unix.Stat_t
	expect.OK(t, unix.Stat(s.point, &root), "stat the root")
	expect.OK(t, unix.Stat(filepath.Join(s.point, "dir", ".."), &up), "stat dot-dot")
	expect.Equal(t, up.Ino, root.Ino, "inode above a directory in the root")
	s.unmount()
	s.mustMount()
	expect.Equal(t, strings.Join(expect.Names(t, s.point), " "), "work", "buckets")
	expect.Contents(t, filepath.Join(s.point, "work", "dir", "hard"), []byte("in the bucket"))
	expect.Equal(t, expect.Xattr(t, filepath.Join(s.point, "work"), "user.sse.policy"), "none", "policy of the bucket")
	s.unmount()
	r := s.mount("--bucket", "missing")
	if r.Code == 0 {
		t.Errorf("a missing bucket was mounted without --create")
	}
	drive.OneLine(t, r)
	s.mustMount("-o", "bucket=made,create")
	expect.Equal(t, len(expect.Names(t, s.point)), 0, "entries of a bucket made by a mount")
	expect.Write(t, filepath.Join(s.point, "file"), []byte("in the other"))
	s.unmount()
	s.mustMount("-o", "bucket=work")
	expect.Contents(t, filepath.Join(s.point, "file"), []byte("in the bucket"))
	s.unmount()
}

// TestSystemMount: mount(8) and fstab find the drive through the helper mount.fuse.ssefs. It runs in a mount name space
// of its own, where the helper is laid over /sbin, so that nothing of the machine is changed.
func TestSystemMount(t *testing.T) {
	s := newSite(t)
	s.created()
	sbin := expect.Mkdir(t, s.base+"/sbin")
	expect.OK(t, os.Symlink(drive.Binary(t), sbin+"/mount.fuse.ssefs"), "symlink")
	options := "key-file=" + s.key + ",allow_other,noauto,nofail,x-test,log-file=" + s.base + "/log"
	fstab := s.store + " " + s.point + " fuse.ssefs " + options + " 0 0\n"
	expect.OK(t, os.WriteFile(s.base+"/fstab", []byte(fstab), 0o644), "write fstab")
	// Read-only overlay: an upper layer is not needed to add one name.
	script := `set -eu
mount -t overlay overlay -o "lowerdir=$BASE/sbin:/sbin" "$(readlink -f /sbin)"
mount -t fuse.ssefs "$STORE" "$POINT" -o "$OPTIONS"
mkdir "$POINT/bucket"
echo one > "$POINT/bucket/file"
grep " $POINT " /proc/self/mountinfo
umount "$POINT"
mount -T "$BASE/fstab" "$POINT"
cat "$POINT/bucket/file"
umount "$POINT"
mount -o ro -T "$BASE/fstab" "$POINT"
if touch "$POINT/bucket/file" 2>/dev/null; then echo "written to a read-only mount"; exit 1; fi
"$SSEFS" umount "$POINT"
`
	ctx, cmd := bounded(t, "unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "BASE="+s.base, "STORE="+s.store, "POINT="+s.point, "OPTIONS="+options, "SSEFS="+drive.Binary(t))
	r := drive.Run(ctx, t, cmd)
	succeeded(t, r, "mount(8) in a name space of its own")
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "fuse.ssefs") || !strings.Contains(lines[0], "allow_other") || lines[1] != "one" {
		t.Errorf("the mounts showed %q", r.Stdout)
	}
	// mount(8) means dev and suid unless told otherwise.
	if strings.Contains(lines[0], "nosuid") || strings.Contains(lines[0], "nodev") {
		t.Errorf("mount(8) by root without options is nosuid or nodev: %s", lines[0])
	}
	// The helper as mount(8) calls it, with options that it has to pass over or to refuse.
	helper := sbin + "/mount.fuse.ssefs"
	succeeded(t, drive.Exec(t, helper, s.store, s.point, "-n", "-o", options+",rw"), "the helper")
	s.unmount()
	failed(t, drive.Exec(t, helper, s.store, s.point, "-o", options+",nonsense"), 2, "the helper with an unknown option")
	succeeded(t, drive.Exec(t, helper, s.store, s.point, "-f", "-o", options), "the helper with -f, which mounts nothing")
	succeeded(t, drive.Exec(t, helper, s.store, s.point, "-s", "-o", options+",nonsense"), "the helper with -s, which is sloppy")
	s.unmount()
}

// TestMountByAUser: without root, through fusermount3.
func TestMountByAUser(t *testing.T) {
	s := newSite(t)
	drive.OpenDevice(t)
	user := drive.Nobody()
	home := expect.Mkdir(t, s.base+"/home")
	for _, p := range []string{s.base, s.point, home} {
		expect.OK(t, unix.Chown(p, user.UID, user.GID), "chown")
	}
	run := func(args ...string) drive.Result {
		t.Helper()
		ctx, cmd := bounded(t, drive.Binary(t), drive.WithTransport(args)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + s.base}
		cmd.Dir = "/"
		var r drive.Result
		expect.OK(t, drive.As(t, user, func() error {
			r = drive.Run(ctx, t, cmd)
			return nil
		}), "run as a user")
		return r
	}
	succeeded(t, run("mount", s.store, s.point, "--create", "--key-file", s.key), "mount by a user")
	m, ok := drive.MountOf(t, s.point)
	expect.Equal(t, ok, true, "the drive is mounted")
	expect.Equal(t, m.Type, "fuse.ssefs", "type")
	for _, o := range []string{"nosuid", "nodev", "user_id=65534"} {
		if !slices.Contains(m.Options, o) {
			t.Errorf("a mount by a user has %q, not %s", m.Options, o)
		}
	}
	expect.OK(t, drive.As(t, user, func() error {
		if err := os.Mkdir(s.point+"/b", 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(s.point+"/b/file", []byte("of a user"), 0o644); err != nil {
			return err
		}
		_, err := os.ReadDir(s.point)
		return err
	}), "use the drive")
	expect.Errno(t, drive.As(t, drive.User(1001), func() error {
		_, err := os.ReadDir(s.point)
		return err
	}), unix.EACCES, "another user")
	succeeded(t, run("status"), "status by the user")
	succeeded(t, run("bucket", "create", "second", "--sse", "KMS"), "bucket create by the user")
	succeeded(t, run("sync", s.point), "sync by the user")
	failed(t, run("mount", s.store, s.point+"/b", "--key-file", s.key), 8, "a second mount over a directory in use")
	succeeded(t, run("umount", s.point), "umount by the user")
	succeeded(t, run("fsck", s.store, "--data", "--key-file", s.key), "fsck by the user")
	failed(t, run("mount", s.store, s.point, "--key-file", s.key, "-o", "allow_other"), 1, "allow_other by a user whom /etc/fuse.conf does not allow it")
	succeeded(t, run("mount", s.store, s.point, "--key-file", s.key), "mount again")
	var got []byte
	expect.OK(t, drive.As(t, user, func() (err error) {
		got, err = os.ReadFile(s.point + "/b/file")
		return err
	}), "read")
	expect.Equal(t, string(got), "of a user", "contents")
	succeeded(t, run("umount", s.point), "umount by the user")
}

// TestAtimeOptions: noatime never moves it, strictatime with every read that reaches the drive.
func TestAtimeOptions(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create")
	b := expect.Mkdir(t, filepath.Join(s.point, "b"))
	p := filepath.Join(b, "file")
	expect.Write(t, p, []byte("contents"))
	s.unmount()
	old := unix.Timespec{Sec: 1_000_000_000}
	for _, c := range []struct {
		option string
		mtime  unix.Timespec // against which relatime would judge
		moves  bool
	}{
		{"noatime", unix.Timespec{Sec: 1_100_000_000}, false},
		{"strictatime", unix.Timespec{Sec: 900_000_000}, true},
		{"relatime", unix.Timespec{Sec: 1_100_000_000}, true},
	} {
		s.mustMount("-o", c.option)
		expect.OK(t, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{old, c.mtime}, 0), "utimensat")
		s.unmount()
		s.mustMount("-o", c.option)
		expect.Contents(t, p, []byte("contents"))
		expect.Equal(t, expect.Stat(t, p).Atim != old, c.moves, "a read moves atime under %s", c.option)
		s.unmount()
	}
}
