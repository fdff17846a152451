package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/secret"
)

// command runs a command line in this process, without a terminal, as a user with no mounted volume.
func command(t *testing.T, argv ...string) (code exit.Code, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	runtime := t.TempDir()
	a := &app{
		out: &out, err: &errs, terminal: secret.NoTerminal{}, asker: secret.NoTerminal{}, uid: 1,
		getenv: func(name string) string {
			if name == "XDG_RUNTIME_DIR" {
				return runtime
			}
			return ""
		},
	}
	code = a.run(t.Context(), argv)
	return code, out.String(), errs.String()
}

// TestCommandLines: a command line that is wrong is refused in one line before anything happens.
func TestCommandLines(t *testing.T) {
	dir := t.TempDir()
	store, point := filepath.Join(dir, "store"), filepath.Join(dir, "point")
	if err := os.Mkdir(point, 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key")
	mount := func(more ...string) []string {
		return append([]string{"ssefs", "mount", store, point, "--create", "--key-file", key}, more...)
	}
	kms := func(more ...string) []string {
		return append(append([]string{"ssefs", "kms"}, more...), "--store", store)
	}
	tests := []struct {
		argv []string
		code exit.Code
		say  string
	}{
		{[]string{"ssefs", "frobnicate"}, exit.Usage, "unknown command"},
		{[]string{"ssefs", "--frob"}, exit.Usage, "unknown flag"},
		{[]string{"ssefs", "bucket", "frobnicate"}, exit.Usage, "unknown command"},
		{[]string{"ssefs", "kms", "alias", "frobnicate"}, exit.Usage, "unknown command"},
		{[]string{"ssefs", "mount", store}, exit.Usage, "2 arg"},
		{mount("-o", "frob"), exit.Usage, "unknown mount option"},
		{mount("-o", "ro"), exit.Usage, "read-only"},
		{mount("--memory", "much"), exit.Usage, "size"},
		{mount("--kms", "maybe"), exit.Usage, "on or off"},
		{mount("--rotate-master-key-every", "90"), exit.Usage, "90d"},
		{mount("-o", "rotate-master-key-every=soon"), exit.Usage, "interval"},
		{mount("--default-policy", "rot13"), exit.Usage, "policy"},
		{mount("--passphrase-file", key), exit.Usage, "not both"},
		{[]string{"ssefs", "mount", store, filepath.Join(dir, "none"), "--create", "--key-file", key}, exit.MountPoint, "mkdir"},
		{[]string{"ssefs", "mount", store, store, "--create", "--key-file", key}, exit.MountPoint, "mkdir"},
		{[]string{"ssefs", "mount", store, point, "--key-file", key}, exit.NoStore, "--create"},
		{[]string{"ssefs", "mount", store, point}, exit.NoStore, "--create"},
		{[]string{"ssefs", "mount", store, point, "--create"}, exit.WrongSecret, "--key-file"},
		{[]string{"mount.fuse.ssefs", store, point, "-o", "frob"}, exit.Usage, "unknown mount option"},
		{[]string{"mount.fuse.ssefs", store}, exit.Usage, "mount point"},
		{[]string{"ssefs", store, point, "-o", "rw,frob"}, exit.Usage, "unknown mount option"},
		{[]string{"ssefs", "umount"}, exit.Usage, "1 arg"},
		{[]string{"ssefs", "umount", point}, exit.MountPoint, "not mounted"},
		{[]string{"ssefs", "sync", point}, exit.MountPoint, "not on a mounted drive"},
		{[]string{"ssefs", "stat", point}, exit.Usage, "--store"},
		{[]string{"ssefs", "stat", store}, exit.Failure, "no such file"},
		{[]string{"ssefs", "bucket", "list", "--store", store}, exit.NoStore, "no store"},
		{[]string{"ssefs", "bucket", "set", "b", "--store", store}, exit.Usage, "--sse"},
		{[]string{"ssefs", "bucket", "set", "b", "--sse", "rot13", "--store", store}, exit.Usage, "policy"},
		{[]string{"ssefs", "bucket", "create", "b", "--sse", "none", "--key-id", "x", "--store", store}, exit.Usage, "--sse KMS"},
		{[]string{"ssefs", "key", "remove", "first", "--store", store}, exit.Usage, "number"},
		{[]string{"ssefs", "status", store}, exit.NoStore, "no store"},
		{[]string{"ssefs", "status", store, "--store", store}, exit.Usage, "not both"},
		{[]string{"ssefs", "bucket", "set", "b", "--bucket-key", "maybe", "--store", store}, exit.Usage, "on or off"},
		{kms("describe"), exit.Usage, "name a key"},
		{kms("describe", "k", "--service-master-key"), exit.Usage, "name a key"},
		{kms("describe", "a", "b"), exit.Usage, "1 arg"},
		{kms("enable"), exit.Usage, "1 arg"},
		{kms("set-description", "k"), exit.Usage, "2 arg"},
		{kms("schedule-deletion", "k", "--days", "6"), exit.Usage, "7 to 30 days"},
		{kms("schedule-deletion", "k", "--days", "31"), exit.Usage, "7 to 30 days"},
		{kms("rotate"), exit.Usage, "--service-master-key"},
		{kms("rotate", "k", "--service-master-key"), exit.Usage, "name a key"},
		{kms("set-rotation", "k"), exit.Usage, "--every"},
		{kms("set-rotation", "k", "--every", "often"), exit.Usage, "90d"},
		{kms("grant", "k"), exit.Usage, "--user or --group"},
		{kms("grant", "k", "--user", "1", "--group", "1"), exit.Usage, "--user or --group"},
		{kms("grant", "k", "--user", "nobody-of-that-name"), exit.Usage, "no user"},
		{kms("revoke", "k", "--group", "nobody-of-that-name"), exit.Usage, "no group"},
		{kms("get-import-parameters", "k"), exit.Usage, "--public-key-file"},
		{kms("import", "k"), exit.Usage, "--material-file"},
		{kms("import", "k", "--material-file", key, "--token-file", key), exit.Failure, "no such file"},
		{kms("import", "k", "--material-file", key, "--token-file", key, "--expires", "soon"), exit.Usage, "2027-01-31"},
		{kms("usage", "--since", "yesterday"), exit.Usage, "2027-01-31"},
		{kms("usage", "--price-per-10k", "-1"), exit.Usage, "price"},
		{kms("usage", "--price-per-10k", "much"), exit.Usage, "invalid argument"},
		{kms("export-backup"), exit.Usage, "1 arg"},
		{kms("export-backup", dir, "--recipient", "age1x"), exit.Failure, "exists"},
		{kms("export-backup", key, "--recipient", "age1x", "--backup-passphrase-file", key), exit.Usage, "not both"},
		{[]string{"ssefs", "kms", "import-backup", key}, exit.Usage, "--store"},
		{kms("import-backup", key), exit.Failure, "no such file"},
		{kms("import-backup", dir, "--identity-file", key), exit.Failure, "no such file"},
		{kms("import-backup", dir), exit.Usage, "no terminal"},
		{kms("import-backup", key, "--identity-file", key, "--backup-passphrase-file", key), exit.Usage, "not both"},
		{[]string{"ssefs", "kms", "accept-keystore"}, exit.Usage, "--store"},
		{kms("accept-keystore"), exit.NoStore, "no store"},
		{kms("list"), exit.NoStore, "no store"},
		{[]string{"ssefs", "fsck", "--frob"}, exit.FsckUsage, "unknown flag"},
		{[]string{"ssefs", "fsck", store, "more"}, exit.FsckUsage, "arg"},
		{[]string{"ssefs", "fsck", store, "--key-file", key}, exit.FsckOperational, "no store"},
		{[]string{"ssefs", "mount-daemon", store, point}, exit.Usage, "ssefs mount"},
		{[]string{"ssefs", "mount-attendant", point, store}, exit.Usage, "a mount daemon only"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.argv[1:], " "), func(t *testing.T) {
			code, stdout, stderr := command(t, tt.argv...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "ssefs: ") || !strings.Contains(stderr, tt.say) {
				t.Errorf("printed %q and, as errors, %q: want one line about %q", stdout, stderr, tt.say)
			}
		})
	}
	for _, path := range []string{store, key} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s was made: %v", path, err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		say  string
	}{
		{nil, "Usage:"}, {[]string{"--help"}, "exit-codes"}, {[]string{"help", "exit-codes"}, "fsck"}, {[]string{"bucket"}, "create"},
		{[]string{"mount", "--help"}, "allow_other"}, {[]string{"kms", "alias"}, "delete"}, {[]string{"version"}, "volume format"},
		{[]string{"version", "--json"}, `"format": 1`}, {[]string{"completion", "bash"}, "__start_ssefs"}, {[]string{"status"}, "No volume"},
		{[]string{"status", "--json"}, "[]"},
	} {
		code, stdout, stderr := command(t, append([]string{"ssefs"}, tt.argv...)...)
		if code != exit.OK || !strings.Contains(stdout, tt.say) || stderr != "" {
			t.Errorf("%v: exit code %d, printed %q and, as errors, %q", tt.argv, code, stdout, stderr)
		}
	}
}

