package posix

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// entries is how many a large directory has: a hundred thousand, or what SSEFS_E2E_ENTRIES says.
func entries(t *testing.T) int {
	t.Helper()
	s := os.Getenv("SSEFS_E2E_ENTRIES")
	if s == "" {
		return 100_000
	}
	n, err := strconv.Atoi(s)
	expect.OK(t, err, "SSEFS_E2E_ENTRIES")
	return n
}

// inParallel calls fn for 0 to n-1 from several goroutines and ends the test on an error.
func inParallel(t *testing.T, n int, fn func(i int) error) {
	t.Helper()
	const workers = 4
	var group sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				if err := fn(i); err != nil {
					errs <- fmt.Errorf("entry %d: %w", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		expect.OK(t, err, "work on many entries")
	}
}

func TestManyEntries(t *testing.T) {
	d, dir := bucket(t)
	n := entries(t)
	name := func(i int) string { return filepath.Join(dir, fmt.Sprint("entry-", i)) }
	inParallel(t, n, func(i int) error { return unix.Mknod(name(i), unix.S_IFREG|0o644, 0) })
	d.Remount()
	count := func(want int) {
		t.Helper()
		seen := make(map[string]bool, want)
		for _, s := range expect.Names(t, dir) {
			seen[s] = true
		}
		expect.Equal(t, len(seen), want, "distinct names")
	}
	count(n)
	// Any of them is found without a listing.
	for i := 0; i < n; i += n / 97 {
		expect.Equal(t, expect.Stat(t, name(i)).Nlink, 1, "nlink")
	}
	expect.Missing(t, name(n))
	inParallel(t, n/2, func(i int) error { return unix.Unlink(name(2 * i)) })
	count(n - n/2)
	drive.Must(t, "rm", "-r", dir)
	expect.Missing(t, dir)
}
