package secrecy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// user is the owner of a store that is none of root's, with a runtime directory of their own.
type user struct {
	t                                *testing.T
	who                              drive.Identity
	base, store, point, key, runtime string
}

// newUser makes the directories of a store, and has the kernel let users mount.
func newUser(t *testing.T) *user {
	t.Helper()
	drive.OpenDevice(t)
	base := drive.Dir(t)
	u := &user{t: t, who: drive.Nobody(), base: base, store: filepath.Join(base, "store"), point: filepath.Join(base, "drive"),
		key: filepath.Join(base, "key"), runtime: filepath.Join(base, "run")}
	for _, p := range []string{u.point, u.runtime} {
		expect.OK(t, os.Mkdir(p, 0o700), "mkdir")
		expect.OK(t, os.Chown(p, u.who.UID, u.who.GID), "chown")
	}
	expect.OK(t, os.Chown(base, u.who.UID, u.who.GID), "chown")
	t.Cleanup(func() { drive.NothingLeft(t, u.store, u.point) })
	return u
}

// command prepares an ssefs command of the user's, with a umask that forbids nothing and core dumps as large as may be.
func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	u.t.Helper()
	script := `umask 000; ulimit -c "$(ulimit -H -c)"; exec "$@"`
	cmd := exec.CommandContext(ctx, "sh", slices.Concat([]string{"-c", script, "sh", drive.Binary(u.t)}, drive.WithTransport(args))...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + u.runtime, "GOTRACEBACK=crash", "TMPDIR=" + u.base}
	cmd.Dir = u.base
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.who.UID), Gid: uint32(u.who.GID)}}
	return cmd
}

// run runs a command of the user's to its end.
func (u *user) run(args ...string) drive.Result {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return drive.Run(ctx, u.t, u.command(ctx, args...))
}

// must is run for a command that has to succeed; it returns what the command printed.
func (u *user) must(args ...string) string {
	u.t.Helper()
	r := u.run(args...)
	if r.Code != 0 {
		u.t.Fatalf("ssefs %q: exit %d\n%s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// mount mounts in the background.
func (u *user) mount(extra ...string) {
	u.t.Helper()
	u.must(slices.Concat([]string{"mount", u.store, u.point, "--key-file", u.key}, extra)...)
}

// status returns what `ssefs status` tells.
func (u *user) status() status {
	u.t.Helper()
	return parseStatus(u.t, u.must("status", "--store", u.store, "--json"))
}

// as runs f as a user.
func (u *user) as(who drive.Identity, f func() error) error {
	u.t.Helper()
	return drive.As(u.t, who, f)
}
