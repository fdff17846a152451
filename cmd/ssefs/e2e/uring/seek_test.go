package uring

import (
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/expect"
)

// TestSeekersTogether: seeking for data has the kernel write back first, so its handler waits for other requests. As
// many as there are rings for one processor, at once and on that one, must not wait for one another.
func TestSeekersTogether(t *testing.T) {
	d, _ := newDrive(t)
	dir := d.Bucket("b")
	const seekers, hole = 64, 1 << 20
	files := make([]*expect.File, seekers)
	for i := range files {
		files[i] = expect.Create(t, filepath.Join(dir, fmt.Sprint(i)))
	}
	for range 3 {
		for _, f := range files {
			f.Truncate(0)
			f.Pwrite([]byte("data behind a hole"), hole) // stays in the kernel's cache for now
		}
		var start, all sync.WaitGroup
		start.Add(1)
		for _, f := range files {
			all.Go(func() {
				runtime.LockOSThread() // bound to a processor, it ends with this goroutine
				var set unix.CPUSet
				set.Set(0)
				if err := unix.SchedSetaffinity(0, &set); err != nil {
					t.Errorf("bind the thread: %v", err)
				}
				start.Wait()
				off, err := unix.Seek(f.Fd, 0, unix.SEEK_DATA)
				if err != nil || off != hole {
					t.Errorf("SEEK_DATA: %d, %v; want %d", off, err, hole)
				}
			})
		}
		start.Done()
		all.Wait()
	}
	for _, f := range files {
		f.Close()
	}
}
