package drive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountLimit bounds one command that hangs, and the end of a daemon. It is far more than they take, for on a busy disk
// one flush alone was seen to take many seconds.
const mountLimit = 3 * time.Minute

// Result is what a command printed and its exit code.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// CLI runs an ssefs command to its end, without a terminal. It fails the test only if the command cannot be run or
// does not end within some minutes.
func CLI(t testing.TB, args ...string) Result {
	t.Helper()
	return Exec(t, Binary(t), WithTransport(args)...)
}

// transportVariable says how requests come to the drives under test.
const transportVariable = "SSEFS_E2E_TRANSPORT"

// WithTransport puts that into the arguments of a command that mounts. What the test itself says comes later and wins.
func WithTransport(args []string) []string {
	if len(args) == 0 || args[0] != "mount" {
		return args
	}
	mode := os.Getenv(transportVariable)
	if mode == "" {
		mode = "off"
	}
	return slices.Concat(args[:1], []string{"--io-uring", mode}, args[1:])
}

// CLI runs an ssefs command on this drive's store, named by --store.
func (d *Drive) CLI(args ...string) Result {
	d.t.Helper()
	return CLI(d.t, append(args, "--store", d.store)...)
}

// MustCLI is [Drive.CLI] for a command that has to succeed; it returns what the command printed.
func (d *Drive) MustCLI(args ...string) string {
	d.t.Helper()
	r := d.CLI(args...)
	if r.Code != 0 {
		d.t.Fatalf("ssefs %s: exit %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Exec runs a command to its end and returns what it printed. It fails the test only if the command cannot be run or
// does not end within some minutes.
func Exec(t testing.TB, name string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), mountLimit)
	defer cancel()
	return Run(ctx, t, exec.CommandContext(ctx, name, args...))
}

// Must runs a command that has to succeed and returns what it printed.
func Must(t testing.TB, name string, args ...string) string {
	t.Helper()
	r := Exec(t, name, args...)
	if r.Code != 0 {
		t.Fatalf("%s %s: exit %d\n%s%s", name, strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Run runs a prepared command to its end as Exec does; ctx, which the command was made with, bounds it.
func Run(ctx context.Context, t testing.TB, cmd *exec.Cmd) Result {
	t.Helper()
	if cmd.Stdin == nil {
		cmd.Stdin = bytes.NewReader(nil)
	}
	// Files, not pipes: a daemon that the command leaves behind would keep a pipe open.
	out, errs := outputFile(t), outputFile(t)
	cmd.Stdout, cmd.Stderr = out, errs
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	err := cmd.Run()
	r := Result{Stdout: collect(t, out), Stderr: collect(t, errs)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("%s did not end within its time\n%s%s", strings.Join(cmd.Args, " "), r.Stdout, r.Stderr)
	case errors.As(err, &exit):
		r.Code = exit.ExitCode()
	case err != nil:
		t.Fatalf("run %s: %v", cmd.Args[0], err)
	}
	return r
}

// outputFile makes an unnamed file for a command's output.
func outputFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp("", "ssefs-e2e-output-")
	if err != nil {
		t.Fatalf("make a file for output: %v", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatalf("unlink the file for output: %v", err)
	}
	return f
}

// collect returns what was written to f and closes it.
func collect(t testing.TB, f *os.File) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatalf("read back output: %v", err)
	}
	if _, err := b.ReadFrom(f); err != nil {
		t.Fatalf("read back output: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatalf("close the file for output: %v", err)
	}
	return b.String()
}

// progress is what a command that takes more than a second, as any may on a busy machine, tells from time to time.
const progress = `(?m)^ssefs: [^:]*: [0-9]+( of [0-9]+)?\n`

// OneLine marks the test failed unless a command that failed said why in one line, as every refusal of ssefs does.
func OneLine(t testing.TB, r Result) {
	t.Helper()
	line, isLine := strings.CutSuffix(regexp.MustCompile(progress).ReplaceAllString(r.Stderr, ""), "\n")
	if !isLine || strings.Contains(line, "\n") || !strings.HasPrefix(line, "ssefs: ") {
		t.Errorf("exit %d without one line that says why: %q", r.Code, r.Stderr)
	}
}
