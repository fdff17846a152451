package frozen

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// volumes is where the frozen volumes are.
const volumes = "../../../../testdata/volumes"

// names returns the names of all frozen volumes.
func names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(volumes + "/*.tar.gz")
	expect.OK(t, err, "list %s", volumes)
	if len(files) == 0 {
		t.Fatalf("no volumes in %s", volumes)
	}
	var list []string
	for _, f := range files {
		list = append(list, filepath.Base(f[:len(f)-len(".tar.gz")]))
	}
	return list
}

// volume is an unpacked store that a test mounts by commands.
type volume struct {
	t                      *testing.T
	store, point, log      string
	keyFile, passphraseArg []string
}

// unpack brings a frozen volume into a temporary directory.
func unpack(t *testing.T, name string) *volume {
	t.Helper()
	base := drive.Dir(t)
	v := &volume{
		t: t, store: base + "/store", point: base + "/drive", log: base + "/log",
		keyFile: []string{"--key-file", base + "/key"}, passphraseArg: []string{"--passphrase-file", base + "/passphrase"},
	}
	expect.Mkdir(t, v.point)
	f, err := os.Open(filepath.Join(volumes, name+".tar.gz"))
	expect.OK(t, err, "open the archive")
	defer func() { expect.OK(t, f.Close(), "close the archive") }()
	z, err := gzip.NewReader(f)
	expect.OK(t, err, "read the archive")
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		expect.OK(t, err, "read the archive")
		path := filepath.Join(base, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			expect.OK(t, os.Mkdir(path, 0o700), "unpack %s", h.Name)
			continue
		}
		b, err := io.ReadAll(r)
		expect.OK(t, err, "unpack %s", h.Name)
		expect.OK(t, os.WriteFile(path, b, 0o600), "unpack %s", h.Name)
	}
	t.Cleanup(func() {
		drive.NothingLeft(t, v.store, v.point)
		if b, err := os.ReadFile(v.log); t.Failed() && err == nil {
			t.Logf("the daemon's log:\n%s", b)
		}
	})
	return v
}

// run runs a command on the store, with a secret if it is not mounted.
func (v *volume) run(secret []string, args ...string) drive.Result {
	v.t.Helper()
	return drive.CLI(v.t, slices.Concat(args, []string{"--store", v.store}, secret)...)
}

// must is run for a command that has to succeed; it returns what it printed.
func (v *volume) must(secret []string, args ...string) string {
	v.t.Helper()
	r := v.run(secret, args...)
	if r.Code != 0 {
		v.t.Fatalf("ssefs %q: exit %d: %s%s", args, r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// mount mounts the store in the background.
func (v *volume) mount(secret []string, extra ...string) {
	v.t.Helper()
	r := drive.CLI(v.t, slices.Concat([]string{"mount", v.store, v.point, "--log-file", v.log}, secret, extra)...)
	if r.Code != 0 {
		v.t.Fatalf("mount: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

func (v *volume) unmount() {
	v.t.Helper()
	if r := drive.CLI(v.t, "umount", v.point); r.Code != 0 {
		v.t.Fatalf("umount: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// fsck checks the unmounted store with all contents, which has to be clean, and returns how many records there are of
// each kind.
func (v *volume) fsck() map[string]int {
	v.t.Helper()
	r := drive.CLI(v.t, slices.Concat([]string{"fsck", "--data", v.store, "--json"}, v.keyFile)...)
	if r.Code != 0 {
		v.t.Errorf("fsck --data: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	var report struct {
		Counts struct{ Records map[string]int }
	}
	expect.OK(v.t, json.Unmarshal([]byte(r.Stdout), &report), "parse what fsck printed")
	return report.Counts.Records
}

// path returns the path of elem on the drive.
func (v *volume) path(elem ...string) string {
	return filepath.Join(slices.Concat([]string{v.point}, elem)...)
}
