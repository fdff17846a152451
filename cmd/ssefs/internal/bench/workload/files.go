package workload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// stripe is how many bytes are written or checked between two looks at whether to go on.
const stripe = pattern.Period * pattern.BlockSize

// writeFile writes a file of the pattern in requests of size bytes, which divides stripe, and syncs it.
func writeFile(ctx context.Context, path string, p *pattern.Pattern, bytes int64, size int) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer closing(f, &err)
	for off := int64(0); off < bytes; off += int64(size) {
		if off%stripe == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := f.Write(p.Blocks(uint64(off/pattern.BlockSize), size/pattern.BlockSize, 0)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// readFile reads a file in requests of len(buf) bytes, which divide stripe, and hands each to check.
func readFile(ctx context.Context, path string, bytes int64, buf []byte, check func(b []byte, first uint64) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer closing(f, &err)
	for off := int64(0); off < bytes; off += int64(len(buf)) {
		if off%stripe == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := io.ReadFull(f, buf); err != nil {
			return fmt.Errorf("read at %d: %w", off, shortened(err))
		}
		if err := check(buf, uint64(off/pattern.BlockSize)); err != nil {
			return err
		}
	}
	switch n, err := f.Read(buf[:1]); {
	case n != 0:
		return fmt.Errorf("%w: %s is longer than it was written", pattern.ErrWrong, path)
	case err != nil && !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// shortened makes an early end what it is: contents that are missing.
func shortened(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file is shorter than it was written", pattern.ErrWrong)
	}
	return err
}

// verifyFile compares all of a file with the pattern.
func verifyFile(ctx context.Context, path string, p *pattern.Pattern, bytes int64, version func(block uint64) uint32) error {
	return readFile(ctx, path, bytes, make([]byte, stripe), func(b []byte, first uint64) error {
		return p.Check(b, first, version)
	})
}

// closing closes f and reports what goes wrong unless something went wrong before.
func closing(f *os.File, err *error) {
	if closeErr := f.Close(); *err == nil {
		*err = closeErr
	}
}
