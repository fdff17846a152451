package kms

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// usage is what the tests need of kms usage --json.
type usage struct {
	Usage []struct {
		Bucket string `json:"bucket"`
		Op     string `json:"operation"`
		Uses   uint64 `json:"uses"`
		Calls  uint64 `json:"calls"`
	} `json:"usage"`
	Uses  uint64  `json:"uses"`
	Calls uint64  `json:"calls"`
	Cost  float64 `json:"cost"`
}

// of adds up the uses of a key for an operation in a bucket.
func (u usage) of(bucket, operation string) (uses, calls uint64) {
	for _, row := range u.Usage {
		if row.Bucket == bucket && row.Op == operation {
			uses += row.Uses
			calls += row.Calls
		}
	}
	return uses, calls
}

// TestCallsOfTenThousandFiles makes ten thousand files in a KMS bucket, and reads them after a remount: with bucket keys
// that takes a handful of calls of the master key, without them one for each file. The README has the figures.
func TestCallsOfTenThousandFiles(t *testing.T) {
	const files, workers = 10_000, 8
	d := drive.New(t, drive.Options{})
	key := createKey(t, d)
	dirs := map[string]string{}
	for name, mode := range map[string]string{"with": "on", "without": "off"} {
		d.MustCLI("bucket", "create", name, "--sse", "KMS", "--key-id", key, "--bucket-key", mode)
		dirs[name] = d.Path(name)
	}
	each := func(dir string, fn func(path string) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, workers)
		for w := range workers {
			wg.Go(func() {
				for i := w; i < files; i += workers {
					if err := fn(filepath.Join(dir, fmt.Sprint(i))); err != nil {
						errs <- err
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Fatal(err)
		}
	}
	for _, dir := range dirs {
		each(dir, func(path string) error { return os.WriteFile(path, []byte(path), 0o644) })
	}
	d.Remount()
	for _, dir := range dirs {
		each(dir, func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil && string(b) != path {
				err = fmt.Errorf("%s holds %q", path, b)
			}
			return err
		})
	}
	u := decode[usage](t, d.MustCLI("kms", "usage", "--json", "--price-per-10k", "0.3"))
	for _, tt := range []struct {
		bucket, operation string
		most, least       uint64
	}{{"with", "generate", 5, 1}, {"with", "decrypt", 5, 1}, {"without", "generate", files, files}, {"without", "decrypt", files, files}} {
		uses, calls := u.of(tt.bucket, tt.operation)
		t.Logf("bucket keys %s: %s of %d data keys took %d calls", tt.bucket, tt.operation, uses, calls)
		if uses != files || calls > tt.most || calls < tt.least {
			t.Errorf("%s, %s: %d uses and %d calls, want %d and %d to %d", tt.bucket, tt.operation, uses, calls, files, tt.least, tt.most)
		}
	}
	expect.Equal(t, u.Cost, 0.3*float64(u.Calls)/10_000, "cost")

	// The key cuts all of them off at once, bucket keys or not.
	r := d.CLI("kms", "schedule-deletion", key, "--yes")
	want := fmt.Sprintf("%d files depend on key %s: %d in bucket", 2*files, key, files)
	if r.Code != 0 || len(r.Stderr) < len(want)+7 || r.Stderr[len("ssefs: "):len("ssefs: ")+len(want)] != want {
		t.Errorf("exit %d, %q, want %q", r.Code, r.Stderr, want)
	}
	for _, dir := range dirs {
		for _, i := range []int{0, files / 2, files - 1} {
			if _, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i))); err == nil {
				t.Errorf("a file in %s can be read still", dir)
			}
		}
	}
	d.MustCLI("kms", "cancel-deletion", key)
	if b, err := os.ReadFile(filepath.Join(dirs["with"], "7")); err != nil || len(b) == 0 {
		t.Errorf("after cancel-deletion: %v", err)
	}
}
