package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// goBuild builds a Go program of many packages whose sources, build cache and temporary files are all on the drive. The
// standard library is in the cache before: compiling it takes a processor and hardly a drive.
func goBuild() Workload {
	row := Row{Name: "go-build", Title: "go build", Unit: Seconds}
	return Workload{
		Name:  "go-build",
		Rows:  []Row{row},
		Tools: []string{"go"},
		run: func(ctx context.Context, e *Env) error {
			cache, err := e.Prepared.goCache(ctx)
			if err != nil {
				return err
			}
			if err := os.CopyFS(filepath.Join(e.Dir, "cache"), os.DirFS(cache)); err != nil {
				return err
			}
			n := e.Scale.Packages
			source := filepath.Join(e.Dir, "source")
			size, err := writeProgram(source, n)
			if err != nil {
				return err
			}
			if err := os.Mkdir(filepath.Join(e.Dir, "tmp"), 0o755); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			if err := e.timed(row, amount{ops: int64(n), read: size}, func() error {
				_, err := output(ctx, source, goEnv(e.Dir), "", "go", "build", "-o", filepath.Join(e.Dir, "program"), ".")
				return err
			}); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			said, err := output(ctx, e.Dir, nil, "", filepath.Join(e.Dir, "program"))
			if want := fmt.Sprintln(programSays(n)); err == nil && string(said) != want {
				err = fmt.Errorf("%w: the program that was built says %q, not %q", pattern.ErrWrong, said, want)
			}
			if err != nil {
				return err
			}
			return sameFiles(ctx, cache, filepath.Join(e.Dir, "cache"))
		},
	}
}

// goEnv has the go command use dir and nothing from elsewhere.
func goEnv(dir string) []string {
	return []string{
		"GOCACHE=" + filepath.Join(dir, "cache"), "GOTMPDIR=" + filepath.Join(dir, "tmp"), "GOFLAGS=", "GOPROXY=off",
		"GOTOOLCHAIN=local", "GOWORK=off", "GOENV=off", "CGO_ENABLED=0", "GODEBUG=",
	}
}

// goCache fills a build cache with what the program needs of the standard library.
func (p *Prepared) goCache(ctx context.Context) (string, error) {
	cache := filepath.Join(p.dir, "cache")
	if p.cached {
		return cache, nil
	}
	source := filepath.Join(p.dir, "empty-program")
	if _, err := writeProgram(source, 0); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(p.dir, "tmp"), 0o755); err != nil {
		return "", err
	}
	if _, err := output(ctx, source, goEnv(p.dir), "", "go", "build", "-o", filepath.Join(p.dir, "empty"), "."); err != nil {
		return "", err
	}
	p.cached = true
	return cache, nil
}

// sameFiles checks that every file of one directory is in the other one. A build that does not find something in its
// cache makes it again.
func sameFiles(ctx context.Context, from, in string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		name, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() || name == "trim.txt" { // which says when the cache was last cleaned up
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(in, name))
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%w: %s in the build cache", pattern.ErrWrong, name)
		}
		return err
	})
}

// filesPerPackage and functionsPerFile make packages of a usual size.
const (
	filesPerPackage  = 4
	functionsPerFile = 20
)

// programSays is the number that the program of n packages prints.
func programSays(n int) int { return n * (n - 1) / 2 * filesPerPackage * functionsPerFile }

// writeProgram writes the program's sources and returns how many bytes they have.
func writeProgram(dir string, n int) (size int64, err error) {
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err == nil {
			err = os.WriteFile(path, []byte(text), fs.FileMode(0o644))
		}
		size += int64(len(text))
	}
	write("go.mod", "module program\n\ngo 1.21\n")
	var imports, calls strings.Builder
	for i := range n {
		name := fmt.Sprintf("p%03d", i)
		fmt.Fprintf(&imports, "\t%q\n", "program/"+name)
		fmt.Fprintf(&calls, "\tsum += %s.Sum()\n", name)
		var sums []string
		for f := range filesPerPackage {
			var text strings.Builder
			fmt.Fprintf(&text, "package %s\n\nimport (\n\t\"fmt\"\n\t\"sort\"\n\t\"strings\"\n)\n", name)
			for k := range functionsPerFile {
				fn := fmt.Sprintf("f%d_%d", f, k)
				sums = append(sums, fn+"()")
				fmt.Fprintf(&text, "\nfunc %s() int {\n\tparts := strings.Fields(fmt.Sprint(%d, %d, %d))\n"+
					"\tsort.Strings(parts)\n\tif len(parts) != 3 {\n\t\treturn -1\n\t}\n\treturn %d\n}\n", fn, i, f, k, i)
			}
			write(filepath.Join(name, fmt.Sprintf("file%d.go", f)), text.String())
		}
		write(filepath.Join(name, "sum.go"), fmt.Sprintf("package %s\n\n// Sum adds up.\nfunc Sum() int {\n\treturn %s\n}\n",
			name, strings.Join(sums, " +\n\t\t")))
	}
	write("main.go", fmt.Sprintf("package main\n\nimport (\n\t\"fmt\"\n\t_ \"sort\"\n\t_ \"strings\"\n%s)\n\nfunc main() {\n\tsum := 0\n%s\tfmt.Println(sum)\n}\n",
		imports.String(), calls.String()))
	return size, err
}
