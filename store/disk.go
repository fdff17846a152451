package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckDisk reads all files of the database once, with read(2), and returns ErrIO
// naming the first that the disk fails to deliver. Files that are cut short or
// altered pass. It must not be called while the database is open.
func (d *Dir) CheckDisk(ctx context.Context) error {
	dir := filepath.Join(d.path, nameDB)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // opening it says so
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	buf := make([]byte, 1<<20)
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := readThrough(ctx, filepath.Join(dir, e.Name()), buf); err != nil {
			return err
		}
	}
	return nil
}

// readThrough reads a file, without keeping anything.
func readThrough(ctx context.Context, path string, buf []byte) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch _, err := f.Read(buf); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: the disk fails to deliver %s: %w", ErrIO, path, err)
		}
	}
}
