package kms

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestRotation: new files are under the new version, which shows; old ones open under theirs. The interval of the service
// master key's rotation is kept in the volume.
func TestRotation(t *testing.T) {
	d := drive.New(t, drive.Options{Create: []string{"--rotate-master-key-every", "30d"}})
	dir, key := kmsBucket(t, d, "kms")
	aes := d.Bucket("aes")
	for i := 1; i <= 3; i++ {
		for _, b := range []string{dir, aes} {
			file := filepath.Join(b, fmt.Sprint(i))
			expect.Write(t, file, []byte(file))
			expect.Equal(t, expect.Xattr(t, file, "user.sse.key-version"), fmt.Sprint(i), "version of %s", file)
		}
		d.MustCLI("kms", "rotate", key)
		d.MustCLI("kms", "rotate", "--service-master-key")
	}
	every := func(want string) {
		t.Helper()
		k := decode[struct {
			Every string `json:"rotate_every"`
		}](t, d.MustCLI("kms", "describe", "--service-master-key", "--json"))
		expect.Equal(t, k.Every, want, "interval of rotation")
	}
	every("30d")
	d.Remount()
	every("30d")
	for i := 1; i <= 3; i++ {
		for _, b := range []string{dir, aes} {
			file := filepath.Join(b, fmt.Sprint(i))
			expect.Contents(t, file, []byte(file))
		}
	}
	d.Remount("--rotate-master-key-every", "off")
	every("off")
	d.Unmount()
	if err := d.TryMount("-o", "ro,rotate-master-key-every=90d"); err == nil {
		t.Fatalf("a read-only mount changed the rotation of the master key")
	}
	d.Mount("-o", "rotate-master-key-every=90d")
	every("90d")
}

// TestKMSOff: without KMS its files and policies are refused, which the log explains; keys can be managed all the same.
func TestKMSOff(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	expect.Write(t, filepath.Join(dir, "file"), []byte("contents"))
	d.Remount("--kms", "off")
	expect.Errno(t, canOpen(filepath.Join(dir, "file")), unix.EOPNOTSUPP, "open")
	if log := d.Log(); !strings.Contains(log, "path=/b/file") || !strings.Contains(log, "--kms off") {
		t.Errorf("the log does not say why")
	}
	say := fails(t, d, 1, "bucket", "create", "c", "--sse", "KMS")
	if !strings.Contains(say, "--kms on") {
		t.Errorf("refused with %q", say)
	}
	d.MustCLI("kms", "set-description", key, "managed all the same")
	d.MustCLI("kms", "rotate", key)
}

// TestRefusalsNameTheFile: the record of a refusal says who, which key, which bucket and which file.
func TestRefusalsNameTheFile(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	file := filepath.Join(dir, "file")
	expect.Write(t, file, []byte("contents"))
	for range 3 { // each stands for itself
		expect.Errno(t, drive.As(t, drive.User(aliceID), func() error { return canOpen(file) }), unix.EACCES, "open without a grant")
	}
	chains := decode[[]struct {
		Records []struct {
			Event  string `json:"event"`
			UID    int64  `json:"uid"`
			Key    string `json:"key_id"`
			Bucket string `json:"bucket"`
			Inode  uint64 `json:"inode"`
			Op     string `json:"operation"`
		} `json:"records"`
	}](t, d.MustCLI("kms", "audit", "--chain", "uses", "--json"))
	refused := 0
	for _, r := range chains[0].Records {
		if r.Event != "refused" {
			continue
		}
		refused++
		if r.UID != aliceID || r.Key != key || r.Bucket != "b" || r.Inode != expect.Stat(t, file).Ino || r.Op != "decrypt" {
			t.Errorf("record %+v", r)
		}
	}
	expect.Equal(t, refused, 3, "refusals on record")
}
