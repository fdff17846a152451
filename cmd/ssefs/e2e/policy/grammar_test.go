package policy

import (
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestGrammar: every form is taken in any case and given back in the canonical one.
func TestGrammar(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "AES256", "policy of a new bucket in a new volume")
	key := createKey(t, d)
	d.MustCLI("kms", "alias", "create", "alias/Project-1", key)
	for set, want := range map[string]string{
		"none": "none", "NONE": "none", "None": "none",
		"AES256": "AES256", "aes256": "AES256",
		"KMS": "KMS", "kms": "KMS",
		"KMS:" + key: "KMS:" + key, "kms:" + strings.ToUpper(key): "KMS:" + key,
		"KMS:alias/Project-1": "KMS:alias/Project-1", "Kms:ALIAS/Project-1": "KMS:alias/Project-1",
	} {
		expect.SetXattr(t, b, policyAttr, set)
		expect.Equal(t, expect.Xattr(t, b, policyAttr), want, "policy after %q was set", set)
	}
}

// TestRefusedPolicies: what does not parse is EINVAL, a key that is not there ENOKEY, and the old policy stays.
func TestRefusedPolicies(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	key := createKey(t, d)
	expect.SetXattr(t, b, policyAttr, "KMS:"+key)
	refused := func(policy string, want unix.Errno) {
		t.Helper()
		expect.Errno(t, unix.Setxattr(b, policyAttr, []byte(policy), 0), want, "set %q", policy)
		expect.Equal(t, expect.Xattr(t, b, policyAttr), "KMS:"+key, "policy after %q was refused", policy)
	}
	for _, p := range []string{"", " ", "AES", "AES128", "AES256 ", " AES256", "AES256\n", "AES256\x00", "AES256:key", "none:", "KMS:",
		"KMS: ", "KMS:a b", "KMS:alias/", "KMS:alias", "KMS:\xff", "\u212aMS", "kms/" + key, "KMS:" + strings.Repeat("a", 300),
		strings.Repeat("KMS:alias/x", 1000)} {
		if p == "KMS:alias" {
			refused(p, unix.ENOKEY) // a key ID like another
			continue
		}
		refused(p, unix.EINVAL)
	}
	other := "0" + key[1:]
	if other == key {
		other = "1" + key[1:]
	}
	refused("KMS:"+other, unix.ENOKEY)
	refused("KMS:alias/unknown", unix.ENOKEY)
	// The bucket works on under the old policy.
	expect.Write(t, filepath.Join(b, "file"), []byte("x"))
	expect.Equal(t, expect.Xattr(t, filepath.Join(b, "file"), keyAttr), key, "key of a new file")
}

// TestWhereAPolicyGoes: only buckets have one.
func TestWhereAPolicyGoes(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	file, dir := filepath.Join(b, "file"), expect.Mkdir(t, filepath.Join(b, "dir"))
	expect.Write(t, file, nil)
	for _, p := range []string{file, dir, d.Path()} {
		expect.Errno(t, unix.Setxattr(p, policyAttr, []byte("none"), 0), unix.EOPNOTSUPP, "set the policy of %s", p)
		_, err := expect.GetXattr(p, policyAttr)
		expect.Errno(t, err, unix.EOPNOTSUPP, "get the policy of %s", p)
		expect.Errno(t, unix.Removexattr(p, policyAttr), unix.EOPNOTSUPP, "remove the policy of %s", p)
	}
	// Create and replace mean what they say: a bucket always has a policy.
	expect.Errno(t, unix.Setxattr(b, policyAttr, []byte("none"), unix.XATTR_CREATE), unix.EEXIST, "create a policy")
	expect.OK(t, unix.Setxattr(b, policyAttr, []byte("none"), unix.XATTR_REPLACE), "replace a policy")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "none", "policy")
}

// TestRemovingAPolicy restores the volume's default, which the bucket follows from then on.
func TestRemovingAPolicy(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.SetXattr(t, b, policyAttr, "none")
	expect.OK(t, unix.Removexattr(b, policyAttr), "remove the policy")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "AES256", "policy after removal")
	expect.Write(t, filepath.Join(b, "file"), nil)
	expect.Equal(t, expect.Xattr(t, filepath.Join(b, "file"), algorithmAttr), "AES256", "algorithm of a new file")
}

// TestWhoSetsAPolicy: the bucket's owner and root. Who may write to the directory is not enough.
func TestWhoSetsAPolicy(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.OK(t, unix.Chown(b, 1001, 1001), "chown")
	stranger := drive.Identity{UID: 1002, GID: 1001, Groups: []int{1001}}
	set := func(who drive.Identity, policy string) error {
		return drive.As(t, who, func() error { return unix.Setxattr(b, policyAttr, []byte(policy), 0) })
	}
	expect.Errno(t, set(stranger, "none"), unix.EPERM, "set by one who may write")
	expect.Errno(t, drive.As(t, stranger, func() error { return unix.Removexattr(b, policyAttr) }), unix.EPERM,
		"removed by one who may write")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "AES256", "policy after refusals")
	expect.OK(t, set(drive.User(1001), "none"), "set by the owner")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "none", "policy set by the owner")
	expect.OK(t, set(drive.Identity{}, "KMS"), "set by root")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "KMS", "policy set by root")
	// Anyone who can reach the bucket may know it.
	expect.OK(t, drive.As(t, stranger, func() error {
		_, err := expect.GetXattr(b, policyAttr)
		return err
	}), "read by another")
}
