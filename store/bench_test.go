package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// benchStore makes a store with n small records and n of 4 KiB, as an engine for
// small files would.
func benchStore(b *testing.B, opt Options, n int) (*Dir, *DB) {
	b.Helper()
	d, db, err := create(filepath.Join(b.TempDir(), "store"), opt)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < n; {
		var batch Batch
		for ; i < n && batch.LSMBytes() < 2<<20; i++ {
			batch.Put(fmt.Appendf(nil, "i%016d", i), bytes.Repeat([]byte{byte(i)}, 150))
			batch.Put(fmt.Appendf(nil, "d%016d", i), bytes.Repeat([]byte{byte(i)}, 4<<10))
			if i%8 == 0 {
				batch.Put(fmt.Appendf(nil, "l%016d", i), bytes.Repeat([]byte{byte(i)}, 64<<10))
			}
		}
		if _, err := db.Commit(&batch); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, ErrClosed) {
			b.Error(err)
		}
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	return d, db
}

// cpuTime starts measuring the processor time of this goroutine, which tells
// more than wall time on a busy machine, and returns what ends it.
func cpuTime(b *testing.B) func() {
	b.Helper()
	runtime.LockOSThread()
	used := func() int64 {
		var ru unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &ru); err != nil {
			b.Fatal(err)
		}
		return ru.Utime.Nano() + ru.Stime.Nano()
	}
	start := used()
	return func() {
		b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	}
}

// rssAnon returns the anonymous memory of the process in bytes.
func rssAnon(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		if rest, ok := bytes.CutPrefix(line, []byte("RssAnon:")); ok {
			kb, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb << 10
		}
	}
	b.Fatal("no RssAnon")
	return 0
}

// BenchmarkGet reads records at random: small ones, 4 KiB inline, 64 KiB in the
// value log, and none.
func BenchmarkGet(b *testing.B) {
	const n = 60_000
	_, db := benchStore(b, Options{}, n)
	debug.FreeOSMemory()
	b.Logf("RssAnon with the store open and idle: %d MiB", rssAnon(b)>>20)
	for _, kind := range []string{"i", "d", "l", "missing"} {
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			v := db.View()
			defer v.Release()
			defer cpuTime(b)()
			for i := range b.N {
				k := i * 7919 % n &^ 7
				err := v.Get(fmt.Appendf(nil, "%s%016d", kind, k), func([]byte) error { return nil })
				if err != nil && kind != "missing" {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkGetDuringCommits reads while commits are made.
func BenchmarkGetDuringCommits(b *testing.B) {
	_, db := benchStore(b, Options{}, 10_000)
	var stop atomic.Bool
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && !stop.Load(); i++ {
			var batch Batch
			batch.Put(fmt.Appendf(nil, "d%016d", i%10_000), make([]byte, 4<<10))
			_, err = db.Commit(&batch)
		}
		done <- err
	}()
	b.ResetTimer()
	for i := range b.N {
		v := db.View()
		if err := v.Get(fmt.Appendf(nil, "i%016d", i%10_000), func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
		v.Release()
	}
	stop.Store(true)
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCommit makes commits of a small record and a value.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20, 8 << 20} {
		b.Run(fmt.Sprintf("%dK", size>>10), func(b *testing.B) {
			_, db := benchStore(b, Options{}, 1)
			value := make([]byte, size)
			b.SetBytes(int64(size))
			b.ResetTimer()
			for i := range b.N {
				var batch Batch
				batch.Put([]byte("head"), make([]byte, 150))
				for rest, n := size, 0; rest > 0; rest -= 1 << 20 {
					batch.Put(fmt.Appendf(nil, "d%08d.%d", i%200, n), value[:min(rest, 1<<20)])
					n++
				}
				if _, err := db.Commit(&batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFill stores inline values as fast as they go, which is what takes most
// memory: memtables fill, are flushed and compacted at once. Run it with
// GOMEMLIMIT set, as a daemon would be.
func BenchmarkFill(b *testing.B) {
	_, db := benchStore(b, Options{}, 1)
	value := make([]byte, 4<<10)
	var peak int64
	b.SetBytes(1 << 20)
	b.ResetTimer()
	for i := range b.N {
		var batch Batch
		for j := range 256 {
			batch.Put(fmt.Appendf(nil, "f%04d%08d", j*31%256, i), value)
		}
		if _, err := db.Commit(&batch); err != nil {
			b.Fatal(err)
		}
		if i%8 == 0 {
			peak = max(peak, rssAnon(b))
		}
	}
	b.ReportMetric(float64(peak>>20), "MiB-anon")
}

// BenchmarkIterate goes through all records.
func BenchmarkIterate(b *testing.B) {
	const n = 60_000
	_, db := benchStore(b, Options{}, n)
	v := db.View()
	defer v.Release()
	for _, kind := range []string{"i", "d", "l"} {
		b.Run(kind, func(b *testing.B) {
			for range b.N {
				sum := 0
				if err := v.Iterate([]byte(kind), nil, func(_, value []byte) error {
					sum++
					return nil
				}); err != nil || sum == 0 {
					b.Fatal(sum, err)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*sum), "ns/record")
			}
		})
	}
}

// BenchmarkOpen opens and closes: an empty store, and one with records.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{1, 60_000} {
		b.Run(fmt.Sprintf("%d", n), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "store")
			d, db := benchStore(b, Options{}, n)
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
			if err := os.CopyFS(path, os.DirFS(d.Path())); err != nil {
				b.Fatal(err)
			}
			d2, err := OpenDir(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				db, err := d2.OpenDB(Options{})
				if err != nil {
					b.Fatal(err)
				}
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if err := d2.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
