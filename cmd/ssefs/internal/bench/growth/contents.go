package growth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// step is how many bytes are written and read at a time in order.
const step = pattern.Period * pattern.BlockSize

// sizes grows a file.
func sizes(o Options) func(ctx context.Context, g *grown) error {
	return func(ctx context.Context, g *grown) error {
		for _, n := range o.Bytes {
			g.point(sizeName(n))
			f := newBigFile(g, n)
			if err := f.write(ctx); err != nil {
				return err
			}
			if err := f.probe(ctx); err != nil {
				return err
			}
			if err := f.read(ctx, "read in order, cold"); err != nil {
				return err
			}
			if err := g.memory(g.mount); err != nil {
				return err
			}
			if err := os.Remove(f.path); err != nil {
				return err
			}
		}
		if o.Sparse == 0 {
			return nil
		}
		g.point(sizeName(o.Sparse) + " sparse")
		f := newBigFile(g, o.Sparse)
		if err := f.makeSparse(); err != nil {
			return err
		}
		return f.probe(ctx)
	}
}

// overwrites grows the number of blocks of a file that were overwritten at random.
func overwrites(o Options) func(ctx context.Context, g *grown) error {
	return func(ctx context.Context, g *grown) error {
		const stages = 10
		f := newBigFile(g, o.Overwritten)
		g.point("fresh")
		if err := f.write(ctx); err != nil {
			return err
		}
		if err := f.read(ctx, "read in order, cold"); err != nil {
			return err
		}
		for stage := 1; stage <= stages; stage++ {
			g.point(fmt.Sprint(stage * o.Overwrites / stages))
			if err := f.overwrite(ctx, "write at random, fsync at end", o.Overwrites/stages); err != nil {
				return err
			}
			if stage == stages {
				break
			}
			if err := f.read(ctx, "read in order, cold"); err != nil {
				return err
			}
		}
		if err := f.read(ctx, "read in order, cold"); err != nil {
			return err
		}
		g.point("after a rest")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(o.Rest):
		}
		if err := f.read(ctx, "read in order, cold"); err != nil {
			return err
		}
		if err := g.mounts(ctx); err != nil {
			return err
		}
		return g.memory(g.mount)
	}
}

func sizeName(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// bigFile is a file whose blocks have versions.
type bigFile struct {
	*grown
	path     string
	bytes    int64
	versions map[uint64]uint32 // of blocks that were written at random
	sparse   bool              // there is nothing else in it
	p        *pattern.Pattern
	random   *rand.Rand
}

func newBigFile(g *grown, bytes int64) *bigFile {
	return &bigFile{
		grown: g, path: filepath.Join(g.mount.Dir(), "file"), bytes: bytes, versions: map[uint64]uint32{},
		p: pattern.New(8), random: rand.New(rand.NewPCG(uint64(bytes), 8)),
	}
}

func (f *bigFile) version(block uint64) uint32 { return f.versions[block] }

// open opens the file, calls do and closes it.
func (f *bigFile) open(flags int, do func(file *os.File) error) error {
	file, err := os.OpenFile(f.path, flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(file), file.Close())
}

// write writes the file in order.
func (f *bigFile) write(ctx context.Context) error {
	return f.rate("write in order + fsync", "MB/s", float64(f.bytes)/1e6, func() error {
		return f.open(os.O_CREATE|os.O_TRUNC|os.O_WRONLY, func(file *os.File) error {
			for at := int64(0); at < f.bytes; at += step {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if _, err := file.Write(f.p.Blocks(uint64(at/pattern.BlockSize), pattern.Period, 0)); err != nil {
					return err
				}
			}
			return file.Sync()
		})
	})
}

// read reads the file in order and checks it, with the drive cold.
func (f *bigFile) read(ctx context.Context, name string) error {
	if err := f.mount.Cold(ctx); err != nil {
		return err
	}
	buf := make([]byte, step)
	return f.rate(name, "MB/s", float64(f.bytes)/1e6, func() error {
		return f.open(os.O_RDONLY, func(file *os.File) error {
			for at := int64(0); at < f.bytes; at += step {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if _, err := io.ReadFull(file, buf); err != nil {
					return err
				}
				if err := f.p.Check(buf, uint64(at/pattern.BlockSize), f.version); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// makeSparse makes a file of nothing but a hole.
func (f *bigFile) makeSparse() error {
	f.sparse = true
	return f.open(os.O_CREATE|os.O_WRONLY, func(file *os.File) error { return file.Truncate(f.bytes) })
}

// probe times single blocks at random, with the drive cold.
func (f *bigFile) probe(ctx context.Context) error {
	blocks := f.bytes / pattern.BlockSize
	n := int(min(int64(f.probes), blocks))
	chosen := map[uint64]bool{} // in another order each time it is gone through, and none twice
	for len(chosen) < n {
		chosen[f.random.Uint64N(uint64(blocks))] = true
	}
	if err := f.mount.Cold(ctx); err != nil {
		return err
	}
	buf := make([]byte, pattern.BlockSize)
	if err := f.rate("read at random, cold", "1/s", float64(n), func() error {
		return f.open(os.O_RDONLY, func(file *os.File) error {
			if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
				return err
			}
			for b := range chosen {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if _, err := file.ReadAt(buf, int64(b)*pattern.BlockSize); err != nil {
					return err
				}
				if err := f.check(buf, b); err != nil {
					return err
				}
			}
			return nil
		})
	}); err != nil {
		return err
	}
	return f.overwrite(ctx, "write at random, fsync at end", n)
}

// check checks a block.
func (f *bigFile) check(b []byte, block uint64) error {
	if !f.sparse || f.versions[block] > 0 {
		return f.p.Check(b, block, f.version)
	}
	if bytes.Count(b, []byte{0}) != len(b) {
		return fmt.Errorf("%w: block %d is not a hole", pattern.ErrWrong, block)
	}
	return nil
}

// overwrite writes blocks at random.
func (f *bigFile) overwrite(ctx context.Context, name string, n int) error {
	return f.rate(name, "1/s", float64(n), func() error {
		return f.open(os.O_WRONLY, func(file *os.File) error {
			for range n {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				b := f.random.Uint64N(uint64(f.bytes / pattern.BlockSize))
				version := f.version(b) + 1
				f.versions[b] = version
				if _, err := file.WriteAt(f.p.Blocks(b, 1, version), int64(b)*pattern.BlockSize); err != nil {
					return err
				}
			}
			return file.Sync()
		})
	})
}
