package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/pattern"
	"ssefs/cmd/ssefs/internal/bench/stats"
)

// The operations whose latency is sampled, and the circumstances.
const (
	opStat   = "stat"
	opOpen   = "open"
	opRead   = "read"
	opWrite  = "write"
	opCreate = "create"
	opFsync  = "fsync"

	alone  = "alone"
	beside = "beside"
)

// syncEvery is how many of the other samples are taken for one of fsync.
const syncEvery = 10

// latencyRow names the row of an operation's p50, p99 or max.
func latencyRow(op, when, what string) Row {
	title := op + " " + what
	if when == beside {
		title += ", beside a write"
	}
	return Row{Name: "lat-" + op + "-" + when + "-" + what, Title: title, Unit: Microseconds}
}

// latencies samples how long single operations take, alone and while a large file is written in order beside them. Each
// stat, open and read is of something that was not looked at since the drive was mounted.
func latencies() Workload {
	w := Workload{Name: "latency", run: sampleLatencies}
	for _, when := range []string{alone, beside} {
		for _, op := range []string{opStat, opOpen, opRead, opWrite, opCreate, opFsync} {
			for _, what := range []string{"p50", "p99", "max"} {
				w.Rows = append(w.Rows, latencyRow(op, when, what))
			}
		}
	}
	return w
}

