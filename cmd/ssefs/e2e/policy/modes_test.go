package policy

import (
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestModes: files of the three modes say how they are encrypted, and hold what was written, over a remount.
func TestModes(t *testing.T) {
	d := drive.New(t, drive.Options{})
	key := createKey(t, d)
	d.MustCLI("kms", "alias", "create", "project", key)
	policies := map[string]string{"none": "none", "aes": "AES256", "kms": "KMS", "kms-id": "KMS:" + key,
		"kms-alias": "KMS:alias/project"}
	algorithm := map[string]string{"none": "none", "aes": "AES256", "kms": "KMS", "kms-id": "KMS", "kms-alias": "KMS"}
	data := expect.Random(1, 200_000)
	for name, policy := range policies {
		b := d.Bucket(name)
		expect.SetXattr(t, b, policyAttr, policy)
		expect.Write(t, filepath.Join(b, "file"), data)
		expect.Mkdir(t, filepath.Join(b, "dir"))
		expect.Write(t, filepath.Join(b, "dir", "below"), data[:100])
	}
	keys := map[string]string{}
	check := func(when string) {
		t.Helper()
		for name, policy := range policies {
			b := d.Path(name)
			expect.Equal(t, expect.Xattr(t, b, policyAttr), policy, "policy of %s %s", name, when)
			expect.Contents(t, filepath.Join(b, "file"), data)
			for _, p := range []string{filepath.Join(b, "file"), filepath.Join(b, "dir", "below")} {
				expect.Equal(t, expect.Xattr(t, p, algorithmAttr), algorithm[name], "algorithm of %s %s", p, when)
				if expect.Xattr(t, p, dataAttr) == "" {
					t.Errorf("%s tells no data algorithm", p)
				}
				if name == "none" {
					continue
				}
				expect.Equal(t, expect.Xattr(t, p, versionAttr), "1", "key version of %s %s", p, when)
				if name == "aes" {
					continue // the service master key has no ID that users could use
				}
				id := expect.Xattr(t, p, keyAttr)
				if old, ok := keys[name]; ok {
					expect.Equal(t, id, old, "key of %s %s", p, when)
				}
				keys[name] = id
			}
		}
	}
	check("when new")
	expect.Equal(t, keys["kms-id"], key, "key of a file under a chosen key")
	expect.Equal(t, keys["kms-alias"], key, "key of a file under an alias")
	expect.Equal(t, keys["kms"] != key && keys["kms"] != "", true, "the default key is another")
	d.Remount()
	check("after remount")

	// The default key is the one that OSS calls alias/acs/oss, made by its first use.
	described := parse[struct {
		ID      string   `json:"id"`
		Managed bool     `json:"managed"`
		Aliases []string `json:"aliases"`
	}](t, d.MustCLI("kms", "describe", "alias/acs/oss", "--json"))
	expect.Equal(t, described.ID, keys["kms"], "key behind alias/acs/oss")
	expect.Equal(t, described.Managed, true, "the default key is managed")
}

// TestDefaultKeyIsMadeOnFirstUse: a volume without a KMS bucket has none.
func TestDefaultKeyIsMadeOnFirstUse(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "file"), nil)
	expect.Equal(t, len(parse[[]any](t, d.MustCLI("kms", "list", "--json"))), 0, "keys of a new volume")
	expect.SetXattr(t, b, policyAttr, "KMS")
	expect.Write(t, filepath.Join(b, "file2"), nil)
	expect.Equal(t, len(parse[[]any](t, d.MustCLI("kms", "list", "--json"))), 1, "keys after the first use of KMS")
	expect.Write(t, filepath.Join(b, "file3"), nil)
	expect.Equal(t, len(parse[[]any](t, d.MustCLI("kms", "list", "--json"))), 1, "keys after the second use of KMS")
}

// TestVirtualXattrs: they answer, cannot be changed, and are never listed.
func TestVirtualXattrs(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	file, dir := filepath.Join(b, "file"), expect.Mkdir(t, filepath.Join(b, "dir"))
	expect.Write(t, file, []byte("x"))
	expect.SetXattr(t, file, "user.own", "mine")
	expect.SetXattr(t, b, "user.own", "mine")
	for _, p := range []string{file, dir, b} {
		for _, attr := range []string{algorithmAttr, keyAttr, versionAttr, dataAttr} {
			expect.Errno(t, unix.Setxattr(p, attr, []byte("x"), 0), unix.EPERM, "set %s of %s", attr, p)
			expect.Errno(t, unix.Removexattr(p, attr), unix.EPERM, "remove %s of %s", attr, p)
		}
		names, err := expect.ListXattrs(p)
		expect.OK(t, err, "list")
		want := 1
		if p == dir {
			want = 0
		}
		expect.Equal(t, len(names), want, "names listed of %s: %q", p, names)
		expect.Equal(t, expect.Xattr(t, p, algorithmAttr), "AES256", "algorithm of %s", p)
	}
	_, err := unix.Getxattr(file, algorithmAttr, make([]byte, 2))
	expect.Errno(t, err, unix.ERANGE, "get into a short buffer")
	n, err := unix.Getxattr(file, algorithmAttr, nil)
	expect.OK(t, err, "size of the algorithm")
	expect.Equal(t, n, len("AES256"), "size of the algorithm")
	// Others of the name space are not there and cannot be made.
	_, err = expect.GetXattr(file, "user.sse.other")
	expect.Errno(t, err, unix.ENODATA, "get an unknown attribute")
	if err := unix.Setxattr(file, "user.sse.other", []byte("x"), 0); err == nil {
		t.Errorf("an unknown attribute in the name space of the policies could be set")
	}
}

