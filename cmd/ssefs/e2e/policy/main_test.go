// Package policy has the tests of buckets and their encryption policies, through extended attributes and the command
// line of the mounted binary.
package policy

import (
	"encoding/json"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

const (
	policyAttr    = "user.sse.policy"
	algorithmAttr = "user.sse.algorithm"
	keyAttr       = "user.sse.key-id"
	versionAttr   = "user.sse.key-version"
	dataAttr      = "user.sse.data-algorithm"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// parse decodes what a command printed under --json.
func parse[T any](t *testing.T, out string) T {
	t.Helper()
	var v T
	expect.OK(t, json.Unmarshal([]byte(out), &v), "parse %q", out)
	return v
}

// createKey makes a customer master key and returns its ID.
func createKey(t *testing.T, d *drive.Drive) string {
	t.Helper()
	key := parse[struct {
		ID string `json:"id"`
	}](t, d.MustCLI("kms", "create", "--json"))
	if key.ID == "" {
		t.Fatalf("kms create --json tells no id")
	}
	return key.ID
}
