package growth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// files grows the number of files, of which perDir lie in a directory, or all in one if that is 0.
func files(o Options, perDir int) func(ctx context.Context, g *grown) error {
	return func(ctx context.Context, g *grown) error {
		f := &fileSeries{grown: g, perDir: perDir}
		for _, n := range o.Files {
			g.point(fmt.Sprint(n))
			if err := f.grow(ctx, n); err != nil {
				return err
			}
			if err := f.probe(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// fileSeries are files numbered from 0 on.
type fileSeries struct {
	*grown
	perDir int
	have   int
}

func (f *fileSeries) path(i int) string {
	dir := 0
	if f.perDir > 0 {
		dir = i / f.perDir
	}
	return filepath.Join(f.mount.Dir(), fmt.Sprintf("d%d", dir), fmt.Sprint(i))
}

// contents says which file it is.
func contents(i int) []byte {
	return fmt.Appendf(nil, "this is file number %d, and it has hardly more to say\n", i)
}

// grow makes files until there are n. The last ones are timed.
func (f *fileSeries) grow(ctx context.Context, n int) error {
	make := func(until int) error {
		for ; f.have < until; f.have++ {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			path := f.path(f.have)
			if f.have == 0 || f.perDir > 0 && f.have%f.perDir == 0 {
				if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
					return err
				}
			}
			if err := os.WriteFile(path, contents(f.have), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	if err := make(max(f.have, n-f.probes)); err != nil {
		return err
	}
	timed := n - f.have
	return f.rate("create", "1/s", float64(timed), func() error { return make(n) })
}

// probe times what can be done to files, with the drive cold before each.
func (f *fileSeries) probe(ctx context.Context) error {
	random := rand.New(rand.NewPCG(uint64(f.have), 1))
	some := func(do func(i int, path string) error) func() error {
		chosen := random.Perm(f.have)[:min(f.probes, f.have)]
		return func() error {
			for _, i := range chosen {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err := do(i, f.path(i)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	count := float64(min(f.probes, f.have))
	stat := some(func(i int, path string) error {
		info, err := os.Lstat(path)
		if err == nil && info.Size() != int64(len(contents(i))) {
			err = fmt.Errorf("%w: %s has %d bytes", pattern.ErrWrong, path, info.Size())
		}
		return err
	})
	read := some(func(i int, path string) error {
		data, err := os.ReadFile(path)
		if err == nil && string(data) != string(contents(i)) {
			err = fmt.Errorf("%w: %s", pattern.ErrWrong, path)
		}
		return err
	})
	listed := f.have
	if f.perDir > 0 {
		listed = min(f.have, f.perDir)
	}
	list := func() error {
		found, err := os.ReadDir(filepath.Dir(f.path(0)))
		if err == nil && len(found) != listed {
			err = fmt.Errorf("%w: %d names where there are %d", pattern.ErrWrong, len(found), listed)
		}
		return err
	}
	for _, step := range []struct {
		name string
		n    float64
		do   func() error
	}{{"stat cold", count, stat}, {"read cold", count, read}, {"list cold, names", float64(listed), list}} {
		if err := f.mount.Cold(ctx); err != nil {
			return err
		}
		if err := f.rate(step.name, "1/s", step.n, step.do); err != nil {
			return err
		}
	}
	if err := f.rate("remove", "1/s", count, func() error { return f.shrink(int(count)) }); err != nil {
		return err
	}
	if err := f.mounts(ctx); err != nil {
		return err
	}
	return f.memory(f.mount)
}

// shrink removes the last n files.
func (f *fileSeries) shrink(n int) error {
	for range n {
		f.have--
		path := f.path(f.have)
		if err := unix.Unlink(path); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		if f.have == 0 || f.perDir > 0 && f.have%f.perDir == 0 {
			if err := unix.Rmdir(filepath.Dir(path)); err != nil {
				return fmt.Errorf("remove %s: %w", filepath.Dir(path), err)
			}
		}
	}
	return nil
}
