package policy

import (
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// bucketInfo is what the bucket commands print under --json.
type bucketInfo struct {
	Name   string `json:"name"`
	Policy string `json:"policy"`
}

// TestBucketCommands: create, show, set and list, while mounted and while not.
func TestBucketCommands(t *testing.T) {
	d := drive.New(t, drive.Options{})
	key := createKey(t, d)
	offline := []string{"--key-file", d.KeyFile()}
	run := func(when string, more ...string) {
		t.Helper()
		cli := func(args ...string) string {
			t.Helper()
			return d.MustCLI(append(args, more...)...)
		}
		for name, c := range map[string]struct {
			flags []string
			want  string
		}{
			"plain": {nil, "AES256"},
			"none":  {[]string{"--sse", "none"}, "none"},
			"kms":   {[]string{"--sse", "kms"}, "KMS"},
			"byid":  {[]string{"--sse", "KMS", "--key-id", key}, "KMS:" + key},
		} {
			name += when
			cli(append([]string{"bucket", "create", name}, c.flags...)...)
			got := parse[bucketInfo](t, cli("bucket", "show", name, "--json"))
			expect.Equal(t, got, bucketInfo{name, c.want}, "bucket %s", name)
		}
		if r := d.CLI(append([]string{"bucket", "create", "plain" + when}, more...)...); r.Code == 0 {
			t.Errorf("a bucket was created twice")
		}
		cli("bucket", "set", "none"+when, "--sse", "AES256")
		expect.Equal(t, parse[bucketInfo](t, cli("bucket", "show", "none"+when, "--json")).Policy, "AES256", "policy after bucket set")
		if r := d.CLI(append([]string{"bucket", "set", "none" + when, "--sse", "nonsense"}, more...)...); r.Code != 2 {
			t.Errorf("bucket set of a policy that does not parse: exit %d, want 2: %s", r.Code, r.Stderr)
		}
		if r := d.CLI(append([]string{"bucket", "set", "none" + when, "--sse", "KMS", "--key-id", "alias/none"}, more...)...); r.Code != 1 {
			t.Errorf("bucket set of an unknown key: exit %d, want 1: %s", r.Code, r.Stderr)
		}
		if r := d.CLI(append([]string{"bucket", "show", "missing"}, more...)...); r.Code != 1 {
			t.Errorf("bucket show of a missing bucket: exit %d, want 1: %s", r.Code, r.Stderr)
		}
	}
	run("-mounted")
	// What the command changed behind the kernel's back, the drive shows at once.
	expect.Equal(t, expect.Xattr(t, d.Path("byid-mounted"), policyAttr), "KMS:"+key, "policy as the drive shows it")
	expect.Equal(t, len(expect.Names(t, d.Path())), 4, "buckets as the drive shows them")
	var st unix.Stat_t
	expect.Errno(t, unix.Stat(d.Path("later"), &st), unix.ENOENT, "stat of a bucket to be")
	d.MustCLI("bucket", "create", "later")
	expect.OK(t, unix.Stat(d.Path("later"), &st), "stat of a bucket that the command made")
	// A path on the drive names its volume.
	r := drive.CLI(t, "bucket", "show", d.Path("kms-mounted"), "--json")
	expect.Equal(t, r.Code, 0, "exit of bucket show with a path: %s", r.Stderr)
	expect.Equal(t, parse[bucketInfo](t, r.Stdout).Policy, "KMS", "policy")
	d.Unmount()
	run("-unmounted", offline...)
	list := parse[[]bucketInfo](t, d.MustCLI(append([]string{"bucket", "list", "--json"}, offline...)...))
	expect.Equal(t, len(list), 9, "buckets listed")
	d.Mount()
	expect.Equal(t, expect.Xattr(t, d.Path("byid-unmounted"), policyAttr), "KMS:"+key, "policy made while unmounted")
	expect.Write(t, d.Path("byid-unmounted", "file"), []byte("x"))
	expect.Equal(t, expect.Xattr(t, d.Path("byid-unmounted", "file"), keyAttr), key, "key of a new file")
}

// TestKMSCommands: keys, aliases, and what they print.
func TestKMSCommands(t *testing.T) {
	d := drive.New(t, drive.Options{})
	type key struct {
		ID          string   `json:"id"`
		Description string   `json:"description"`
		State       string   `json:"state"`
		Aliases     []string `json:"aliases"`
	}
	made := parse[key](t, d.MustCLI("kms", "create", "--description", "of project 1", "--json"))
	expect.Equal(t, made.Description, "of project 1", "description")
	d.MustCLI("kms", "alias", "create", "alias/one", made.ID)
	d.MustCLI("kms", "alias", "create", "two", made.ID)
	got := parse[key](t, d.MustCLI("kms", "describe", "alias/two", "--json"))
	expect.Equal(t, got.ID, made.ID, "key behind an alias")
	expect.Equal(t, len(got.Aliases), 2, "aliases")
	enabled := got.State
	d.MustCLI("kms", "disable", "alias/one")
	got = parse[key](t, d.MustCLI("kms", "describe", made.ID, "--json"))
	expect.Equal(t, got.State != enabled, true, "the state changed")
	d.MustCLI("kms", "enable", made.ID)
	d.MustCLI("kms", "alias", "delete", "alias/one")
	if r := d.CLI("kms", "describe", "alias/one"); r.Code != 1 || !strings.HasPrefix(r.Stderr, "ssefs: ") {
		t.Errorf("describe of a deleted alias: exit %d, %q", r.Code, r.Stderr)
	}
	if r := d.CLI("kms", "alias", "create", "two", made.ID); r.Code != 1 {
		t.Errorf("an alias was created twice: exit %d", r.Code)
	}
	d.Remount()
	list := parse[[]key](t, d.MustCLI("kms", "list", "--json"))
	expect.Equal(t, len(list), 1, "keys after remount")
	expect.Equal(t, strings.Join(list[0].Aliases, " "), "alias/two", "aliases after remount")
	expect.Equal(t, list[0].State, enabled, "state after remount")
}

// TestStatCommand shows the attributes that are never listed.
func TestStatCommand(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	key := createKey(t, d)
	expect.SetXattr(t, b, policyAttr, "KMS:"+key)
	file := filepath.Join(b, "file")
	expect.Write(t, file, []byte("contents"))
	for _, args := range [][]string{{"stat", file}, {"stat", file, "--json"}} {
		r := drive.CLI(t, args...)
		expect.Equal(t, r.Code, 0, "exit of %v: %s", args, r.Stderr)
		for _, want := range []string{key, "KMS"} {
			if !strings.Contains(r.Stdout, want) {
				t.Errorf("%v does not tell %s: %s", args, want, r.Stdout)
			}
		}
	}
	parse[map[string]any](t, drive.CLI(t, "stat", file, "--json").Stdout)
	r := drive.CLI(t, "stat", b)
	if !strings.Contains(r.Stdout, "KMS:"+key) {
		t.Errorf("stat of a bucket does not tell its policy: exit %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if r := drive.CLI(t, "stat", "/etc/hostname"); r.Code == 0 {
		t.Errorf("stat of a file that is not on a drive succeeded: %s", r.Stdout)
	}
}
