package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"ssefs/cmd/ssefs/internal/exit"
)

// partialSuffix is what a file that is being written has behind its name.
const partialSuffix = ".partial"

// output is a file being written, which has its name only once it is whole and on disk. One that was left by a
// command that was killed is written over.
type output struct {
	*bufio.Writer
	path    string
	replace replacement
	file    *os.File
}

// replacement says what becomes of a file that is there already.
type replacement uint8

const (
	keepExisting replacement = iota
	replaceExisting
)

// createOutput begins to write the file at path.
func createOutput(path string, r replacement) (*output, error) {
	if st, err := os.Lstat(path); err == nil {
		if !st.Mode().IsRegular() {
			return nil, exit.Errorf(exit.Usage, "%s is no file: write to standard output ('-') instead", path)
		}
		if r == keepExisting {
			return nil, exit.Errorf(exit.Usage, "%s exists already: --force replaces it", path)
		}
	}
	f, err := openPartial(path + partialSuffix)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(0), f.Chmod(0o600)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &output{Writer: bufio.NewWriterSize(f, 1<<20), path: path, replace: r, file: f}, nil
}

// openPartial makes the file to write to, or takes one that a command of the same user left.
func openPartial(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != uint32(os.Geteuid()) || st.Nlink != 1) {
		err = fmt.Errorf("%s is in the way, and was not left by this command", path)
	}
	// Not two at once into one file.
	if err == nil {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s is being written by another command", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// finish gives the file its name, durably.
func (o *output) finish() error {
	err := o.Flush()
	if err == nil {
		err = o.file.Sync()
	}
	if err == nil {
		err = o.rename()
	}
	if err != nil {
		return errors.Join(err, o.abandon())
	}
	return errors.Join(o.file.Close(), syncDir(filepath.Dir(o.path)))
}

func (o *output) rename() error {
	if o.replace == replaceExisting {
		return os.Rename(o.file.Name(), o.path)
	}
	err := unix.Renameat2(unix.AT_FDCWD, o.file.Name(), unix.AT_FDCWD, o.path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // a file system that cannot
		if _, err := os.Lstat(o.path); err == nil {
			return fmt.Errorf("%s exists already", o.path)
		}
		return os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.path, err)
	}
	return nil
}

// abandon takes away what was written.
func (o *output) abandon() error {
	return errors.Join(os.Remove(o.file.Name()), o.file.Close())
}

// stdout is standard output as a place to write bytes to: not a terminal. A write that waits for its reader
// ends with ctx.
func (a *app) stdout(ctx context.Context) (io.Writer, error) {
	if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return nil, exit.Errorf(exit.Usage, "a backup is not written to a terminal: name a file, or redirect the output")
	}
	return patientWriter{ctx, a.out}, nil
}

// patientWriter waits for another end that may take its time, as long as ctx allows. A write that was given up goes on in
// the background with its buffer: nothing is written or reused afterwards.
type patientWriter struct {
	ctx context.Context
	w   io.Writer
}

// Write implements io.Writer.
func (p patientWriter) Write(b []byte) (n int, err error) {
	return untilDone(p.ctx, func() (int, error) { return p.w.Write(b) })
}

// patientReader is the same for reading.
type patientReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements io.Reader.
func (p patientReader) Read(b []byte) (int, error) {
	return untilDone(p.ctx, func() (int, error) { return p.r.Read(b) })
}

func untilDone(ctx context.Context, f func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := f()
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
