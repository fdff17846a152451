package workload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// filesPerDir is how many small files lie in one directory.
const filesPerDir = 100

// smallFiles makes many files of one block each, walks them, reads them and removes them.
func smallFiles() Workload {
	create := Row{Name: "create", Title: "create 4k files", Unit: PerSecond}
	walk := Row{Name: "walk", Title: "cold walk + stat", Unit: PerSecond}
	read := Row{Name: "read-files", Title: "read 4k files cold", Unit: PerSecond}
	remove := Row{Name: "remove", Title: "remove files", Unit: PerSecond}
	return Workload{
		Name: "small-files",
		Rows: []Row{create, walk, read, remove},
		run: func(ctx context.Context, e *Env) error {
			s := &fileSet{root: filepath.Join(e.Dir, "files"), n: e.Scale.Files, p: pattern.New(3)}
			steps := []struct {
				row  Row
				a    amount
				cold bool
				do   func(context.Context) error
			}{
				{create, amount{ops: int64(s.n), written: int64(s.n) * pattern.BlockSize}, false, s.create},
				{walk, amount{ops: int64(s.n)}, true, s.walk},
				{read, amount{ops: int64(s.n), read: int64(s.n) * pattern.BlockSize}, true, s.read},
				{remove, amount{ops: int64(s.n)}, false, s.remove},
			}
			for _, step := range steps {
				if step.cold {
					if err := e.Cold(ctx); err != nil {
						return err
					}
				}
				if err := e.timed(step.row, step.a, func() error { return step.do(ctx) }); err != nil {
					return err
				}
			}
			return isEmpty(e.Dir)
		},
	}
}

// fileSet is n files of one block below root.
type fileSet struct {
	root string
	n    int
	p    *pattern.Pattern
}

func (s *fileSet) dir(i int) string {
	return filepath.Join(s.root, fmt.Sprintf("d%06d", i/filesPerDir))
}

func (s *fileSet) path(i int) string { return filepath.Join(s.dir(i), fmt.Sprintf("f%08d", i)) }

// each calls do for every file, dir before the first file of each directory.
func (s *fileSet) each(ctx context.Context, dir func(path string) error, do func(i int, path string) error) error {
	for i := range s.n {
		if i%filesPerDir == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := dir(s.dir(i)); err != nil {
				return err
			}
		}
		if err := do(i, s.path(i)); err != nil {
			return err
		}
	}
	return nil
}

func nothing(string) error { return nil }

func (s *fileSet) create(ctx context.Context) error {
	if err := os.Mkdir(s.root, 0o755); err != nil {
		return err
	}
	return s.each(ctx, func(dir string) error { return os.Mkdir(dir, 0o755) }, func(i int, path string) error {
		return createFile(path, s.p.Blocks(uint64(i), 1, 0))
	})
}

// walk lists the directories and takes the attributes of everything in them, as find and ls -l do.
func (s *fileSet) walk(ctx context.Context) error {
	files, err := walkDir(ctx, s.root)
	if err == nil && files != s.n {
		err = fmt.Errorf("%w: %d files where %d were made", pattern.ErrWrong, files, s.n)
	}
	return err
}

func walkDir(ctx context.Context, path string) (files int, err error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	d, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer closing(d, &err)
	names, err := d.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		var st unix.Stat_t
		if err := again(func() error { return unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
			return files, fmt.Errorf("stat %s/%s: %w", path, name, err)
		}
		switch {
		case st.Mode&unix.S_IFMT == unix.S_IFDIR:
			n, err := walkDir(ctx, filepath.Join(path, name))
			files += n
			if err != nil {
				return files, err
			}
		case st.Size != pattern.BlockSize:
			return files, fmt.Errorf("%w: %s/%s has %d bytes, not %d", pattern.ErrWrong, path, name, st.Size, pattern.BlockSize)
		default:
			files++
		}
	}
	return files, nil
}

func (s *fileSet) read(ctx context.Context) error {
	buf := make([]byte, pattern.BlockSize+1)
	return s.each(ctx, nothing, func(i int, path string) error {
		return checkFile(s.p, path, uint64(i), buf)
	})
}

// checkFile reads a file of one block and checks it. buf is longer than a block.
func checkFile(p *pattern.Pattern, path string, block uint64, buf []byte) error {
	k, err := readStart(path, buf)
	if err != nil {
		return err
	}
	if k != pattern.BlockSize {
		return fmt.Errorf("%w: %s has %d bytes, not %d", pattern.ErrWrong, path, k, pattern.BlockSize)
	}
	if err := p.Check(buf[:k], block, pattern.Always); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (s *fileSet) remove(ctx context.Context) error {
	if err := s.each(ctx, nothing, func(_ int, path string) error {
		if err := again(func() error { return unix.Unlink(path) }); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
		return nil
	}); err != nil {
		return err
	}
	for i := 0; i < s.n; i += filesPerDir {
		if err := again(func() error { return unix.Rmdir(s.dir(i)) }); err != nil {
			return fmt.Errorf("remove %s: %w", s.dir(i), err)
		}
	}
	return os.Remove(s.root)
}

// isEmpty checks that nothing is left in a directory.
func isEmpty(dir string) error {
	list, err := os.ReadDir(dir)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("%w: %s is still in %s", pattern.ErrWrong, list[0].Name(), dir)
	}
	return err
}
