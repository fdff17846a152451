package volume

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ssefs/fs/record"
	"ssefs/store"
)

func benchVolume(b *testing.B) *testVolume {
	return newTestVolumeOn(b, Options{}, store.Options{})
}

// BenchmarkCreate makes and writes files of 4 KiB, and commits them.
func BenchmarkCreate(b *testing.B) {
	x := benchVolume(b)
	data := noise(1, 4096)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := x.newFile(fmt.Sprintf("/b/%d", i))
		x.must(x.v.WriteBack(n, 0, data))
		x.v.Unpin(n)
	}
	x.must(x.v.Sync())
}

// BenchmarkCreateUnlink makes and removes empty files.
func BenchmarkCreateUnlink(b *testing.B) {
	x := benchVolume(b)
	dir := x.inode("/b")
	b.ReportAllocs()
	for b.Loop() {
		x.v.Unpin(x.newFile("/b/f"))
		x.must(x.v.Unlink(dir, "f"))
	}
	x.must(x.v.Sync())
}

// BenchmarkRandomWrite writes 4 KiB at random places of a file of 256 MiB.
func BenchmarkRandomWrite(b *testing.B) {
	x := benchVolume(b)
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	data := noise(1, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	b.SetBytes(4096)
	b.ReportAllocs()
	for b.Loop() {
		x.must(x.v.WriteBack(n, uint64(r.IntN(1<<16))<<12, data))
	}
	x.must(x.v.Sync())
}

// BenchmarkFsync writes 4 KiB at a random place and makes it durable.
func BenchmarkFsync(b *testing.B) {
	x := benchVolume(b)
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	x.write(n, 0, noise(1, 16<<20))
	x.must(x.v.Sync())
	data := noise(1, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		x.must(x.v.WriteBack(n, uint64(r.IntN(4096))<<12, data))
		x.must(x.v.SyncInode(n))
	}
}

// BenchmarkSequentialWrite writes requests of 1 MiB one after another.
func BenchmarkSequentialWrite(b *testing.B) {
	x := benchVolume(b)
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	data := noise(1, 1<<20)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x.must(x.v.WriteBack(n, uint64(i%512)<<20, data))
	}
	x.must(x.v.Sync())
}

// BenchmarkRead reads from a file of 64 MiB that is stored.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{4 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			x := benchVolume(b)
			n := x.newFile("/b/f")
			defer x.v.Unpin(n)
			const total = 64 << 20
			x.write(n, 0, noise(1, total))
			x.must(x.v.Sync())
			buf := make([]byte, size)
			r := rand.New(rand.NewPCG(1, 2))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := x.v.Read(n, buf, uint64(r.IntN(total/size)*size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEpoch commits an epoch of 2000 inodes whose modes changed.
func BenchmarkEpoch(b *testing.B) {
	x := benchVolume(b)
	const files = 2000
	inodes := make([]*Inode, files)
	for i := range inodes {
		inodes[i] = x.newFile(fmt.Sprintf("/b/%d", i))
		defer x.v.Unpin(inodes[i])
	}
	x.must(x.v.Sync())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		mode := uint32(i & 0o777)
		for _, n := range inodes {
			x.must(x.v.SetAttr(n, Change{Mode: &mode}))
		}
		x.must(x.v.Sync())
	}
}

// BenchmarkListing lists 10,000 names, alone and as READDIRPLUS does.
func BenchmarkListing(b *testing.B) {
	const atOnce = 200 // entries that ls(1) has room for
	for _, files := range []int{100, 10_000} {
		x := benchVolume(b)
		for i := range files {
			x.v.Unpin(x.newFile(fmt.Sprintf("/b/%d", i)))
		}
		x.reopen() // without inodes in memory
		d := x.resolve("/b")
		defer x.v.Unpin(d)
		b.Run(fmt.Sprintf("names-%d", files), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				x.must(x.v.NewListing(d).Each(x.v, func(record.Entry, uint64) bool { return true }))
			}
		})
		b.Run(fmt.Sprintf("attributes-%d", files), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l, after, more := x.v.NewListing(d), uint64(0), true
				for more {
					n := 0
					more = false
					fits := func(record.Entry) bool { n++; return n <= atOnce }
					x.must(l.ReadAttrs(x.v, after, fits, func(e *Listed) bool {
						x.must(e.Err)
						after, more = e.Cookie, true
						return true
					}))
				}
			}
		})
	}
}

// BenchmarkLookup finds a name of a stored directory, its inode in memory.
func BenchmarkLookup(b *testing.B) {
	x := benchVolume(b)
	x.v.Unpin(x.newFile("/b/f"))
	x.must(x.v.Sync())
	dir := x.inode("/b")
	b.ReportAllocs()
	for b.Loop() {
		n, err := x.v.Lookup(dir, "f")
		if err != nil {
			b.Fatal(err)
		}
		x.v.Unpin(n)
	}
}
