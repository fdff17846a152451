// Package forgery has the campaign of an attacker who can write to a store while it is not mounted, and has no key. The
// attacker knows FORMAT.md, keeps copies of the store from before, has a second volume that the same key file opens, and
// changes records past everything that ssefs checks (package raw), or the files themselves.
//
// After each attack the store is checked with `ssefs fsck --data`, mounted, and read from end to end. Every answer has to
// be the right one or EIO; where an older state cannot be told from the newest one by reading, as SECURITY.md says, it
// may be the older one. What is noticed has to be logged with path and kind of record, and fsck has to find all.
//
// The environment chooses what a campaign does (scripts/forgery): SSEFS_FORGERY_SEED and SSEFS_FORGERY_ROUNDS;
// SSEFS_FORGERY_KEEP names a directory that takes the stores on which something went wrong. Without it the seed is fixed.
package forgery

import (
	"os"
	"strconv"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// everything tells whether a campaign was asked for. Otherwise attacks that need a store each are left out where others
// are like them.
func everything() bool { return os.Getenv("SSEFS_FORGERY_ROUNDS") != "" }

// number returns a number from the environment.
func number(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}
