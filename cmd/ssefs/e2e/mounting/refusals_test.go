package mounting

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestWrongSecret(t *testing.T) {
	s := newSite(t)
	passphrase, wrong := filepath.Join(s.base, "passphrase"), filepath.Join(s.base, "wrong")
	expect.OK(t, os.WriteFile(passphrase, []byte("correct horse battery staple\n"), 0o600), "write a passphrase")
	expect.OK(t, os.WriteFile(wrong, []byte("correct horse battery stable\n"), 0o600), "write a passphrase")
	succeeded(t, drive.CLI(t, "mount", s.store, s.point, "--create", "--passphrase-file", passphrase), "create with a passphrase")
	s.unmount()
	failed(t, drive.CLI(t, "mount", s.store, s.point, "--passphrase-file", wrong), 3, "a wrong passphrase")
	expect.OK(t, os.WriteFile(s.key, make([]byte, 32), 0o600), "write a key file")
	failed(t, s.mount(), 3, "a wrong key file")
	failed(t, drive.CLI(t, "mount", s.store, s.point, "--passphrase-file", s.base+"/none"), 3, "a missing passphrase file")
	failed(t, drive.CLI(t, "mount", s.store, s.point), 3, "no secret and no terminal")
	failed(t, drive.CLI(t, "bucket", "list", "--store", s.store, "--passphrase-file", wrong), 3, "bucket list with a wrong passphrase")
	succeeded(t, drive.CLI(t, "mount", s.store, s.point, "--passphrase-file", passphrase), "mount with the right one")
	s.unmount()
	// A failed creation leaves neither a store nor a key file.
	expect.OK(t, os.Mkdir(s.base+"/full", 0o755), "mkdir")
	expect.OK(t, os.WriteFile(s.base+"/full/file", nil, 0o644), "write")
	failed(t, drive.CLI(t, "mount", s.base+"/full", s.point, "--create", "--key-file", s.base+"/newkey"), 5, "create in a directory in use")
	expect.Missing(t, s.base+"/newkey")
}

// TestKeySlots: secrets are added and taken away, the last one stays.
func TestKeySlots(t *testing.T) {
	s := newSite(t)
	s.created()
	store := []string{"--store", s.store, "--key-file", s.key}
	second, passphrase := s.base+"/second", s.base+"/passphrase"
	expect.OK(t, os.WriteFile(passphrase, []byte("a passphrase"), 0o600), "write a passphrase")
	succeeded(t, drive.CLI(t, append([]string{"key", "add", "--new-key-file", second, "--label", "the second"}, store...)...), "key add")
	st := expect.Stat(t, second)
	expect.Mode(t, st, 0o600, "the key file that key add made")
	s.mustMount()
	// A mounted volume needs no secret for that.
	succeeded(t, drive.CLI(t, "key", "add", "--new-passphrase-file", passphrase, "--store", s.store), "key add while mounted")
	r := drive.CLI(t, "key", "list", "--store", s.store)
	succeeded(t, r, "key list")
	if !strings.Contains(r.Stdout, "the second") || strings.Count(r.Stdout, "\n") != 4 {
		t.Errorf("key list: %q", r.Stdout)
	}
	s.unmount()
	succeeded(t, drive.CLI(t, "mount", s.store, s.point, "--passphrase-file", passphrase), "mount with the passphrase")
	s.unmount()
	slots := drive.CLI(t, append([]string{"key", "list", "--json"}, store...)...)
	succeeded(t, slots, "key list --json")
	remove := func(slot int, code int, what string) {
		t.Helper()
		r := drive.CLI(t, "key", "remove", fmt.Sprint(slot), "--store", s.store, "--key-file", second)
		if r.Code != code {
			t.Errorf("%s: exit %d, want %d: %s", what, r.Code, code, r.Stderr)
		}
	}
	numbers := slotNumbers(t, slots.Stdout)
	remove(numbers[0], 0, "remove the first slot")
	failed(t, s.mount(), 3, "mount with the removed key file")
	remove(numbers[2], 0, "remove the third slot")
	failed(t, drive.CLI(t, "mount", s.store, s.point, "--passphrase-file", passphrase), 3, "mount with the removed passphrase")
	remove(numbers[1], 1, "remove the last slot")
	remove(77, 1, "remove a slot that is not there")
	s.key = second
	s.mustMount()
	s.unmount()
}

