package mounts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:21 / /proc rw,nosuid shared:1 - proc proc rw
40 22 0:50 / /mnt/my\040drive rw,nosuid,nodev,relatime shared:2 master:1 - fuse.ssefs /srv/a\134b rw,user_id=1000,group_id=1000,allow_other
41 22 0:51 /sub /mnt/bind rw - tmpfs tmpfs rw
42 22 0:52 / /mnt/bind rw - fuse /dev/fuse rw,user_id=0,group_id=0
`

func TestParse(t *testing.T) {
	list, err := parse(strings.NewReader(sample))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 5 {
		t.Fatalf("got %d mounts, want 5", len(list))
	}
	m, ok := At(list, "/mnt/my drive")
	want := Mount{Device: "0:50", Root: "/", Point: "/mnt/my drive", Options: "rw,nosuid,nodev,relatime",
		Type: "fuse.ssefs", Source: `/srv/a\b`, Super: "rw,user_id=1000,group_id=1000,allow_other"}
	if !ok || m != want {
		t.Errorf("got  %+v\nwant %+v", m, want)
	}
	if uid, ok := m.UserID(); !ok || uid != 1000 {
		t.Errorf("UserID = %d, %v", uid, ok)
	}
	if m, ok := At(list, "/mnt/bind"); !ok || m.Device != "0:52" || !m.FUSE() {
		t.Errorf("the topmost mount at /mnt/bind is %+v", m)
	}
	if _, ok := At(list, "/mnt"); ok {
		t.Error("/mnt is not a mount point")
	}
	for path, device := range map[string]string{
		"/": "254:0", "/etc": "254:0", "/proc/1/x": "0:21", "/mnt/my drive/b/c": "0:50", "/mnt/my drive2": "254:0",
	} {
		if m, ok := Holding(list, path); !ok || m.Device != device {
			t.Errorf("Holding(%q) = %+v, want device %s", path, m, device)
		}
	}
	if _, ok := list[0].UserID(); ok {
		t.Error("ext4 has no user id")
	}
	if list[0].FUSE() {
		t.Error("ext4 is no FUSE file system")
	}
}

func TestParseRefusesOtherText(t *testing.T) {
	if _, err := parse(strings.NewReader("22 1 254:0 / /\n")); err == nil {
		t.Error("a short line passed")
	}
}

func TestListSeesProc(t *testing.T) {
	list, err := List()
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := At(list, "/proc"); !ok || m.Type != "proc" {
		t.Errorf("/proc: %+v, %v", m, ok)
	}
}

func TestCheckPoint(t *testing.T) {
	dir := t.TempDir()
	mk := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	store, empty, full := mk("store"), mk("empty"), mk("full")
	mk("full/x")
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CheckPoint(empty, store); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	tests := []struct{ point, store, say string }{
		{filepath.Join(dir, "none"), store, "mkdir"},
		{file, store, "not a directory"},
		{full, store, "not empty"},
		{empty, empty, "within each other"},
		{empty, filepath.Join(empty, "new"), "within each other"},
		{mk("store/db"), store, "within each other"},
	}
	for _, tt := range tests {
		err := CheckPoint(tt.point, tt.store)
		if !errors.Is(err, ErrUnsuitable) || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("CheckPoint(%s, %s) = %v, want it to say %q", tt.point, tt.store, err, tt.say)
		}
	}
}

func TestCanonicalKeepsLastElement(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if got, err := Canonical(filepath.Join(dir, "link", "gone")); err != nil || got != filepath.Join(dir, "real", "gone") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestUnmountOfNoMount(t *testing.T) {
	if err := Unmount(t.TempDir()); err == nil || errors.Is(err, ErrBusy) {
		t.Errorf("unmounting a plain directory: %v", err)
	}
}

func TestAllowsOther(t *testing.T) {
	for conf, want := range map[string]bool{
		"": false, "user_allow_other\n": true, "# user_allow_other\n": false, "mount_max = 5\n  user_allow_other # yes": true,
		"user_allow_others\n": false,
	} {
		if allowsOther(conf) != want {
			t.Errorf("allowsOther(%q) = %v", conf, !want)
		}
	}
}
