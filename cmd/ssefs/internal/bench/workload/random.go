package workload

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// random reads and writes single blocks of one file at random places, from several threads at a time.
func random(threads int) Workload {
	suffix, with := fmt.Sprintf("-%d", threads), fmt.Sprintf(", %d threads", threads)
	if threads == 1 {
		with = ", 1 thread"
	}
	row := func(what, title string) Row {
		return Row{Name: "rand-" + what + suffix, Title: "random 4k " + title + with, Unit: PerSecond}
	}
	read, write, synced := row("read-cold", "read cold"), row("write", "write, fsync at end"), row("write-sync", "write, fdatasync each")
	return Workload{
		Name: "random" + suffix,
		Rows: []Row{read, write, synced},
		run: func(ctx context.Context, e *Env) error {
			r := &randomFile{path: filepath.Join(e.Dir, "random"), bytes: e.Scale.RandomFile, threads: threads, p: pattern.New(randomSeed)}
			r.versions = make([]uint32, r.bytes/pattern.BlockSize)
			if err := writeFile(ctx, r.path, r.p, r.bytes, 1<<20); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			ops := min(e.Scale.RandomOps, len(r.versions))
			if err := e.timed(read, amount{ops: int64(ops), read: int64(ops) * pattern.BlockSize}, func() error {
				return r.read(ctx, ops)
			}); err != nil {
				return err
			}
			for _, w := range []struct {
				row  Row
				ops  int
				sync func(fd int) error
			}{
				{write, e.Scale.RandomOps, func(int) error { return nil }},
				{synced, e.Scale.SyncedOps, unix.Fdatasync},
			} {
				if err := e.timed(w.row, amount{ops: int64(w.ops), written: int64(w.ops) * pattern.BlockSize}, func() error {
					return r.write(ctx, w.ops, w.sync)
				}); err != nil {
					return err
				}
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			return verifyFile(ctx, r.path, r.p, r.bytes, func(block uint64) uint32 { return r.versions[block] })
		},
	}
}

// randomSeed is the seed of the contents of random files.
const randomSeed = 2

// randomFile is a file that threads read and write at random. Each thread has the blocks of its own whose number is
// its own modulo the number of threads, so that no two write the same one.
type randomFile struct {
	path     string
	bytes    int64
	threads  int
	p        *pattern.Pattern
	versions []uint32 // of each block; the thread that a block belongs to guards it
}

// each runs do in every thread with the file open, a random source, and its share of n operations.
func (r *randomFile) each(n int, do func(f *os.File, thread, ops int, random *rand.Rand) error) (err error) {
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer closing(f, &err)
	// Otherwise reads of single blocks are taken for the start of a sequential read now and then.
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return fmt.Errorf("fadvise: %w", err)
	}
	if err := together(r.threads, func(t int) error {
		ops := n / r.threads
		if t < n%r.threads {
			ops++
		}
		return do(f, t, ops, rand.New(rand.NewPCG(uint64(t), uint64(n))))
	}); err != nil {
		return err
	}
	return f.Sync()
}

// own returns the blocks that belong to a thread in random order.
func (r *randomFile) own(thread int, random *rand.Rand) []uint64 {
	var blocks []uint64
	for b := thread; b < len(r.versions); b += r.threads {
		blocks = append(blocks, uint64(b))
	}
	random.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	return blocks
}

// read reads blocks, none of them twice: a second time it would come from memory.
func (r *randomFile) read(ctx context.Context, n int) error {
	return r.each(n, func(f *os.File, thread, ops int, random *rand.Rand) error {
		buf := make([]byte, pattern.BlockSize)
		for i, b := range r.own(thread, random)[:ops] {
			if i%64 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if _, err := f.ReadAt(buf, int64(b)*pattern.BlockSize); err != nil {
				return shortened(err)
			}
			if err := r.p.CheckStamp(buf, b, r.versions[b]); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes blocks and calls sync after each.
func (r *randomFile) write(ctx context.Context, n int, sync func(fd int) error) error {
	return r.each(n, func(f *os.File, thread, ops int, random *rand.Rand) error {
		p := pattern.New(randomSeed)
		blocks := r.own(thread, random)
		for i := range ops {
			if i%64 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			b := blocks[i%len(blocks)]
			r.versions[b]++
			if _, err := f.WriteAt(p.Blocks(b, 1, r.versions[b]), int64(b)*pattern.BlockSize); err != nil {
				return err
			}
			if err := sync(int(f.Fd())); err != nil {
				return fmt.Errorf("fdatasync: %w", err)
			}
		}
		return nil
	})
}
