// Package suites runs public conformance tests of others on the mounted binary.
package suites

import (
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// impossible is the one test of go-fuse's suite that no file system passes: it wants two descriptors of one process to
// stand in each other's way with classic record locks, which belong to the process. Upstream leaves it out as well; the
// package posix tests what it means, between processes.
const impossible = "FcntlFlockLocksFile"

// TestPosixtest runs go-fuse's suite in a bucket of each mode, and on a drive that is root's alone. A test that skips
// itself for want of a feature fails here.
func TestPosixtest(t *testing.T) {
	for name, options := range map[string]drive.Options{
		"AES256":  {Create: []string{"--default-policy", "AES256"}},
		"KMS":     {Create: []string{"--default-policy", "KMS"}},
		"none":    {Create: []string{"--default-policy", "none"}},
		"private": {Private: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := drive.New(t, options)
			bucket := d.Bucket("suite")
			ran := 0
			for name, test := range posixtest.All {
				if name == impossible {
					continue
				}
				dir := filepath.Join(bucket, name)
				expect.OK(t, os.Mkdir(dir, 0o755), "mkdir")
				skipped := false
				t.Run(name, func(t *testing.T) {
					defer func() { skipped = t.Skipped() }()
					test(t, dir)
				})
				if skipped {
					t.Errorf("%s: skipped itself", name)
				}
				ran++
			}
			if ran < 30 {
				t.Errorf("the suite has only %d tests", ran)
			}
		})
	}
}
