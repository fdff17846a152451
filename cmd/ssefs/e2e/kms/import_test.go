package kms

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// prepareImport encrypts new material for a key of external origin, by openssl, and returns the file's path; the token is
// beside it.
func prepareImport(t *testing.T, d *drive.Drive, key string) string {
	t.Helper()
	dir := t.TempDir()
	p := func(name string) string { return filepath.Join(dir, name) }
	d.MustCLI("kms", "get-import-parameters", key, "--public-key-file", p("public.pem"), "--token-file", p("encrypted.token"))
	drive.Must(t, "openssl", "rand", "-out", p("material"), "32")
	drive.Must(t, "openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", p("public.pem"), "-in", p("material"), "-out", p("encrypted"),
		"-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
	return p("encrypted")
}

func importMaterial(d *drive.Drive, key, encrypted string, more ...string) {
	d.MustCLI(append([]string{"kms", "import", key, "--material-file", encrypted, "--token-file", encrypted + ".token"}, more...)...)
}

// TestOnlyTheSameMaterial: a key takes back what it had and nothing else, and equal material does not make two keys one.
func TestOnlyTheSameMaterial(t *testing.T) {
	d := drive.New(t, drive.Options{})
	key := createKey(t, d, "--origin", "EXTERNAL")
	first := prepareImport(t, d, key)
	importMaterial(d, key, first)
	dir := d.Bucket("b")
	expect.SetXattr(t, dir, policyAttr, "KMS:"+key)
	expect.Write(t, filepath.Join(dir, "file"), []byte("contents"))
	d.MustCLI("kms", "delete-material", key, "--yes")
	other := prepareImport(t, d, key) // asks for new parameters, which end the old ones
	say := fails(t, d, 1, "kms", "import", key, "--material-file", other, "--token-file", other+".token")
	if !strings.Contains(say, "other material") {
		t.Errorf("refused with %q", say)
	}
	fails(t, d, 1, "kms", "import", key, "--material-file", first, "--token-file", first+".token")
	_, err := unix.Open(filepath.Join(dir, "file"), unix.O_RDONLY, 0)
	expect.Errno(t, err, unix.ENOKEY, "open")
	// The old material, encrypted to the new public key.
	at := func(name string) string { return filepath.Join(filepath.Dir(first), name) }
	again := at("again")
	drive.Must(t, "openssl", "pkeyutl", "-encrypt", "-pubin", "-inkey", filepath.Join(filepath.Dir(other), "public.pem"), "-in", at("material"),
		"-out", again, "-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256")
	d.MustCLI("kms", "import", key, "--material-file", again, "--token-file", other+".token")
	expect.Contents(t, filepath.Join(dir, "file"), []byte("contents"))
}

// TestBringYourOwnKey runs the worked example of the README as it stands there.
func TestBringYourOwnKey(t *testing.T) {
	readme, err := os.ReadFile("../../../../README.md")
	expect.OK(t, err, "read the README")
	section := regexp.MustCompile("(?s)\n## Bring your own key\n.*?```sh\n(.*?)```").FindSubmatch(readme)
	if section == nil {
		t.Fatalf("the README has no such example")
	}
	d := drive.New(t, drive.Options{})
	// The example is for the only mounted volume; here there may be others.
	bin, work := t.TempDir(), t.TempDir()
	wrapper := fmt.Sprintf("#!/bin/sh\nexec '%s' \"$@\" --store '%s'\n", drive.Binary(t), d.Store())
	expect.OK(t, os.WriteFile(filepath.Join(bin, "ssefs"), []byte(wrapper), 0o755), "write a wrapper")
	expect.OK(t, os.Symlink(d.Mountpoint(), filepath.Join(work, "drive")), "symlink")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euc", string(section[1]))
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if r := drive.Run(ctx, t, cmd); r.Code != 0 {
		t.Fatalf("exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	keys := decode[[]keyInfo](t, d.MustCLI("kms", "list", "--json"))
	if len(keys) != 1 || keys[0].State != "Enabled" || keys[0].Current != 1 {
		t.Fatalf("keys %+v", keys)
	}
	file := d.Path("own", "file")
	expect.Contents(t, file, []byte("under my own key\n"))
	expect.Equal(t, expect.Xattr(t, file, "user.sse.key-id"), keys[0].ID, "key of the file")
	for _, left := range []string{"material", "import.token"} {
		if _, err := os.Lstat(filepath.Join(work, left)); err != nil {
			t.Errorf("the example says to keep %s: %v", left, err)
		}
	}
}
