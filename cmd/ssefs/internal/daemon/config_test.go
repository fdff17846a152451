package daemon

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"ssefs/cmd/ssefs/internal/mountopt"
	"ssefs/crypto"
)

func TestHandover(t *testing.T) {
	o := mountopt.Defaults()
	if err := o.Parse("ro,allow_other,key-file=/k,memory=64M,noatime,bucket=b"); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Store: "/srv/a b", Mountpoint: "/mnt", Runtime: "/run/ssefs", Options: o}
	for _, s := range []crypto.Secret{
		crypto.PassphraseSecret([]byte("correct \x00 horse\n")),
		crypto.KeyFileSecret(bytes.Repeat([]byte{0xff}, 32)),
	} {
		var pipe bytes.Buffer
		if err := writeHandover(&pipe, cfg, s); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(pipe.Bytes())
		gotCfg, got, err := readHandover(&pipe)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(gotCfg, cfg) {
			t.Errorf("configuration\n got %+v\nwant %+v", gotCfg, cfg)
		}
		if got.Kind() != s.Kind() || !bytes.Equal(got.Bytes(), s.Bytes()) {
			t.Error("the secret changed on its way")
		}
		for n := range whole {
			if _, _, err := readHandover(bytes.NewReader(whole[:n])); err == nil {
				t.Fatalf("a handover cut off at %d of %d bytes passed", n, len(whole))
			}
		}
	}
}

func TestOpenLog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	write := func(text string) {
		t.Helper()
		f, err := OpenLog(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write("one\n")
	write("two\n")
	if got, err := os.ReadFile(path); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("the log is %q, %v", got, err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := os.Truncate(path, maxLog+1); err != nil {
		t.Fatal(err)
	}
	write("three\n")
	if got, err := os.ReadFile(path); err != nil || string(got) != "three\n" {
		t.Errorf("a long log was not put aside: %d bytes, %v", len(got), err)
	}
	if _, err := os.Stat(path + ".old"); err != nil {
		t.Error(err)
	}
	if err := os.Symlink(path, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(filepath.Join(dir, "link")); err == nil {
		t.Error("a symlink was followed")
	}
}