// TestEveryCommandIsDescribed: help and manual pages are made of this.
func TestEveryCommandIsDescribed(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its description is %q, want a line without a full stop", c.CommandPath(), c.Short)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
}

func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := command(t, "ssefs", "man", dir); code != exit.OK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	page, err := os.ReadFile(filepath.Join(dir, "ssefs-mount.1"))
	if err != nil || !bytes.Contains(page, []byte("allow_other")) {
		t.Errorf("the page of mount: %d bytes, %v", len(page), err)
	}
	if code, _, _ := command(t, "ssefs", "man", filepath.Join(dir, "none")); code != exit.Failure {
		t.Errorf("a missing directory: exit code %d", code)
	}
}

func TestOverlay(t *testing.T) {
	o := mountopt.Defaults()
	if err := o.Parse("key-file=/a,bucket=x,memory=1M,create"); err != nil {
		t.Fatal(err)
	}
	overlay(&o, mountopt.Options{KeyFile: "/b", Memory: 2 << 20})
	if o.KeyFile != "/b" || o.Bucket != "x" || o.Memory != 2<<20 || !o.Create {
		t.Errorf("got %+v", o)
	}
}

func TestPolicyFlags(t *testing.T) {
	for _, tt := range []struct{ sse, key, want string }{
		{"", "", ""}, {"Default", "", "default"}, {"aes256", "", "AES256"}, {"none", "", "none"}, {"kms", "", "KMS"},
		{"KMS", "alias/a", "KMS:alias/a"}, {"", "alias/a", "KMS:alias/a"}, {"KMS:alias/a", "", "KMS:alias/a"},
	} {
		if got, err := (policyFlags{sse: tt.sse, keyID: tt.key}).policy(); err != nil || got != tt.want {
			t.Errorf("--sse %q --key-id %q = %q, %v, want %q", tt.sse, tt.key, got, err, tt.want)
		}
	}
	for _, tt := range []policyFlags{{sse: "none", keyID: "k"}, {sse: "default", keyID: "k"}, {sse: "KMS:a", keyID: "b"}, {sse: "rot13"}, {bucketKey: "maybe"}} {
		if got, err := tt.request("b"); exit.Of(err) != exit.Usage {
			t.Errorf("%+v = %+v, %v, want a usage error", tt, got, err)
		}
	}
}

