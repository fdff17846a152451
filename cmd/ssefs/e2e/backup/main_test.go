// Package backup has the tests of `ssefs backup` and `ssefs restore`: chains of backups of drives in use, compared byte for byte
// with what is restored from them; backups and restores that are killed or cut off; and every refusal.
package backup

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// The exit codes that the tests expect.
const (
	codeFailure = 1
	codeUsage   = 2
	codeSecret  = 3
	codeNoStore = 5
	codeDamaged = 7
)

// sseAttrs are the virtual attributes, which are not listed.
func sseAttrs() []string {
	return []string{"user.sse.policy", "user.sse.algorithm", "user.sse.key-id", "user.sse.key-version", "user.sse.data-algorithm"}
}

// tree describes all that is below a directory, by path: attributes, xattrs, encryption, contents.
func tree(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	expect.OK(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st := expect.Lstat(t, path)
		size := st.Size
		if e.IsDir() {
			size = 0
		}
		text := fmt.Sprintf("mode %o, %d:%d, size %d, mtime %d.%09d, ctime %d.%09d, links %d, device %d", st.Mode, st.Uid, st.Gid, size,
			st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Nlink, st.Rdev)
		names, err := expect.ListXattrs(path)
		if err != nil {
			return err
		}
		for _, name := range append(names, sseAttrs()...) {
			if value, err := expect.GetXattr(path, name); err == nil {
				text += fmt.Sprintf(", %s=%q", name, value)
			}
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(", contents %x", sha256.Sum256(b))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += ", to " + target
		}
		name, err := filepath.Rel(root, path)
		all[name] = text
		return err
	}), "walk %s", root)
	return all
}

// sameTree fails the test unless two trees are the same.
func sameTree(t *testing.T, got, want map[string]string, what string) {
	t.Helper()
	for name, w := range want {
		if g := got[name]; g != w {
			t.Errorf("%s: %s is\n%s\nwant\n%s", what, name, g, w)
		}
	}
	for name := range got {
		if want[name] == "" {
			t.Errorf("%s: %s should not be there", what, name)
		}
	}
}

// summary is what backup --json prints.
type summary struct {
	Bytes   int64  `json:"bytes"`
	Version uint64 `json:"version"`
	Records uint64 `json:"records"`
	Listed  uint64 `json:"listed"`
}

// backup makes a backup of the drive into a file, which has to succeed.
func backup(t *testing.T, d *drive.Drive, file string, args ...string) summary {
	t.Helper()
	var s summary
	out := d.MustCLI(append([]string{"backup", file, "--json"}, args...)...)
	expect.OK(t, json.Unmarshal([]byte(out), &s), "parse %q", out)
	expect.Equal(t, expect.Stat(t, file).Mode&0o777, 0o600, "mode of the backup")
	expect.Equal(t, expect.Stat(t, file).Size, s.Bytes, "size of the backup")
	expect.Missing(t, file+".partial")
	return s
}

// restore restores a chain, checks all contents and returns the store.
func restore(t *testing.T, d *drive.Drive, chain ...string) string {
	t.Helper()
	store := filepath.Join(drive.Dir(t), "store")
	r := drive.CLI(t, append(append([]string{"restore"}, chain...), store, "--data", "--key-file", d.KeyFile())...)
	if r.Code != 0 || !strings.HasPrefix(r.Stdout, "clean: ") {
		t.Fatalf("restore %q: exit %d\n%s%s", chain, r.Code, r.Stdout, r.Stderr)
	}
	return store
}

// mountRestored mounts a restored store with the key of the drive that it is from.
func mountRestored(t *testing.T, d *drive.Drive, store string) *drive.Drive {
	t.Helper()
	return drive.New(t, drive.Options{Store: store, KeyFile: d.KeyFile()})
}

// refused runs a command that has to be refused with an exit code, in one line that says all of words.
func refused(t *testing.T, code int, words []string, args ...string) {
	t.Helper()
	r := drive.CLI(t, args...)
	if r.Code != code {
		t.Errorf("ssefs %q: exit %d, want %d: %s", args, r.Code, code, r.Stderr)
	}
	drive.OneLine(t, r)
	for _, w := range words {
		if !strings.Contains(r.Stderr, w) {
			t.Errorf("ssefs %q does not say %q: %s", args, w, r.Stderr)
		}
	}
}

// buckets makes one bucket of each policy, open to all, and returns their paths by policy.
func buckets(t *testing.T, d *drive.Drive) map[string]string {
	t.Helper()
	var key struct {
		ID string `json:"id"`
	}
	out := d.MustCLI("kms", "create", "--json")
	expect.OK(t, json.Unmarshal([]byte(out), &key), "parse %q", out)
	paths := map[string]string{}
	for name, policy := range map[string]string{"clear": "none", "aes": "AES256", "managed": "KMS", "own": "KMS:" + key.ID} {
		paths[name] = d.Bucket(name)
		expect.SetXattr(t, paths[name], "user.sse.policy", policy)
	}
	return paths
}