// TestPolicyChange applies to files made afterwards; those that are there stay as they are, whatever is done to them.
func TestPolicyChange(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	key := createKey(t, d)
	steps := []struct{ policy, algorithm string }{{"AES256", "AES256"}, {"none", "none"}, {"KMS", "KMS"}, {"KMS:" + key, "KMS"},
		{"AES256", "AES256"}}
	name := func(i int) string { return filepath.Join(b, string(rune('a'+i))) }
	contents := map[int]string{}
	keys := map[int]string{}
	for i, s := range steps {
		expect.SetXattr(t, b, policyAttr, s.policy)
		expect.Write(t, name(i), []byte("first"))
		contents[i] = "first"
		if s.algorithm == "KMS" {
			keys[i] = expect.Xattr(t, name(i), keyAttr)
		}
		for j := range i + 1 {
			// Rewritten, extended and renamed there and back, a file keeps its key.
			f := expect.Open(t, name(j), unix.O_WRONLY|unix.O_APPEND, 0)
			f.Write([]byte("+"))
			f.Close()
			contents[j] += "+"
			if j%2 == 1 {
				expect.Write(t, name(j), []byte("again")) // O_TRUNC
				contents[j] = "again"
			}
			expect.OK(t, unix.Rename(name(j), name(j)+"x"), "rename")
			expect.OK(t, unix.Rename(name(j)+"x", name(j)), "rename back")
		}
	}
	check := func() {
		t.Helper()
		for i, s := range steps {
			expect.Contents(t, name(i), []byte(contents[i]))
			expect.Equal(t, expect.Xattr(t, name(i), algorithmAttr), s.algorithm, "algorithm of file %d", i)
			if s.algorithm == "KMS" {
				expect.Equal(t, expect.Xattr(t, name(i), keyAttr), keys[i], "key of file %d", i)
			}
		}
	}
	check()
	d.Remount()
	check()
}

// TestPolicyOfRenamedBucket goes with the bucket.
func TestPolicyOfRenamedBucket(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("before")
	key := createKey(t, d)
	expect.SetXattr(t, b, policyAttr, "KMS:"+key)
	expect.Write(t, filepath.Join(b, "old"), []byte("old"))
	expect.OK(t, unix.Rename(b, d.Path("after")), "rename")
	check := func(name string) {
		t.Helper()
		expect.Equal(t, expect.Xattr(t, d.Path("after"), policyAttr), "KMS:"+key, "policy of the renamed bucket")
		expect.Contents(t, d.Path("after", "old"), []byte("old"))
		expect.Write(t, d.Path("after", name), []byte(name))
		expect.Equal(t, expect.Xattr(t, d.Path("after", name), keyAttr), key, "key of a new file")
	}
	check("new")
	d.Remount()
	check("newer")
	// A new bucket of the old name is under the default again.
	expect.Equal(t, expect.Xattr(t, d.Bucket("before"), policyAttr), "AES256", "policy of a new bucket of the old name")
	// Two buckets that change places keep theirs.
	expect.OK(t, unix.Renameat2(unix.AT_FDCWD, d.Path("before"), unix.AT_FDCWD, d.Path("after"), unix.RENAME_EXCHANGE),
		"exchange buckets")
	expect.Equal(t, expect.Xattr(t, d.Path("before"), policyAttr), "KMS:"+key, "policy after exchange")
	expect.Equal(t, expect.Xattr(t, d.Path("after"), policyAttr), "AES256", "policy after exchange")
	expect.Contents(t, d.Path("before", "old"), []byte("old"))
}

// TestDefaultPolicy is kept in the volume and changed by a mount.
func TestDefaultPolicy(t *testing.T) {
	d := drive.New(t, drive.Options{Create: []string{"--default-policy", "none"}})
	b := d.Bucket("first")
	fixed := d.Bucket("fixed")
	expect.SetXattr(t, fixed, policyAttr, "none")
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "none", "policy under the default")
	d.Remount()
	expect.Equal(t, expect.Xattr(t, b, policyAttr), "none", "policy after remount")
	expect.Write(t, filepath.Join(b, "file"), nil)
	expect.Equal(t, expect.Xattr(t, filepath.Join(b, "file"), algorithmAttr), "none", "algorithm under the default")
	d.Remount("--default-policy", "kms")
	expect.Equal(t, expect.Xattr(t, d.Bucket("second"), policyAttr), "KMS", "policy of a new bucket")
	d.Remount()
	expect.Equal(t, expect.Xattr(t, d.Bucket("third"), policyAttr), "KMS", "policy of a new bucket after remount")
	expect.Equal(t, expect.Xattr(t, fixed, policyAttr), "none", "policy that was set on the bucket")
}
