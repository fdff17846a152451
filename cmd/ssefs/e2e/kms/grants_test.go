package kms

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

const (
	aliceID = 61001
	bobID   = 61002
	teamID  = 61100
)

// tries is what a user can do with the files of a bucket: open and truncate one, make one, make one without a name.
type tries struct{ read, write, truncate, create, tmpfile error }

// try does all of it as a user.
func try(t *testing.T, who drive.Identity, dir, file string) tries {
	t.Helper()
	var r tries
	openAs := func(path string, flags int) error {
		fd, err := unix.Open(path, flags, 0o666)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
	made := filepath.Join(dir, fmt.Sprintf("made-by-%d", who.UID))
	err := drive.As(t, who, func() error {
		r.read = openAs(filepath.Join(dir, file), unix.O_RDONLY)
		r.write = openAs(filepath.Join(dir, file), unix.O_WRONLY)
		r.truncate = unix.Truncate(filepath.Join(dir, file), 10)
		r.create = openAs(made, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
		r.tmpfile = openAs(dir, unix.O_TMPFILE|unix.O_RDWR)
		if r.create == nil {
			return unix.Unlink(made)
		}
		return nil
	})
	expect.OK(t, err, "as user %d", who.UID)
	return r
}

// want compares what a user could do with what a grant allows.
func (r tries) want(t *testing.T, when string, decrypt, generate unix.Errno) {
	t.Helper()
	for what, got := range map[string]error{"read": r.read, "write": r.write, "truncate": r.truncate} {
		wantErrno(t, got, decrypt, when+": "+what)
	}
	for what, got := range map[string]error{"create": r.create, "tmpfile": r.tmpfile} {
		wantErrno(t, got, generate, when+": "+what)
	}
}

func wantErrno(t *testing.T, got error, want unix.Errno, what string) {
	t.Helper()
	if want == 0 && got != nil || want != 0 && !errors.Is(got, want) {
		t.Errorf("%s: %s, want %v", what, expect.Describe(got), want)
	}
}

// TestGrants gives and takes grants of two users, by uid, by group and by supplementary group, root included.
func TestGrants(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	file := filepath.Join(dir, "file")
	expect.Write(t, file, []byte("0123456789"))
	expect.OK(t, os.Chmod(file, 0o666), "chmod")
	alice, bob, root := drive.User(aliceID), drive.User(bobID), drive.Identity{}
	inTeam := drive.Identity{UID: bobID, GID: bobID, Groups: []int{7, teamID}}
	teamFirst := drive.Identity{UID: bobID, GID: teamID}
	grant := func(args ...string) { t.Helper(); d.MustCLI(append([]string{"kms", "grant", key}, args...)...) }
	revoke := func(args ...string) { t.Helper(); d.MustCLI(append([]string{"kms", "revoke", key}, args...)...) }
	const no, yes = unix.EACCES, unix.Errno(0)

	try(t, root, dir, "file").want(t, "root, who made the key", yes, yes)
	try(t, alice, dir, "file").want(t, "alice without a grant", no, no)
	grant("--user", fmt.Sprint(aliceID), "--allow", "decrypt")
	try(t, alice, dir, "file").want(t, "alice who may decrypt", yes, no)
	try(t, bob, dir, "file").want(t, "bob without a grant", no, no)
	grant("--user", fmt.Sprint(bobID), "--allow", "generate")
	try(t, bob, dir, "file").want(t, "bob who may generate", no, yes)
	grant("--user", fmt.Sprint(aliceID), "--allow", "generate")
	try(t, alice, dir, "file").want(t, "alice who may both", yes, yes)
	revoke("--user", fmt.Sprint(bobID))
	try(t, bob, dir, "file").want(t, "bob after revoke", no, no)

	grant("--group", fmt.Sprint(teamID))
	try(t, bob, dir, "file").want(t, "bob outside the group", no, no)
	try(t, inTeam, dir, "file").want(t, "bob in the group besides", yes, yes)
	try(t, teamFirst, dir, "file").want(t, "bob with the group as his first", yes, yes)
	revoke("--group", fmt.Sprint(teamID), "--allow", "generate")
	try(t, inTeam, dir, "file").want(t, "bob in the group that may decrypt", yes, no)
	revoke("--group", fmt.Sprint(teamID))
	try(t, inTeam, dir, "file").want(t, "bob in the group after revoke", no, no)

	// Root is like others, and can grant itself the key.
	revoke("--user", "0")
	try(t, root, dir, "file").want(t, "root after revoke", no, no)
	grant("--user", "0")
	try(t, root, dir, "file").want(t, "root who granted itself the key", yes, yes)
	audit := d.MustCLI("kms", "audit", "--chain", "keys")
	if !strings.Contains(audit, "user 0, decrypt,generate") {
		t.Errorf("that is not on record:\n%s", audit)
	}
	if denied := d.MustCLI("kms", "audit", "--chain", "uses"); strings.Count(denied, "refused") < 20 {
		t.Errorf("the refusals are not all on record, one by one:\n%s", denied)
	}
	d.Remount()
	try(t, alice, dir, "file").want(t, "alice after a remount", yes, yes)
	try(t, bob, dir, "file").want(t, "bob after a remount", no, no)

	// The default key is everybody's, as far as file permissions go.
	expect.SetXattr(t, dir, policyAttr, "KMS")
	expect.Write(t, filepath.Join(dir, "default"), []byte("0123456789"))
	expect.OK(t, os.Chmod(filepath.Join(dir, "default"), 0o666), "chmod")
	try(t, bob, dir, "default").want(t, "bob under the default key", yes, yes)
}

// TestNoWayAroundGrants: a user without a grant sees names and sizes, and gets at contents by none of the ways to open a
// file: other names, other directories, unnamed files, descriptors of others, file handles, copies.
func TestNoWayAroundGrants(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	p := func(name string) string { return filepath.Join(dir, name) }
	expect.Write(t, p("file"), expect.Random(1, 10_000))
	expect.OK(t, os.Chmod(p("file"), 0o666), "chmod")
	open := d.Bucket("open")                                // under the service master key
	expect.Contents(t, p("file"), expect.Random(1, 10_000)) // its pages are cached
	held := expect.Open(t, p("file"), unix.O_RDWR, 0)
	pathOnly := expect.Open(t, p("file"), unix.O_PATH, 0)
	unnamed := expect.Open(t, dir, unix.O_TMPFILE|unix.O_RDWR, 0o666)
	unnamed.Pwrite([]byte("secret"), 0)
	self := func(f *expect.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd) }

	alice := drive.User(aliceID)
	ways := map[string]func() error{
		"the file":                func() error { return canOpen(p("file")) },
		"/proc/self/fd":           func() error { return canOpen(self(held)) },
		"/proc/self/fd of O_PATH": func() error { return canOpen(self(pathOnly)) },
		"a hard link": func() error {
			if err := unix.Link(p("file"), p("link")); err != nil {
				return fmt.Errorf("link: %w", err)
			}
			return canOpen(p("link"))
		},
		"another name": func() error {
			if err := unix.Rename(p("link"), p("renamed")); err != nil {
				return fmt.Errorf("rename: %w", err)
			}
			return canOpen(p("renamed"))
		},
		"another directory": func() error {
			if err := errors.Join(unix.Mkdir(p("dir"), 0o777), unix.Rename(p("renamed"), p("dir/renamed"))); err != nil {
				return fmt.Errorf("rename: %w", err)
			}
			return canOpen(p("dir/renamed"))
		},
		"a name for an unnamed file":   func() error { return canOpen(p("unnamed")) },
		"an unnamed file's descriptor": func() error { return canOpen(self(unnamed)) },
		"a symlink": func() error {
			if err := unix.Symlink(p("file"), p("symlink")); err != nil {
				return fmt.Errorf("symlink: %w", err)
			}
			return canOpen(p("symlink"))
		},
		"truncation and creation": func() error {
			_, err := unix.Open(p("file"), unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC, 0o666)
			return err
		},
	}
	expect.OK(t, unix.Linkat(unix.AT_FDCWD, self(unnamed), unix.AT_FDCWD, p("unnamed"), unix.AT_SYMLINK_FOLLOW), "name the unnamed file")
	order := []string{
		"the file", "/proc/self/fd", "/proc/self/fd of O_PATH", "a hard link", "another name", "another directory",
		"a name for an unnamed file", "an unnamed file's descriptor", "a symlink", "truncation and creation",
	}
	for _, way := range order {
		expect.Errno(t, drive.As(t, alice, ways[way]), unix.EACCES, "by %s", way)
	}
	// Out of the bucket there is no way but through its contents.
	expect.Errno(t, drive.As(t, alice, func() error { return unix.Rename(p("file"), filepath.Join(open, "file")) }), unix.EXDEV, "rename to another bucket")
	expect.Errno(t, drive.As(t, alice, func() error { return unix.Link(p("file"), filepath.Join(open, "file")) }), unix.EXDEV, "link to another bucket")
	// Nor can a policy be changed so that another key is used.
	expect.Errno(t, drive.As(t, alice, func() error { return unix.Setxattr(dir, policyAttr, []byte("AES256"), 0) }), unix.EPERM, "change the policy")
	// Names and sizes are told.
	expect.OK(t, drive.As(t, alice, func() error {
		var st unix.Stat_t
		if err := unix.Stat(p("file"), &st); err != nil || st.Size != 10_000 {
			return fmt.Errorf("stat: size %d, %w", st.Size, err)
		}
		names, err := os.ReadDir(dir)
		if err == nil && len(names) < 3 {
			err = fmt.Errorf("%d names", len(names))
		}
		return err
	}), "names and sizes")

	// File handles take root's capability, which is no grant.
	handle, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, p("file"), 0)
	expect.OK(t, err, "name_to_handle_at (mount %d)", mount)
	at := expect.Open(t, d.Mountpoint(), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	fd, err := unix.OpenByHandleAt(at.Fd, handle, unix.O_RDONLY)
	expect.OK(t, err, "open_by_handle_at with a grant")
	expect.OK(t, unix.Close(fd), "close")
	d.MustCLI("kms", "revoke", key, "--user", "0")
	_, err = unix.OpenByHandleAt(at.Fd, handle, unix.O_RDONLY)
	expect.Errno(t, err, unix.EACCES, "open_by_handle_at without a grant")
	expect.Errno(t, canOpen(self(held)), unix.EACCES, "root without a grant, by its own descriptor's name")

	// Revoking acts at the next open: a descriptor that was opened before works, and so do copies from it. copy_file_range
	// into a file needs that file open, and so its grant.
	expect.Bytes(t, held.Pread(10_000, 0), expect.Random(1, 10_000), "through the descriptor opened before")
	out := expect.Create(t, filepath.Join(open, "copy"))
	var off int64
	n, err := unix.CopyFileRange(held.Fd, &off, out.Fd, nil, 10_000, 0)
	expect.OK(t, err, "copy_file_range from the descriptor opened before")
	expect.Equal(t, n, 10_000, "bytes copied")
	expect.Contents(t, filepath.Join(open, "copy"), expect.Random(1, 10_000))
	_, err = unix.Open(p("new"), unix.O_CREAT|unix.O_WRONLY, 0o644)
	expect.Errno(t, err, unix.EACCES, "create a target for copy_file_range")
	expect.Errno(t, unix.Truncate(p("file"), 0), unix.EACCES, "truncate")
	d.MustCLI("kms", "grant", key, "--user", "0")
}

// canOpen opens a file for reading and closes it.
func canOpen(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// TestOthersCannotManageKeys: the daemon serves root and its own user only.
func TestOthersCannotManageKeys(t *testing.T) {
	d := drive.New(t, drive.Options{})
	key := createKey(t, d)
	bin := drive.Binary(t)
	err := drive.As(t, drive.User(aliceID), func() error {
		out, err := exec.Command(bin, "kms", "grant", key, "--user", fmt.Sprint(aliceID), "--store", d.Mountpoint()).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "denied") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	expect.OK(t, err, "grant as another user")
	if grants := d.MustCLI("kms", "list-grants", key); strings.Contains(grants, fmt.Sprint(aliceID)) {
		t.Errorf("another user granted itself a key:\n%s", grants)
	}
}
