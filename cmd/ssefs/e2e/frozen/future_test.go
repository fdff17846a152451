package frozen

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// TestFuture: volumes of formats that this version does not know are refused, with a message that says so, and are not
// touched.
func TestFuture(t *testing.T) {
	for _, c := range []struct {
		name, old, fresh string
		says             []string
	}{
		{"format", `"format": 1,`, `"format": 2,`, []string{"version 2"}},
		{"feature", `"features": [],`, `"features": ["time-travel"],`, []string{"time-travel"}},
		{"format and feature", "\"format\": 1,\n  \"features\": [],", "\"format\": 3,\n  \"features\": [\"time-travel\"],", []string{"version 3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := unpack(t, "v1")
			v.alterHeader(c.old, c.fresh)
			before := v.sum()
			for _, args := range [][]string{
				{"mount", v.store, v.point}, {"mount", v.store, v.point, "-o", "ro"}, {"mount", v.store, v.point, "--create"},
				{"key", "list", "--store", v.store}, {"key", "accept-header", "--store", v.store}, {"bucket", "list", "--store", v.store},
				{"kms", "list", "--store", v.store}, {"fsck", v.store},
			} {
				code := 6
				if args[0] == "fsck" {
					code = 8 // as fsck(8): the check could not be carried out
				}
				r := drive.CLI(t, slices.Concat(args, v.keyFile)...)
				expect.Equal(t, r.Code, code, "exit code of %q", args)
				drive.OneLine(t, r)
				for _, s := range c.says {
					if !strings.Contains(r.Stderr, s) {
						t.Errorf("%q: the refusal does not say %q: %s", args, s, r.Stderr)
					}
				}
			}
			expect.Equal(t, v.sum(), before, "what is in the store, after it was refused")
		})
	}
}

// alterHeader changes volume.json, and makes its checksum right again: a program of the future writes no damaged one.
func (v *volume) alterHeader(old, fresh string) {
	v.t.Helper()
	path := v.store + "/volume.json"
	text := expect.Read(v.t, path)
	if bytes.Count(text, []byte(old)) != 1 {
		v.t.Fatalf("%q is not in volume.json once:\n%s", old, text)
	}
	body, _, ok := bytes.Cut(bytes.Replace(text, []byte(old), []byte(fresh), 1), []byte("  \"checksum\":"))
	if !ok {
		v.t.Fatalf("volume.json has no checksum:\n%s", text)
	}
	expect.Write(v.t, path, fmt.Appendf(body, "  \"checksum\": \"%x\"\n}\n", sha256.Sum256(body)))
}

// sum stands for names and contents of all files of the store but the lock, which tells who has it open.
func (v *volume) sum() string {
	v.t.Helper()
	h := sha256.New()
	expect.OK(v.t, filepath.WalkDir(v.store, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "lock" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(h, "%q %d\n%s", path, len(b), b)
		return err
	}), "read the store")
	return fmt.Sprintf("%x", h.Sum(nil))
}
