package kms

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"filippo.io/age"
	"golang.org/x/sys/unix"
)

// keystore writes both copies of the keystore anew.
func writeKeystore(t *testing.T, d *drive.Drive, data []byte) {
	t.Helper()
	for _, name := range []string{"keystore.a", "keystore.b"} {
		expect.OK(t, os.WriteFile(filepath.Join(d.Store(), name), data, 0o600), "write %s", name)
	}
}

// TestBackup exports the keys to a recipient and under a passphrase, loses the keystore and gets the files back with each.
func TestBackup(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	file := filepath.Join(dir, "file")
	expect.Write(t, file, []byte("contents"))
	plain := d.Bucket("plain")
	expect.Write(t, filepath.Join(plain, "file"), []byte("under the service master key"))
	work := t.TempDir()
	p := func(name string) string { return filepath.Join(work, name) }
	id, err := age.GenerateX25519Identity()
	expect.OK(t, err, "make an identity")
	expect.OK(t, os.WriteFile(p("identity"), []byte(id.String()+"\n"), 0o600), "write the identity")
	expect.OK(t, os.WriteFile(p("passphrase"), []byte("correct horse\n"), 0o600), "write the passphrase")
	d.MustCLI("kms", "export-backup", p("age"), "--recipient", id.Recipient().String())
	d.MustCLI("kms", "export-backup", p("scrypt"), "--backup-passphrase-file", p("passphrase"))
	fails(t, d, 1, "kms", "export-backup", p("age"), "--recipient", id.Recipient().String())
	fails(t, d, 4, "kms", "import-backup", p("age"), "--identity-file", p("identity"))
	fails(t, d, 4, "kms", "accept-keystore")
	expect.Equal(t, expect.Stat(t, p("age")).Mode&0o777, 0o600, "mode of the backup")
	d.Unmount()
	unlock := []string{"--key-file", d.KeyFile()}
	restore := func(args ...string) []string {
		return append(append([]string{"kms", "import-backup"}, args...), unlock...)
	}
	say := fails(t, d, 1, restore(p("age"), "--identity-file", p("identity"))...)
	if !strings.Contains(say, "--replace") {
		t.Errorf("a keystore in order: %q", say)
	}
	for what, args := range map[string][]string{
		"age":    restore(p("age"), "--identity-file", p("identity")),
		"scrypt": restore(p("scrypt"), "--backup-passphrase-file", p("passphrase")),
	} {
		writeKeystore(t, d, []byte("damage"))
		if err := d.TryMount(); err == nil || !strings.Contains(err.Error(), "import-backup") {
			t.Fatalf("%s: mount with a damaged keystore: %v", what, err)
		}
		fails(t, d, 7, append([]string{"kms", "accept-keystore"}, unlock...)...)
		d.MustCLI(args...)
		d.Mount()
		expect.Contents(t, file, []byte("contents"))
		expect.Contents(t, filepath.Join(plain, "file"), []byte("under the service master key"))
		if log := d.MustCLI("kms", "audit", "--chain", "keys"); !strings.Contains(log, " import-backup ") {
			t.Errorf("%s: not on record:\n%s", what, log)
		}
		d.Unmount()
	}
	// Another identity, another passphrase, a damaged backup.
	writeKeystore(t, d, []byte("damage"))
	other, err := age.GenerateX25519Identity()
	expect.OK(t, err, "make an identity")
	expect.OK(t, os.WriteFile(p("other"), []byte(other.String()), 0o600), "write the identity")
	fails(t, d, 1, restore(p("age"), "--identity-file", p("other"))...)
	fails(t, d, 1, restore(p("scrypt"), "--backup-passphrase-file", p("other"))...)
	fails(t, d, 3, restore(p("age"), "--identity-file", p("passphrase"))...)
	backup, err := os.ReadFile(p("age"))
	expect.OK(t, err, "read the backup")
	expect.OK(t, os.WriteFile(p("cut"), backup[:len(backup)-5], 0o600), "write")
	fails(t, d, 1, restore(p("cut"), "--identity-file", p("identity"))...)
	d.MustCLI(restore(p("age"), "--identity-file", p("identity"))...)

	// --replace goes back in time: a key that was disabled since is usable again.
	d.MustCLI(append([]string{"kms", "disable", key}, unlock...)...)
	d.MustCLI(restore(p("age"), "--identity-file", p("identity"), "--replace")...)
	d.Mount()
	expect.Contents(t, file, []byte("contents"))
}

// TestAcceptKeystore puts an older keystore back: the mount is refused and says how to go on; that takes the command.
func TestAcceptKeystore(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	file := filepath.Join(dir, "file")
	expect.Write(t, file, []byte("contents"))
	old, err := os.ReadFile(filepath.Join(d.Store(), "keystore.a"))
	expect.OK(t, err, "read the keystore")
	d.MustCLI("kms", "disable", key)
	expect.Errno(t, canOpen(file), unix.EKEYREVOKED, "open")
	d.Unmount()
	unlock := []string{"--key-file", d.KeyFile()}
	fails(t, d, 1, append([]string{"kms", "accept-keystore"}, unlock...)...)
	writeKeystore(t, d, old)
	if err := d.TryMount(); err == nil || !strings.Contains(err.Error(), "accept-keystore") {
		t.Fatalf("mount with an old keystore: %v", err)
	}
	fails(t, d, 7, append([]string{"kms", "list"}, unlock...)...)
	d.MustCLI(append([]string{"kms", "accept-keystore"}, unlock...)...)
	d.Mount()
	expect.Contents(t, file, []byte("contents"))
	if log := d.MustCLI("kms", "audit", "--chain", "keys"); !strings.Contains(log, " open-anyway ") {
		t.Errorf("not on record:\n%s", log)
	}
}
