package workload

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// sources unpacks a source tree, searches it, puts it into a git repository and removes it, each with the usual tool.
func sources() Workload {
	untar := Row{Name: "untar", Title: "untar sources, files", Unit: PerSecond}
	grep := Row{Name: "grep", Title: "grep -r cold, files", Unit: PerSecond}
	add := Row{Name: "git", Title: "git add + commit, files", Unit: PerSecond}
	remove := Row{Name: "rm-rf", Title: "rm -rf, files", Unit: PerSecond}
	return Workload{
		Name:  "sources",
		Rows:  []Row{untar, grep, add, remove},
		Tools: []string{"tar", "grep", "git", "rm"},
		run: func(ctx context.Context, e *Env) error {
			t, err := e.Prepared.sources(ctx, e.Scale.TreeFiles)
			if err != nil {
				return err
			}
			dir := filepath.Join(e.Dir, "tree")
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			files := int64(len(t.files))
			if err := e.timed(untar, amount{ops: files, written: t.bytes}, func() error { return t.unpack(ctx, dir) }); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			if err := e.timed(grep, amount{ops: files, read: t.bytes}, func() error { return t.grep(ctx, dir) }); err != nil {
				return err
			}
			if err := t.verify(ctx, dir); err != nil {
				return err
			}
			if err := e.timed(add, amount{ops: files, read: t.bytes}, func() error { return t.commit(ctx, dir) }); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			if err := t.verifyCommitted(ctx, dir); err != nil {
				return err
			}
			if err := e.timed(remove, amount{ops: files}, func() error {
				_, err := output(ctx, e.Dir, nil, "", "rm", "-r", "-f", "tree")
				return err
			}); err != nil {
				return err
			}
			return isEmpty(e.Dir)
		},
	}
}

// grep searches all files, and counts what was found.
func (t *tree) grep(ctx context.Context, dir string) error {
	found, err := output(ctx, dir, nil, "", "grep", "-r", "-h", "-a", "-F", "-e", searched, ".")
	if err == nil && bytes.Count(found, []byte("\n")) != t.lines {
		err = fmt.Errorf("%w: %d lines were found, not %d", pattern.ErrWrong, bytes.Count(found, []byte("\n")), t.lines)
	}
	return err
}

// commit makes a repository of the tree, which must be the one that was packed.
func (t *tree) commit(ctx context.Context, dir string) error {
	name, err := commit(ctx, dir)
	if err == nil && name != t.git {
		err = fmt.Errorf("%w: git says that the tree is %s, not %s", pattern.ErrWrong, name, t.git)
	}
	return err
}

// verifyCommitted checks the repository and the files in it.
func (t *tree) verifyCommitted(ctx context.Context, dir string) error {
	if _, err := output(ctx, dir, gitEnv, "", "git", "fsck", "--strict"); err != nil {
		return fmt.Errorf("%w: %w", pattern.ErrWrong, err)
	}
	changes, err := output(ctx, dir, gitEnv, "", "git", "status", "--porcelain")
	if err != nil {
		return err
	}
	if len(changes) > 0 {
		return fmt.Errorf("%w: git sees changes: %s", pattern.ErrWrong, bytes.Split(changes, []byte("\n"))[0])
	}
	return t.verify(ctx, dir)
}
