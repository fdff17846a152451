package workload

import (
	"context"
	"fmt"
	"path/filepath"

	"ssefs/cmd/ssefs/internal/bench/pattern"
)

// sequential writes a file in order in requests of size bytes, and reads it cold and warm.
func sequential(size int) Workload {
	label := sizeLabel(size)
	row := func(what, title string) Row {
		return Row{Name: "seq-" + what + "-" + label, Title: "sequential " + title + ", " + label, Unit: MegabytesPerSecond}
	}
	write, cold, warm := row("write", "write + fsync"), row("read-cold", "read cold"), row("read-warm", "read warm")
	return Workload{
		Name: "sequential-" + label,
		Rows: []Row{write, cold, warm},
		run: func(ctx context.Context, e *Env) error {
			path := filepath.Join(e.Dir, "sequential")
			p := pattern.New(1)
			n := e.Scale.Sequential
			requests := n / int64(size)
			if err := e.timed(write, amount{ops: requests, written: n}, func() error {
				return writeFile(ctx, path, p, n, size)
			}); err != nil {
				return err
			}
			if err := e.Cold(ctx); err != nil {
				return err
			}
			buf := make([]byte, size)
			read := func() error {
				return readFile(ctx, path, n, buf, func(b []byte, first uint64) error { return p.CheckStamp(b, first, 0) })
			}
			for _, r := range []Row{cold, warm} {
				if err := e.timed(r, amount{ops: requests, read: n}, read); err != nil {
					return err
				}
			}
			return verifyFile(ctx, path, p, n, pattern.Always)
		},
	}
}

func sizeLabel(size int) string {
	if size >= 1<<20 {
		return fmt.Sprintf("%dm", size>>20)
	}
	return fmt.Sprintf("%dk", size>>10)
}
