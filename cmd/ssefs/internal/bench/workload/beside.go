package workload

import (
	"context"
	"os"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// besideStart is how many bytes are written before samples are taken.
const besideStart = 8 << 20

// besideFile is the size of the file that is written over and over.
const besideFile = 256 << 20

// besideWriter writes a file in order, again and again, in requests of 1 MiB.
type besideWriter struct {
	path string
	most int64 // bytes in all
	p    *pattern.Pattern

	started chan struct{} // closed when it is well under way, or will never be
	stop    chan struct{} // closed when it has been long enough
	ended   chan struct{} // closed at its end

	written int64 // read after ended
	err     error // read after ended
}

func (w *besideWriter) write(ctx context.Context) {
	defer close(w.ended)
	w.err = w.run(ctx)
	if w.written < besideStart {
		close(w.started)
	}
}

func (w *besideWriter) run(ctx context.Context) (err error) {
	f, err := os.Create(w.path)
	if err != nil {
		return err
	}
	defer closing(f, &err)
	for w.written < w.most && !closed(w.stop) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		at := w.written % besideFile
		if _, err := f.WriteAt(w.p.Blocks(uint64(at/pattern.BlockSize), stripe/pattern.BlockSize, uint32(w.written/besideFile)), at); err != nil {
			return err
		}
		w.written += stripe
		if w.written == besideStart {
			close(w.started)
		}
	}
	return nil
}

// size is how large the file is in the end.
func (w *besideWriter) size() int64 { return min(w.written, besideFile) }

// version is how often a block was written before its last time.
func (w *besideWriter) version(block uint64) uint32 {
	passes, rest := w.written/besideFile, w.written%besideFile
	if int64(block)*pattern.BlockSize < rest {
		return uint32(passes)
	}
	return uint32(passes - 1)
}
