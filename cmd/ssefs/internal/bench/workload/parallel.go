package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// readers is how many read one file at a time.
const readers = 1000

// parallelReaders has many readers read one file, each opening it and beginning somewhere else.
func parallelReaders() Workload {
	row := Row{Name: "parallel-readers", Title: "1,000 readers of one file, cold", Unit: MegabytesPerSecond}
	return Workload{
		Name: "parallel-readers",
		Rows: []Row{row},
		run: func(ctx context.Context, e *Env) error {
			const fileBytes, request = 16 << 20, 64 << 10
			path := filepath.Join(e.Dir, "shared")
			p := pattern.New(4)
			if err := writeFile(ctx, path, p, fileBytes, 1<<20); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			each := e.Scale.ReaderBytes
			read := func(i int) (err error) {
				f, err := os.Open(path)
				if err != nil {
					return err
				}
				defer closing(f, &err)
				buf := make([]byte, request)
				for done := int64(0); done < each && ctx.Err() == nil; done += request {
					at := (int64(i)*request + done) % fileBytes
					if _, err := f.ReadAt(buf, at); err != nil {
						return shortened(err)
					}
					for b := 0; b < request; b += pattern.BlockSize {
						if err := p.CheckStamp(buf[b:], uint64(at+int64(b))/pattern.BlockSize, 0); err != nil {
							return err
						}
					}
				}
				return ctx.Err()
			}
			if err := e.timed(row, amount{ops: readers * each / request, read: readers * each}, func() error {
				return together(readers, read)
			}); err != nil {
				return err
			}
			return verifyFile(ctx, path, p, fileBytes, pattern.Always)
		},
	}
}

// together calls do n times at once and returns the errors.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// twoWriters has two writers put files into one directory, each written under another name first and then renamed.
func twoWriters() Workload {
	row := Row{Name: "two-writers", Title: "two writers in one directory, files", Unit: PerSecond}
	return Workload{
		Name: "two-writers",
		Rows: []Row{row},
		run: func(ctx context.Context, e *Env) error {
			n := e.Scale.Files
			name := func(i int) string { return filepath.Join(e.Dir, fmt.Sprintf("f%07d", i)) }
			if err := e.timed(row, amount{ops: int64(n), written: int64(n) * pattern.BlockSize}, func() error {
				return together(2, func(w int) error {
					p := pattern.New(5)
					for i := w; i < n; i += 2 {
						if ctx.Err() != nil {
							return ctx.Err()
						}
						if err := createFile(name(i)+".new", p.Blocks(uint64(i), 1, 0)); err != nil {
							return err
						}
						if err := again(func() error { return unix.Rename(name(i)+".new", name(i)) }); err != nil {
							return fmt.Errorf("rename %s: %w", name(i), err)
						}
					}
					return nil
				})
			}); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			files, err := walkDir(ctx, e.Dir)
			if err == nil && files != n {
				err = fmt.Errorf("%w: %d files where %d were made", pattern.ErrWrong, files, n)
			}
			if err != nil {
				return err
			}
			p, buf := pattern.New(5), make([]byte, pattern.BlockSize+1)
			for i := range n {
				if err := checkFile(p, name(i), uint64(i), buf); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
