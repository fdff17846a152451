package backup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestRefusals is everything that backup and restore refuse, with their exit codes and one line that says why.
func TestRefusals(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "file"), expect.Random(1, 300_000))
	dir := drive.Dir(t)
	p := func(name string) string { return filepath.Join(dir, name) }
	backup(t, d, p("full"))
	expect.Write(t, filepath.Join(b, "file2"), expect.Random(2, 300_000))
	backup(t, d, p("one"), "--base", p("full"))
	expect.Write(t, filepath.Join(b, "file3"), expect.Random(3, 300_000))
	backup(t, d, p("two"), "--base", p("one"))
	other := drive.New(t, drive.Options{})
	backup(t, other, p("foreign"))
	full := expect.Read(t, p("full"))
	cut := func(name string, n int) string { expect.Write(t, p(name), full[:n]); return p(name) }
	one := expect.Read(t, p("one"))
	expect.Write(t, p("cut one"), one[:len(one)/2])
	flipped := bytes.Clone(full)
	flipped[len(flipped)/2] ^= 4
	expect.Write(t, p("flipped"), flipped)
	expect.Write(t, p("text"), []byte("this is something else entirely\n"))

	store := d.Store()
	for _, test := range []struct {
		code  int
		words []string
		args  []string
	}{
		{codeUsage, []string{"exists", "--force"}, []string{p("full"), "--store", store}},
		{codeUsage, []string{"itself"}, []string{filepath.Join(b, "backup"), "--store", store}},
		{codeUsage, []string{"no file"}, []string{dir, "--store", store}},
		{codeUsage, []string{"no file"}, []string{"/dev/null", "--store", store, "--force"}},
		{codeUsage, []string{"base"}, []string{p("full"), "--base", p("full"), "--force", "--store", store}},
		{codeUsage, []string{"--json"}, []string{"-", "--json", "--store", store}},
		{codeUsage, []string{"volume"}, []string{p("new"), "--base", p("foreign"), "--store", store}},
		{codeDamaged, []string{p("text")}, []string{p("new"), "--base", p("text"), "--store", store}},
		{codeDamaged, []string{"incomplete"}, []string{p("new"), "--base", cut("cut", len(full)-5), "--store", store}},
		{codeFailure, []string{"no such file"}, []string{p("new"), "--base", p("none"), "--store", store}},
		{codeFailure, []string{"no such file"}, []string{p("none/new"), "--store", store}},
		{codeNoStore, nil, []string{p("new"), "--store", p("nowhere")}},
	} {
		refused(t, test.code, test.words, append([]string{"backup"}, test.args...)...)
		expect.Missing(t, p("new"))
		expect.Missing(t, p("new.partial"))
	}
	expect.Contents(t, p("full"), full)
	// Nothing is written through what somebody else put in the way.
	for name, make := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(p("victim"), path) },
		"hard": func(path string) error { return os.Link(p("text"), path) },
		"fifo": func(path string) error { return unix.Mkfifo(path, 0o666) },
		"file": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o666), os.Chown(path, 1234, 1234))
		},
	} {
		expect.OK(t, make(p(name+".partial")), "put a %s in the way", name)
		refused(t, codeFailure, []string{p(name + ".partial")}, "backup", p(name), "--store", store)
		expect.Missing(t, p(name))
	}
	expect.Missing(t, p("victim"))

	key := []string{"--key-file", d.KeyFile()}
	for _, test := range []struct {
		code    int
		words   []string
		sources []string
		key     []string
	}{
		{codeSecret, []string{"wrong"}, []string{p("full")}, []string{"--key-file", other.KeyFile()}},
		{codeSecret, []string{"no secret"}, []string{p("full")}, nil},
		{codeUsage, []string{p("one"), "full one first"}, []string{p("one")}, key},
		{codeUsage, []string{p("two"), "version"}, []string{p("full"), p("two")}, key},
		{codeUsage, []string{p("two"), "version"}, []string{p("full"), p("two"), p("one")}, key},
		{codeUsage, []string{p("full"), "first"}, []string{p("full"), p("full")}, key},
		{codeUsage, []string{"volume"}, []string{p("full"), p("foreign")}, key},
		{codeUsage, []string{"standard input"}, []string{"-", "-"}, key},
		{codeDamaged, []string{p("text"), "not a backup"}, []string{p("text")}, key},
		{codeDamaged, []string{p("cut"), "incomplete"}, []string{p("cut")}, key},
		{codeDamaged, []string{"incomplete"}, []string{cut("short", 9)}, key},
		{codeDamaged, []string{p("cut one"), "incomplete"}, []string{p("full"), p("cut one")}, key},
		{codeDamaged, []string{p("flipped"), "damaged"}, []string{p("flipped")}, key},
		{codeDamaged, []string{"standard input", "incomplete"}, []string{"-"}, key}, // which is empty
		{codeFailure, []string{"no such file"}, []string{p("none")}, key},
	} {
		args := append(append([]string{"restore"}, test.sources...), p("store"))
		refused(t, test.code, test.words, append(args, test.key...)...)
		expect.Missing(t, p("store/volume.json"))
	}
	for target, code := range map[string]int{store: 4, p("full"): codeNoStore, p("missing/store"): codeFailure, b: codeNoStore} {
		refused(t, code, nil, append([]string{"restore", p("full"), target}, key...)...)
	}
	d.Unmount()
	refused(t, codeNoStore, []string{"already"}, append([]string{"restore", p("full"), store}, key...)...)
	expect.OK(t, os.RemoveAll(p("store")), "remove what is left")
	drive.Must(t, drive.Binary(t), append([]string{"restore", p("full"), p("one"), p("two"), p("store")}, key...)...)
}

// TestDamagedVolume: the backup of a volume with errors restores it as it was, and says so.
func TestDamagedVolume(t *testing.T) {
	d := drive.New(t, drive.Options{})
	d.Damaged()
	b := d.Bucket("b")
	contents := expect.Random(1, 1<<20)
	expect.Write(t, filepath.Join(b, "damaged"), contents)
	expect.Write(t, filepath.Join(b, "sound"), contents)
	d.Unmount()
	damageContents(t, d.Store())
	file := filepath.Join(t.TempDir(), "backup")
	d.MustCLI("backup", file, "--key-file", d.KeyFile())
	store := filepath.Join(drive.Dir(t), "store")
	r := drive.CLI(t, "restore", file, store, "--data", "--key-file", d.KeyFile())
	if r.Code != codeDamaged || !bytes.Contains([]byte(r.Stdout), []byte("/b/")) || !bytes.Contains([]byte(r.Stderr), []byte("as it was")) {
		t.Errorf("restored a damaged volume: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	restored := drive.New(t, drive.Options{Store: store, KeyFile: d.KeyFile()})
	restored.Damaged()
	readable := 0
	for _, name := range []string{"damaged", "sound"} {
		if got, err := os.ReadFile(restored.Path("b", name)); err == nil {
			expect.Bytes(t, got, contents, "%s", name)
			readable++
		}
	}
	expect.Equal(t, readable, 1, "files that can be read")
}

// damageContents flips a bit in the middle of the largest value log, where contents lie.
func damageContents(t *testing.T, store string) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(store, "db", "*.vlog"))
	expect.OK(t, err, "look for value logs")
	var largest string
	var size int64
	for _, log := range logs {
		if st := expect.Stat(t, log); st.Size > size {
			largest, size = log, st.Size
		}
	}
	data := expect.Read(t, largest)
	data[300_000] ^= 1
	expect.OK(t, os.WriteFile(largest, data, 0o600), "write %s", largest)
}
