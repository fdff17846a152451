// Package kms drives key management from outside: every command and every refusal of `ssefs kms`, grants among real
// users, keys that end while their files are in use, what uses of keys cost, imported material, the audit log and backups.
//
// The commands are written down as scripts in testdata, which run against a mounted volume and against one that is not.
package kms

import (
	"encoding/json"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

const policyAttr = "user.sse.policy"

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{"mapping": drive.UseMapping})
}

// decode reads what a command printed with --json.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	expect.OK(t, json.Unmarshal([]byte(text), &v), "parse %q", text)
	return v
}

// keyInfo is what the tests need of a key's description.
type keyInfo struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Current int    `json:"current_version"`
}

// createKey makes a customer master key and returns its ID.
func createKey(t *testing.T, d *drive.Drive, args ...string) string {
	t.Helper()
	key := decode[keyInfo](t, d.MustCLI(append([]string{"kms", "create", "--json"}, args...)...))
	if key.ID == "" {
		t.Fatalf("kms create --json tells no id")
	}
	return key.ID
}

// kmsBucket makes a bucket, open to every user, under a new key.
func kmsBucket(t *testing.T, d *drive.Drive, name string) (dir, key string) {
	t.Helper()
	key = createKey(t, d)
	dir = d.Bucket(name)
	expect.SetXattr(t, dir, policyAttr, "KMS:"+key)
	return dir, key
}

// fails runs a command that has to be refused with an exit code, in one line.
func fails(t *testing.T, d *drive.Drive, code int, args ...string) string {
	t.Helper()
	r := d.CLI(args...)
	if r.Code != code {
		t.Errorf("ssefs %q: exit %d, want %d: %s", args, r.Code, code, r.Stderr)
	}
	drive.OneLine(t, r)
	return r.Stderr
}