func sampleLatencies(ctx context.Context, e *Env) error {
	n := e.Scale.Latencies
	l := &latencyFiles{env: e, n: n, p: pattern.New(6), files: fileSet{root: filepath.Join(e.Dir, "files"), n: 4 * n, p: pattern.New(6)}}
	if err := l.files.create(ctx); err != nil {
		return err
	}
	if err := writeFile(ctx, l.path("read"), l.p, l.readBlocks()*pattern.BlockSize, 1<<20); err != nil {
		return err
	}
	if err := os.Mkdir(l.path("new"), 0o755); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return l.sample(ctx, alone, 0, nil) },
		func() error { return l.sampleBeside(ctx, 1) },
		func() error { return l.verify(ctx) },
	} {
		if err := e.Cold(ctx); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// latencyFiles are the files that are sampled: those of the first half alone, those of the second beside a write.
type latencyFiles struct {
	env   *Env
	n     int
	p     *pattern.Pattern
	files fileSet // 4n: one to stat and one to open for each sample
	made  int     // files created
	wrote int     // blocks written to the file "write"
	syncs int     // blocks written to the file "fsync"

	beside *besideWriter // nil before there is one
}

func (l *latencyFiles) path(name string) string { return filepath.Join(l.env.Dir, name) }

// readBlocks is how many blocks the file has that single ones of are read, rounded up to whole MiB.
func (l *latencyFiles) readBlocks() int64 {
	return (int64(2*l.n) + pattern.Period - 1) / pattern.Period * pattern.Period
}

// opened are the files that stay open while samples are taken.
type opened struct{ read, write, fsync *os.File }

func (o opened) close() error {
	var errs []error
	for _, f := range []*os.File{o.read, o.write, o.fsync} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (l *latencyFiles) open() (o opened, err error) {
	if o.read, err = os.Open(l.path("read")); err != nil {
		return o, err
	}
	// Or a read would take its neighbours along.
	if err = unix.Fadvise(int(o.read.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return o, errors.Join(fmt.Errorf("fadvise: %w", err), o.close())
	}
	for _, f := range []struct {
		file **os.File
		name string
	}{{&o.write, "write"}, {&o.fsync, "fsync"}} {
		if *f.file, err = os.OpenFile(l.path(f.name), os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
			return o, errors.Join(err, o.close())
		}
	}
	return o, nil
}

// sample takes the samples of a half, or as many as can be taken until enough is closed, but one at least.
func (l *latencyFiles) sample(ctx context.Context, when string, half int, enough <-chan struct{}) (err error) {
	o, err := l.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	took := map[string][]float64{}
	timed := func(op string, do func() error) error {
		begun := time.Now()
		err := again(do)
		took[op] = append(took[op], float64(time.Since(begun).Nanoseconds())/1e3)
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		return nil
	}
	order := rand.New(rand.NewPCG(uint64(half), 6)).Perm(l.n)
	for i := 0; i < l.n && (i == 0 || !closed(enough)); i++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := l.one(o, half*l.n+order[i], i, timed); err != nil {
			return err
		}
	}
	for op, samples := range took {
		l.env.Value(latencyRow(op, when, "p50").Name, stats.Percentile(samples, 50))
		l.env.Value(latencyRow(op, when, "p99").Name, stats.Percentile(samples, 99))
		l.env.Value(latencyRow(op, when, "max").Name, stats.Percentile(samples, 100))
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// one takes a sample of each operation; k is the number of what is looked at the first time.
func (l *latencyFiles) one(o opened, k, i int, timed func(op string, do func() error) error) error {
	var st unix.Stat_t
	path := l.files.path(2 * k)
	if err := timed(opStat, func() error { return unix.Lstat(path, &st) }); err != nil {
		return err
	}
	if st.Size != pattern.BlockSize {
		return fmt.Errorf("%w: %s has %d bytes, not %d", pattern.ErrWrong, path, st.Size, pattern.BlockSize)
	}
	if err := l.timedOpen(timed, opOpen, l.files.path(2*k+1), unix.O_RDONLY); err != nil {
		return err
	}
	buf := make([]byte, pattern.BlockSize)
	if err := timed(opRead, func() error {
		_, err := o.read.ReadAt(buf, int64(k)*pattern.BlockSize)
		return err
	}); err != nil {
		return err
	}
	if err := l.p.Check(buf, uint64(k), pattern.Always); err != nil {
		return err
	}
	if err := timed(opWrite, func() error {
		_, err := o.write.WriteAt(l.p.Blocks(uint64(l.wrote), 1, 0), int64(l.wrote)*pattern.BlockSize)
		return err
	}); err != nil {
		return err
	}
	l.wrote++
	if err := l.timedOpen(timed, opCreate, filepath.Join(l.path("new"), fmt.Sprint(l.made)), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY); err != nil {
		return err
	}
	l.made++
	if i%syncEvery != 0 {
		return nil
	}
	if _, err := o.fsync.WriteAt(l.p.Blocks(uint64(l.syncs), 1, 0), int64(l.syncs)*pattern.BlockSize); err != nil {
		return err
	}
	l.syncs++
	return timed(opFsync, func() error { return unix.Fsync(int(o.fsync.Fd())) })
}

// timedOpen opens a file, and closes it when the time has been taken.
func (l *latencyFiles) timedOpen(timed func(string, func() error) error, op, path string, flags int) error {
	var fd int
	if err := timed(op, func() (err error) {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
		return err
	}); err != nil {
		return err
	}
	return unix.Close(fd)
}

// sampleBeside takes the samples of a half while a file is written.
func (l *latencyFiles) sampleBeside(ctx context.Context, half int) error {
	w := &besideWriter{path: l.path("beside"), most: l.env.Scale.Beside, p: pattern.New(7),
		started: make(chan struct{}), ended: make(chan struct{}), stop: make(chan struct{})}
	go w.write(ctx)
	<-w.started
	err := l.sample(ctx, beside, half, w.ended)
	close(w.stop)
	<-w.ended
	l.beside = w
	return errors.Join(err, w.err)
}

// verify checks what the samples left behind.
func (l *latencyFiles) verify(ctx context.Context) error {
	if err := l.files.read(ctx); err != nil {
		return err
	}
	if err := verifyFile(ctx, l.path("read"), l.p, l.readBlocks()*pattern.BlockSize, pattern.Always); err != nil {
		return err
	}
	w := l.beside
	if err := verifyFile(ctx, w.path, w.p, w.size(), w.version); err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	for _, f := range []struct {
		name   string
		blocks int
	}{{"write", l.wrote}, {"fsync", l.syncs}} {
		data, err := os.ReadFile(l.path(f.name))
		if err == nil && len(data) != f.blocks*pattern.BlockSize {
			err = fmt.Errorf("%w: %d bytes, not %d", pattern.ErrWrong, len(data), f.blocks*pattern.BlockSize)
		}
		if err == nil {
			err = l.p.Check(data, 0, pattern.Always)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	list, err := os.ReadDir(l.path("new"))
	if err == nil && len(list) != l.made {
		err = fmt.Errorf("%w: %d files where %d were created", pattern.ErrWrong, len(list), l.made)
	}
	return err
}
