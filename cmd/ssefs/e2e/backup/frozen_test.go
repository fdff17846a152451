package backup

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// frozen has backups of format 1, the key file of their volume, and what is in it. They must restore for ever.
const frozen = "../../../../testdata/backups/v1"

var freeze = flag.Bool("freeze", false, "make the backups of "+frozen+" anew")

// TestFrozenBackups restores a full and an incremental backup that an earlier version made.
func TestFrozenBackups(t *testing.T) {
	full, one, key, list := filepath.Join(frozen, "full"), filepath.Join(frozen, "incremental"), filepath.Join(frozen, "key"), filepath.Join(frozen, "tree.json")
	if *freeze {
		makeFrozen(t, full, one, key, list)
	}
	var want map[string]string
	expect.OK(t, json.Unmarshal(expect.Read(t, list), &want), "parse the list")
	// The key file's mode is not kept by git.
	private := filepath.Join(t.TempDir(), "key")
	expect.OK(t, os.WriteFile(private, expect.Read(t, key), 0o600), "copy the key file")
	store := filepath.Join(drive.Dir(t), "store")
	drive.Must(t, drive.Binary(t), "restore", full, one, store, "--data", "--key-file", private)
	d := drive.New(t, drive.Options{Store: store, KeyFile: private, Mount: []string{"-o", "ro"}})
	sameTree(t, tree(t, d.Mountpoint()), want, "restored")
}

// makeFrozen makes a small volume with something of everything, and backups of it.
func makeFrozen(t *testing.T, full, one, key, list string) {
	t.Helper()
	d := drive.New(t, drive.Options{})
	small := func(n int) {
		for name, dir := range map[string]string{"aes": d.Path("aes"), "clear": d.Path("clear"), "managed": d.Path("managed"), "own": d.Path("own")} {
			sub := expect.Mkdir(t, filepath.Join(dir, string(rune('a'+n))))
			expect.Write(t, filepath.Join(sub, "file"), expect.Random(uint64(n), 5000))
			expect.Write(t, filepath.Join(sub, "gone"), []byte(name))
			expect.SetXattr(t, filepath.Join(sub, "file"), "user.name", name)
			expect.OK(t, os.Symlink(name, filepath.Join(sub, "link")), "symlink")
		}
	}
	buckets(t, d)
	small(0)
	save := func(file string, args ...string) {
		t.Helper()
		expect.OK(t, os.MkdirAll(frozen, 0o755), "make %s", frozen)
		d.MustCLI(append([]string{"backup", file, "--force"}, args...)...)
		expect.OK(t, os.Chmod(file, 0o644), "chmod")
	}
	save(full)
	small(1)
	for _, name := range []string{"aes", "clear", "managed", "own"} {
		expect.OK(t, os.Remove(d.Path(name, "a", "gone")), "remove")
	}
	d.MustCLI("kms", "rotate", "--service-master-key")
	save(one, "--base", full)
	text, err := json.MarshalIndent(tree(t, d.Mountpoint()), "", " ")
	expect.OK(t, err, "encode the list")
	expect.OK(t, os.WriteFile(list, append(text, '\n'), 0o644), "write the list")
	expect.OK(t, os.WriteFile(key, expect.Read(t, d.KeyFile()), 0o644), "copy the key file")
}
