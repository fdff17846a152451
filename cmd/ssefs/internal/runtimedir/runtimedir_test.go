package runtimedir

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwn(t *testing.T) {
	dir := t.TempDir()
	env := func(value string) func(string) string {
		return func(name string) string {
			if name == "XDG_RUNTIME_DIR" {
				return value
			}
			return ""
		}
	}
	long := filepath.Join(dir, strings.Repeat("x", 100))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		uid       int
		xdg, want string
	}{
		{0, dir, "/run/ssefs"},
		{1000, dir, filepath.Join(dir, "ssefs")},
		{1000, "", "/tmp/ssefs-1000"},
		{1000, "relative", "/tmp/ssefs-1000"},
		{1000, filepath.Join(dir, "missing"), "/tmp/ssefs-1000"},
		{1000, long, "/tmp/ssefs-1000"},
	} {
		if got := Own(tt.uid, env(tt.xdg)); got != tt.want {
			t.Errorf("Own(%d, %q) = %q, want %q", tt.uid, tt.xdg, got, tt.want)
		}
	}
}

func TestEnsure(t *testing.T) {
	base, uid := t.TempDir(), os.Getuid()
	dir := filepath.Join(base, "run")
	for range 2 {
		if err := Ensure(dir, uid); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if err := Ensure(dir, uid+1); !errors.Is(err, ErrUnsafe) {
		t.Errorf("another user's directory: %v", err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(dir, uid); !errors.Is(err, ErrUnsafe) {
		t.Errorf("an open directory: %v", err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(link, uid); !errors.Is(err, ErrUnsafe) {
		t.Errorf("a symlink: %v", err)
	}
}

func TestSockets(t *testing.T) {
	dir, uid := t.TempDir(), os.Getuid()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := Sockets(filepath.Join(dir, "none"), uid); err != nil || len(got) != 0 {
		t.Errorf("a missing directory: %v, %v", got, err)
	}
	path := Socket(dir, "/srv/store")
	if path == Socket(dir, "/srv/other") {
		t.Error("two stores share a socket")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if err := os.WriteFile(Log(dir, "/srv/store"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Sockets(dir, uid); err != nil || len(got) != 1 || got[0] != path {
		t.Errorf("Sockets = %v, %v, want %s", got, err, path)
	}
	if got, err := Sockets(dir, uid+1); !errors.Is(err, ErrUnsafe) {
		t.Errorf("sockets in another user's directory are trusted: %v, %v", got, err)
	}
}
