package workload

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// searched is what the trees are searched for.
const searched = "import"

// tree is a source tree in an archive, and what must be found in it.
type tree struct {
	archive string
	files   map[string][sha256.Size]byte // contents by path
	bytes   int64
	lines   int    // that have searched in them
	git     string // git's name of the tree, which depends on all names and contents
}

// errEnough ends a walk.
var errEnough = errors.New("enough files")

// sources returns the tree, cut off after the given number of files.
func (p *Prepared) sources(ctx context.Context, most int) (*tree, error) {
	if p.tree != nil {
		return p.tree, nil
	}
	source := p.sourceDir(ctx)
	if source == "" {
		source = filepath.Join(p.dir, "made-up")
		if err := makeUpTree(source, most); err != nil {
			return nil, err
		}
	}
	t := &tree{archive: filepath.Join(p.dir, "tree.tar"), files: map[string][sha256.Size]byte{}}
	if err := t.pack(ctx, source, most); err != nil {
		return nil, fmt.Errorf("pack %s: %w", source, err)
	}
	if err := t.name(ctx, filepath.Join(p.dir, "reference")); err != nil {
		return nil, err
	}
	p.tree = t
	return t, nil
}

// pack archives a directory and notes what is in it.
func (t *tree) pack(ctx context.Context, source string, most int) (err error) {
	f, err := os.Create(t.archive)
	if err != nil {
		return err
	}
	defer closing(f, &err)
	w := tar.NewWriter(f)
	err = filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		switch {
		case d.Name() == ".git": // ours is to be the only one
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
		case !d.Type().IsRegular():
			return nil
		case len(t.files) == most:
			return errEnough
		}
		return t.packFile(w, path, name)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if len(t.files) == 0 {
		return fmt.Errorf("there is no file in %s", source)
	}
	return w.Close()
}

func (t *tree) packFile(w *tar.Writer, path, name string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	t.files[name] = sha256.Sum256(data)
	t.bytes += int64(len(data))
	for line := range bytes.Lines(data) {
		if bytes.Contains(line, []byte(searched)) {
			t.lines++
		}
	}
	_, err = w.Write(data)
	return err
}

// name has git name the tree, off the drives.
func (t *tree) name(ctx context.Context, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := t.unpack(ctx, dir); err != nil {
		return err
	}
	name, err := commit(ctx, dir)
	if err != nil {
		return err
	}
	t.git = name
	return os.RemoveAll(dir)
}

// unpack unpacks the archive with tar.
func (t *tree) unpack(ctx context.Context, dir string) error {
	_, err := output(ctx, dir, nil, "", "tar", "-x", "--no-same-owner", "-f", t.archive)
	return err
}

// verify compares what lies in dir, less a repository, with what was packed.
func (t *tree) verify(ctx context.Context, dir string) error {
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		switch {
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		want, ok := t.files[name]
		if !ok || sha256.Sum256(data) != want {
			return fmt.Errorf("%w: %s", pattern.ErrWrong, name)
		}
		found++
		return nil
	})
	if err == nil && found != len(t.files) {
		err = fmt.Errorf("%w: %d files of %d are there", pattern.ErrWrong, found, len(t.files))
	}
	return err
}

// gitEnv keeps git from the user's own configuration, and from work in the background.
var gitEnv = []string{
	"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=3",
	"GIT_CONFIG_KEY_0=gc.auto", "GIT_CONFIG_VALUE_0=0",
	"GIT_CONFIG_KEY_1=maintenance.auto", "GIT_CONFIG_VALUE_1=false",
	"GIT_CONFIG_KEY_2=safe.directory", "GIT_CONFIG_VALUE_2=*",
	"GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.com",
	"GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.com",
}

// commit puts all in dir into a new repository and returns the name of its tree.
func commit(ctx context.Context, dir string) (string, error) {
	for _, args := range [][]string{
		{"init", "-q", "--template="}, {"add", "--all", "--force"}, {"commit", "-q", "--no-verify", "-m", "all"},
	} {
		if _, err := output(ctx, dir, gitEnv, "", "git", args...); err != nil {
			return "", err
		}
	}
	name, err := output(ctx, dir, gitEnv, "", "git", "rev-parse", "HEAD^{tree}")
	return strings.TrimSpace(string(name)), err
}

// makeUpTree makes a tree that looks a little like sources.
func makeUpTree(dir string, files int) error {
	for i := range min(files, 5000) {
		sub := filepath.Join(dir, fmt.Sprintf("package%03d", i/20))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		text := strings.Repeat(fmt.Sprintf("import number %d\n\tcall(%d, %d)\n", i, i*i, i+1), 20+i%300)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%05d.src", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
