package kms

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestAuditSurvivesKill: what was done to keys is on record before it is done, and refusals within moments; kill -9 breaks
// neither chain, and they go on after it.
func TestAuditSurvivesKill(t *testing.T) {
	d := drive.New(t, drive.Options{})
	dir, key := kmsBucket(t, d, "b")
	file := filepath.Join(dir, "file")
	expect.Write(t, file, []byte("contents"))
	expect.OK(t, os.Chmod(file, 0o666), "chmod")
	expect.Open(t, file, unix.O_RDONLY, 0).Sync()
	expect.Errno(t, drive.As(t, drive.User(aliceID), func() error { return canOpen(file) }), unix.EACCES, "open without a grant")
	awaitRefusal(t, d)
	d.MustCLI("kms", "disable", key)
	d.Kill()
	d.Mount()
	check := func(when string, events ...string) {
		t.Helper()
		if r := d.CLI("kms", "audit", "--verify"); r.Code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", when, r.Code, r.Stdout, r.Stderr)
		}
		log := d.MustCLI("kms", "audit")
		for _, e := range events {
			if !strings.Contains(log, e) {
				t.Errorf("%s: no %q on record:\n%s", when, e, log)
			}
		}
	}
	check("after kill -9", " disable ", " refused ", "no grant on the key")
	d.MustCLI("kms", "enable", key)
	d.Kill()
	d.Mount()
	check("after another one", " enable ")
	// Denials by a disabled key are on record too.
	d.MustCLI("kms", "disable", key)
	expect.Errno(t, canOpen(file), unix.EKEYREVOKED, "open")
	check("while mounted", "key revoked")
}

// awaitRefusal waits until the daemon has written a refusal by itself: nothing else is on that chain yet, whose file is
// made for its first record.
func awaitRefusal(t *testing.T, d *drive.Drive) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		_, err := os.Stat(filepath.Join(d.Store(), "audit-use.001"))
		if err == nil {
			return
		}
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			t.Fatalf("the refusal is not written: %v", err)
		}
	}
}

// TestAuditTampering changes, removes, reorders and cuts off lines of the log of an unmounted volume: each is found.
func TestAuditTampering(t *testing.T) {
	d := drive.New(t, drive.Options{})
	key := createKey(t, d)
	for range 3 {
		d.MustCLI("kms", "disable", key)
		d.MustCLI("kms", "enable", key)
	}
	d.Unmount()
	verify := []string{"kms", "audit", "--verify", "--key-file", d.KeyFile()}
	d.MustCLI(verify...)
	path := filepath.Join(d.Store(), "audit-keys.001")
	whole, err := os.ReadFile(path)
	expect.OK(t, err, "read the log")
	lines := func() [][]byte {
		return bytes.SplitAfter(bytes.Clone(bytes.TrimSuffix(whole, []byte("\n"))), []byte("\n"))
	}
	if n := len(lines()); n < 8 {
		t.Fatalf("%d lines", n)
	}
	for what, change := range map[string]func(l [][]byte) [][]byte{
		"a line changed": func(l [][]byte) [][]byte {
			if l[4][20]++; l[4][20] == '{' || l[4][20] == '[' || l[4][20] == ':' || l[4][20] == ',' || l[4][20] == '0' {
				l[4][20] = 'A'
			}
			return l
		},
		"a line removed":        func(l [][]byte) [][]byte { return slices.Delete(l, 4, 5) },
		"two lines reordered":   func(l [][]byte) [][]byte { l[4], l[5] = l[5], l[4]; return l },
		"a line twice":          func(l [][]byte) [][]byte { return slices.Insert(l, 5, l[4]) },
		"the end cut off":       func(l [][]byte) [][]byte { return l[:5] },
		"the first line gone":   func(l [][]byte) [][]byte { return l[1:] },
		"everything but a head": func(l [][]byte) [][]byte { return l[:1] },
	} {
		tampered := bytes.Join(change(lines()), nil)
		if !bytes.HasSuffix(tampered, []byte("\n")) {
			tampered = append(tampered, '\n')
		}
		expect.OK(t, os.WriteFile(path, tampered, 0o600), "write the log")
		if r := d.CLI(verify...); r.Code != 7 || !strings.Contains(r.Stdout, "no") {
			t.Errorf("%s: exit %d, %s%s", what, r.Code, r.Stdout, r.Stderr)
		}
	}
	expect.OK(t, os.Remove(path), "remove the log")
	if r := d.CLI(verify...); r.Code != 7 {
		t.Errorf("the log removed: exit %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	expect.OK(t, os.WriteFile(path, whole, 0o600), "write the log")
}
