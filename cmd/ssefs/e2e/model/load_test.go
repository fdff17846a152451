package model

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// bulk writes more at once than a daemon keeps until the next epoch.
func (m *machine) bulk(t *rapid.T) {
	if rapid.IntRange(0, 3).Draw(t, "rare") != 0 {
		nothing("bulk is costly")
	}
	h := m.anyHandle(t)
	m.mustFit(h.file)
	m.writeAt(h, drawOffset(t, "offset"), rapid.Uint64().Draw(t, "seed"), 9<<20+rapid.SampledFrom([]int{0, 1, 4097}).
		Draw(t, "more"))
}

// scatter writes single blocks, or a part of each, far enough from one another to become records of their own.
func (m *machine) scatter(t *rapid.T) {
	h := m.anyHandle(t)
	m.mustFit(h.file)
	if h.flags&unix.O_APPEND != 0 || h.synced() {
		nothing("not for this file")
	}
	first, n := drawOffset(t, "offset"), rapid.SampledFrom([]int{20, 100, 300}).Draw(t, "number")
	stride := rapid.SampledFrom([]int64{2 * PageSize, 3*PageSize + 1, 17 * PageSize}).Draw(t, "stride")
	b := fill(rapid.Uint64().Draw(t, "seed"), rapid.SampledFrom([]int{PageSize, 100}).Draw(t, "length"))
	m.do(operation{
		what: fmt.Sprintf("write file %d from %d, %d times %d bytes, every %d", h.file, first, n, len(b), stride),
		model: func(next *FS) syscall.Errno {
			if !h.writable() {
				return unix.EBADF
			}
			for i := range n {
				next.Write(h.file, first+int64(i)*stride, b)
			}
			return 0
		},
		drive: func() error {
			for i := range n {
				if err := pwriteAll(h.fd, b, first+int64(i)*stride); err != nil {
					return err
				}
			}
			return nil
		},
		changes: func(*FS) []Change {
			var all []Change
			for i := range n {
				all = append(all, Change{File: h.file, Effect: Wrote, Off: first + int64(i)*stride, Len: int64(len(b))})
			}
			return all
		},
	})
}

// policy changes how the files that come are encrypted; those that are there stay as they are.
func (m *machine) policy(t *rapid.T) {
	if m.r.native {
		nothing("no policies")
	}
	p := rapid.SampledFrom([]string{"none", "AES256", "KMS"}).Draw(t, "policy")
	m.do(operation{
		what:  "policy " + p,
		model: func(*FS) syscall.Errno { return 0 },
		drive: func() error { return unix.Setxattr(m.root, "user.sse.policy", []byte(p), 0) },
	})
}

// makeNoise lets another goroutine work in a directory beside, so that commits and evictions happen at any time. What
// it does is not compared: other tests are about that.
func (m *machine) makeNoise() {
	m.t.Helper()
	dir := m.root + "-noise"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.fail("make a directory for the noise: %v", err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	m.stopNoise = sync.OnceFunc(func() {
		close(stop)
		<-done
		m.stopNoise = nil
	})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				_ = os.RemoveAll(dir) // the daemon may be dead
				return
			default:
				noise(dir)
			}
		}
	}()
}

// noise does one thing; nobody minds if it fails.
func noise(dir string) {
	p, q := path.Join(dir, fmt.Sprint(rand.IntN(20))), path.Join(dir, fmt.Sprint(rand.IntN(20)))
	switch rand.IntN(8) {
	case 0:
		_ = os.Mkdir(p, 0o755)
	case 1:
		_ = os.RemoveAll(p)
	case 2:
		_ = os.Rename(p, q)
	case 3:
		_ = os.Symlink(q, p)
	case 4:
		_ = os.Truncate(p, rand.Int64N(1<<21))
	default:
		f, err := os.OpenFile(p, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return
		}
		_, _ = f.WriteAt(fill(rand.Uint64(), 1+rand.IntN(1<<18)), rand.Int64N(1<<20))
		if rand.IntN(4) == 0 {
			_ = f.Sync()
		}
		_ = f.Close()
	}
}