// answers is an asker who gives one answer.
type answers struct {
	yes   bool
	asked int
}

func (a *answers) Confirm(context.Context, string) (bool, error) { a.asked++; return a.yes, nil }

func TestConfirm(t *testing.T) {
	no, yes := &answers{}, &answers{yes: true}
	for _, tt := range []struct {
		who  asker
		c    consent
		want error
	}{{no, askFirst, errNotConfirmed}, {yes, askFirst, nil}, {no, given, nil}, {secret.NoTerminal{}, askFirst, nil}} {
		if err := (&app{asker: tt.who}).confirm(t.Context(), tt.c, "Sure?"); !errors.Is(err, tt.want) {
			t.Errorf("%T, %v: %v, want %v", tt.who, tt.c, err, tt.want)
		}
	}
	if no.asked != 1 || yes.asked != 1 {
		t.Errorf("asked %d and %d times, want once each", no.asked, yes.asked)
	}
}

func TestDependents(t *testing.T) {
	for _, tt := range []struct {
		d    ops.Dependents
		want string
	}{
		{ops.Dependents{KeyID: "k"}, "no file depends on key k"},
		{ops.Dependents{KeyID: "k", Files: 1, Buckets: []ops.BucketFiles{{Bucket: "a", Files: 1}}}, "1 file depends on key k: 1 in bucket a"},
		{
			ops.Dependents{KeyID: "k", Files: 3, Buckets: []ops.BucketFiles{{Bucket: "a", Files: 1}, {Bucket: "b\n", Files: 2}}, Policies: []string{"a"}},
			`3 files depend on key k: 1 in bucket a, 2 in bucket "b\n"; new files of a would be refused`,
		},
	} {
		if got := dependents(tt.d); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "日本 語": "日本 語", "it's": "it's", `a"b`: `a"b`, "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %s, want %s", in, got, want)
		}
	}
}
