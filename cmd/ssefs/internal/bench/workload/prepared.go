package workload

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Prepared is what workloads prepare once and use on every drive. It is used by one goroutine.
type Prepared struct {
	dir    string
	source string
	tree   *tree // nil until it is needed
	cached bool  // the build cache is filled
}

// Prepare returns what will be prepared in dir, off the drives. The source tree to work with is source; if that is
// empty, Go's own, or one that is made up where there is no Go.
func Prepare(dir, source string) *Prepared { return &Prepared{dir: dir, source: source} }

// errorTail is how much of what a program printed goes into an error.
const errorTail = 1000

// output runs a program that is part of a workload and returns what it printed.
func output(ctx context.Context, dir string, env []string, stdin, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		said := bytes.TrimSpace(stderr.Bytes())
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said[max(0, len(said)-errorTail):])
	}
	return stdout.Bytes(), nil
}

// sourceDir finds the source tree, "" if there is none.
func (p *Prepared) sourceDir(ctx context.Context) string {
	if p.source != "" {
		return p.source
	}
	root, err := output(ctx, p.dir, nil, "", "go", "env", "GOROOT")
	if err != nil {
		return ""
	}
	// The directory may be a link, which walking does not follow.
	dir, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(root)), "src"))
	if err != nil {
		return ""
	}
	return dir
}