func TestSecondMount(t *testing.T) {
	d := drive.New(t, drive.Options{})
	s := newSite(t)
	s.store, s.key = d.Store(), d.KeyFile()
	r := s.mount()
	failed(t, r, 4, "a second mount")
	if !strings.Contains(r.Stderr, fmt.Sprint(d.Pid())) {
		t.Errorf("the refusal does not name process %d: %s", d.Pid(), r.Stderr)
	}
	failed(t, s.mount("--bucket", "b"), 4, "a second mount of one bucket")
	failed(t, s.mount("--create"), 4, "a second mount with --create")
	failed(t, s.mount("-o", "ro"), 4, "a second mount, read-only")
	r = drive.CLI(t, "fsck", d.Store(), "--key-file", d.KeyFile(), "--data")
	if r.Code != 0 && r.Code != 8 {
		t.Errorf("fsck of a mounted store: exit %d, want a clean check or a refusal: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	d.Unmount()
	s.mustMount()
	s.unmount()
	s.store = s.base + "/none" // what the site checks at the end is its own
	d.Mount()
}

func TestMountPoints(t *testing.T) {
	s := newSite(t)
	s.created()
	at := func(point string) drive.Result {
		t.Helper()
		return drive.CLI(t, "mount", s.store, point, "--key-file", s.key)
	}
	failed(t, at(s.base+"/none"), 8, "a missing mount point")
	expect.OK(t, os.WriteFile(s.base+"/file", nil, 0o644), "write")
	failed(t, at(s.base+"/file"), 8, "a file as mount point")
	full := expect.Mkdir(t, s.base+"/full")
	expect.OK(t, os.WriteFile(full+"/file", nil, 0o644), "write")
	r := at(full)
	failed(t, r, 8, "a directory that is not empty")
	if !strings.Contains(r.Stderr, full) {
		t.Errorf("the refusal does not name the mount point: %s", r.Stderr)
	}
	failed(t, at(s.store), 8, "the store as its own mount point")
	s.mustMount()
	other := newSite(t)
	failed(t, drive.CLI(t, "mount", other.store, s.point, "--create", "--key-file", other.key), 8, "a mount point in use")
	expect.Missing(t, other.store)
	s.unmount()
	failed(t, drive.CLI(t, "umount", s.point), 8, "umount of what is not mounted")
	failed(t, drive.CLI(t, "sync", s.point), 8, "sync of what is not mounted")
}

func TestNotAStore(t *testing.T) {
	s := newSite(t)
	r := s.mount()
	if r.Code != 5 && r.Code != 3 {
		t.Errorf("mount of a missing store: exit %d, want 5: %s", r.Code, r.Stderr)
	}
	expect.OK(t, os.WriteFile(s.key, expect.Random(1, 32), 0o600), "write a key file")
	r = s.mount()
	failed(t, r, 5, "a missing store")
	if !strings.Contains(r.Stderr, "--create") {
		t.Errorf("the refusal does not tell the remedy: %s", r.Stderr)
	}
	expect.Missing(t, s.store)
	expect.Mkdir(t, s.store)
	failed(t, s.mount(), 5, "an empty directory")
	expect.OK(t, os.WriteFile(s.store+"/letter.txt", nil, 0o644), "write")
	failed(t, s.mount(), 5, "a directory of other things")
	failed(t, s.mount("--create"), 5, "--create in a directory of other things")
	expect.Equal(t, strings.Join(expect.Names(t, s.store), " "), "letter.txt", "what is in that directory")
	expect.OK(t, unix.Unlink(s.store+"/letter.txt"), "unlink")
	expect.OK(t, unix.Rmdir(s.store), "rmdir")
	expect.OK(t, os.WriteFile(s.store, nil, 0o644), "write")
	failed(t, s.mount(), 5, "a file as store")
	failed(t, s.mount("--create"), 5, "--create over a file")
	failed(t, drive.CLI(t, "bucket", "list", "--store", s.base+"/none", "--key-file", s.key), 5, "bucket list of a missing store")
	r = drive.CLI(t, "fsck", s.base+"/none", "--key-file", s.key)
	failed(t, r, 8, "fsck of a missing store")
}

// TestUsage: what is wrong in the command line is told before anything happens.
func TestUsage(t *testing.T) {
	s := newSite(t)
	for _, args := range [][]string{
		{"mount"}, {"mount", s.store}, {"mount", s.store, s.point, "more"},
		{"mount", s.store, s.point, "--nonsense"}, {"nonsense"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "-o", "nonsense"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "-o", "fsname"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "--memory", "much"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "--kms", "perhaps"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "--default-policy", "nonsense"},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "--passphrase-file", s.key},
		{"mount", s.store, s.point, "--create", "--key-file", s.key, "-o", "ro"},
		{"bucket", "nonsense"}, {"kms", "describe"}, {"key", "remove", "first"}, {"umount"},
	} {
		failed(t, drive.CLI(t, args...), 2, strings.Join(args, " "))
	}
	failed(t, drive.CLI(t, "fsck", "--nonsense"), 16, "fsck --nonsense")
	expect.Missing(t, s.store)
	expect.Missing(t, s.key)
	for _, args := range [][]string{{"version"}, {"--help"}, {"mount", "--help"}, {"help", "fsck"}, {"bucket"}, {"completion", "bash"},
		{"completion", "zsh"}, {"completion", "fish"}} {
		r := drive.CLI(t, args...)
		succeeded(t, r, "%v", args)
		if r.Stdout == "" || r.Stderr != "" {
			t.Errorf("%v: printed %q and, as errors, %q", args, r.Stdout, r.Stderr)
		}
	}
}
