package errnos

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestUnknownKey: a key that nobody has made is ENOKEY.
func TestUnknownKey(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	for _, p := range []string{"KMS:00000000-0000-4000-8000-000000000000", "KMS:alias/nobody"} {
		expect.Errno(t, unix.Setxattr(b, policyAttr, []byte(p), 0), unix.ENOKEY, "set %s", p)
	}
	if r := d.CLI("kms", "disable", "alias/nobody"); r.Code != 1 {
		t.Errorf("disable of an unknown key: exit %d, want 1: %s", r.Code, r.Stderr)
	}
	// An alias that goes away takes the policy's key with it, for new files; the old ones know their key.
	key := createKey(t, d)
	d.MustCLI("kms", "alias", "create", "short-lived", key)
	expect.SetXattr(t, b, policyAttr, "KMS:alias/short-lived")
	expect.Write(t, filepath.Join(b, "old"), []byte("old"))
	d.MustCLI("kms", "alias", "delete", "short-lived")
	_, err := unix.Open(filepath.Join(b, "new"), unix.O_CREAT|unix.O_WRONLY, 0o644)
	expect.Errno(t, err, unix.ENOKEY, "create under an alias that is gone")
	expect.Contents(t, filepath.Join(b, "old"), []byte("old"))
	d.Remount()
	expect.Contents(t, filepath.Join(b, "old"), []byte("old"))
}

// TestKeyOfAnotherRegion: a policy takes keys of the volume's own region only.
func TestKeyOfAnotherRegion(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b, key := kmsBucket(t, d, "b")
	expect.Write(t, filepath.Join(b, "old"), []byte("old"))
	d.Remount("--region", "elsewhere")
	other := d.Bucket("other")
	expect.Errno(t, unix.Setxattr(other, policyAttr, []byte("KMS:"+key), 0), unix.EINVAL, "set a key of another region")
	near := createKey(t, d)
	expect.SetXattr(t, other, policyAttr, "KMS:"+near)
	expect.Write(t, filepath.Join(other, "file"), []byte("x"))
	d.Remount() // the region is kept in the volume
	expect.Errno(t, unix.Setxattr(other, policyAttr, []byte("KMS:"+key), 0), unix.EINVAL, "set a key of another region later")
	d.Remount("--region", "local")
	expect.Contents(t, filepath.Join(b, "old"), []byte("old"))
	expect.SetXattr(t, other, policyAttr, "KMS:"+key)
}

// TestKMSOff: without KMS its policies and its files are refused, all else goes on.
func TestKMSOff(t *testing.T) {
	d := drive.New(t, drive.Options{})
	kms, _ := kmsBucket(t, d, "kms")
	aes := d.Bucket("aes")
	expect.Write(t, filepath.Join(kms, "a"), []byte("in kms"))
	expect.Write(t, filepath.Join(kms, "b"), []byte("in kms"))
	expect.Write(t, filepath.Join(aes, "file"), []byte("in aes"))
	d.Remount("--kms", "off")
	refused(t, kms, unix.EOPNOTSUPP, "a", "b")
	for _, p := range []string{"KMS", "KMS:alias/acs/oss"} {
		expect.Errno(t, unix.Setxattr(aes, policyAttr, []byte(p), 0), unix.EOPNOTSUPP, "set %s", p)
	}
	expect.Errno(t, unix.Setxattr(aes, policyAttr, []byte("KMS:"), 0), unix.EINVAL, "set a policy that does not parse")
	expect.Equal(t, expect.Xattr(t, aes, policyAttr), "AES256", "policy after refusals")
	expect.Contents(t, filepath.Join(aes, "file"), []byte("in aes"))
	expect.Write(t, filepath.Join(aes, "new"), []byte("new"))
	expect.OK(t, unix.Unlink(filepath.Join(kms, "b")), "unlink")
	d.Remount("--kms", "on")
	expect.Contents(t, filepath.Join(kms, "a"), []byte("in kms"))
	d.Remount() // on is the default
	expect.Contents(t, filepath.Join(kms, "a"), []byte("in kms"))
}
