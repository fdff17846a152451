// Package errnos provokes, from outside, every row of the table of errnos: keys that are gone or disabled, a volume
// without KMS, damaged and full stores. EXDEV and the errors of the policy grammar are with what they belong to, in
// the packages posix and policy.
package errnos

import (
	"encoding/json"
	"fmt"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

const policyAttr = "user.sse.policy"

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{
		"mapping": drive.UseMapping,
	})
}

// createKey makes a customer master key and returns its ID.
func createKey(t *testing.T, d *drive.Drive) string {
	t.Helper()
	var key struct {
		ID string `json:"id"`
	}
	expect.OK(t, json.Unmarshal([]byte(d.MustCLI("kms", "create", "--json")), &key), "parse kms create --json")
	if key.ID == "" {
		t.Fatalf("kms create --json tells no id")
	}
	return key.ID
}

// kmsBucket makes a bucket under a key of its own.
func kmsBucket(t *testing.T, d *drive.Drive, name string) (dir, key string) {
	t.Helper()
	key = createKey(t, d)
	dir = d.Bucket(name)
	expect.SetXattr(t, dir, policyAttr, fmt.Sprintf("KMS:%s", key))
	return dir, key
}
