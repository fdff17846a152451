package mounting

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestOtherVersion: a store of another version, or with a feature that this build does not know, is not touched.
func TestOtherVersion(t *testing.T) {
	s := newSite(t)
	s.created()
	header := filepath.Join(s.store, "volume.json")
	original := expect.Read(t, header)
	for what, change := range map[string]func() []byte{
		"a later version": func() []byte { return bytes.Replace(original, []byte(`"format": 1`), []byte(`"format": 2`), 1) },
		"an unknown feature": func() []byte {
			return bytes.Replace(original, []byte(`"features": ["journal"]`), []byte(`"features": ["journal", "new"]`), 1)
		},
	} {
		changed := change()
		if bytes.Equal(changed, original) {
			t.Fatalf("volume.json does not have the text that makes %s", what)
		}
		expect.OK(t, os.WriteFile(header, changed, 0o600), "write volume.json")
		failed(t, s.mount(), 6, what)
		failed(t, s.mount("--create"), 6, what+", with --create")
		r := drive.CLI(t, "fsck", s.store, "--key-file", s.key)
		failed(t, r, 8, "fsck of "+what)
		expect.Contents(t, header, changed)
	}
	expect.OK(t, os.WriteFile(header, original, 0o600), "write volume.json")
	s.mustMount()
	s.unmount()
}

// TestDamagedHeader: volume.json cut anywhere or changed anywhere is one clear refusal.
func TestDamagedHeader(t *testing.T) {
	s := newSite(t)
	s.created()
	header := filepath.Join(s.store, "volume.json")
	original := expect.Read(t, header)
	for i := range 12 {
		n := len(original) * i / 12
		expect.OK(t, os.WriteFile(header, original[:n], 0o600), "write volume.json")
		failed(t, s.mount(), 7, fmt.Sprintf("volume.json cut to %d bytes", n))
		if i == 0 || i == 6 {
			failed(t, s.mount("--create"), 7, fmt.Sprintf("--create over volume.json cut to %d bytes", n))
		}
	}
	for i := range 12 {
		changed := bytes.Clone(original)
		changed[len(original)*i/12] ^= 1
		expect.OK(t, os.WriteFile(header, changed, 0o600), "write volume.json")
		r := s.mount()
		if r.Code != 7 && r.Code != 6 {
			t.Errorf("volume.json with byte %d changed: exit %d, want 7: %s", len(original)*i/12, r.Code, r.Stderr)
		}
		drive.OneLine(t, r)
	}
	expect.OK(t, os.WriteFile(header, original, 0o600), "write volume.json")
	s.mustMount()
	s.unmount()
}

// TestTruncatedStore: each file of a store cut short, emptied or missing is one clear refusal, or does no harm: never
// a crash and never an empty drive in the place of a full one.
func TestTruncatedStore(t *testing.T) {
	s := newSite(t)
	s.mustMount("--create")
	bucket := filepath.Join(s.point, "bucket")
	expect.Mkdir(t, bucket)
	want := expect.Random(1, 200_000)
	expect.Write(t, filepath.Join(bucket, "file"), want)
	s.unmount()
	var files []string
	for _, pattern := range []string{"*", "db/*"} {
		found, err := filepath.Glob(filepath.Join(s.store, pattern))
		expect.OK(t, err, "list the store")
		for _, p := range found {
			if name := filepath.Base(p); expect.Lstat(t, p).Mode&unix.S_IFMT == unix.S_IFREG && name != "lock" && name != "LOCK" {
				files = append(files, p)
			}
		}
	}
	if len(files) < 5 {
		t.Fatalf("a store of %d files: %q", len(files), files)
	}
	kept := s.base + "/kept"
	drive.Must(t, "cp", "-a", "--sparse=always", s.store, kept)
	for _, p := range files {
		size := expect.Lstat(t, p).Size
		for _, n := range []int64{size / 2, 0, -1} {
			what := fmt.Sprintf("%s cut to %d of %d bytes", filepath.Base(p), n, size)
			if n < 0 {
				what = filepath.Base(p) + " missing"
				expect.OK(t, unix.Unlink(p), "unlink")
			} else {
				expect.OK(t, unix.Truncate(p, n), "truncate")
			}
			r := s.mount()
			if r.Code != 0 {
				drive.OneLine(t, r)
				expect.Equal(t, r.Code, 7, "exit of a mount with %s: %s", what, r.Stderr)
				drive.NothingLeft(t, s.store, s.point)
			} else {
				got, err := os.ReadFile(filepath.Join(bucket, "file"))
				if err == nil {
					expect.Bytes(t, got, want, "the file with %s", what)
				} else {
					expect.Errno(t, err, unix.EIO, "read with %s", what)
				}
				s.unmount()
			}
			t.Logf("%s: exit %d %s", what, r.Code, r.Stderr)
			expect.OK(t, os.RemoveAll(s.store), "remove the store")
			drive.Must(t, "cp", "-a", "--sparse=always", kept, s.store)
		}
	}
	s.mustMount()
	expect.Contents(t, filepath.Join(bucket, "file"), want)
	s.unmount()
}
