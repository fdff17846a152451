package storms

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/drive"
)

// worker is a process of a storm.
type worker struct {
	id   int
	r    *rand.Rand
	log  *os.File
	dirs [dirs]int // descriptors
	file int       // an open file, -1 for none
	ino  uint64    // of it
	want string    // its contents as they were when it was opened
	made int
}

// errOver means that the daemon has ended.
var errOver = errors.New("the drive is gone")

// storm is the helper that works at random. Its arguments are the directories' paths, a file for its log, its number, a
// seed, and how many operations to do.
func storm(p *drive.Peer) (err error) {
	w := &worker{file: -1}
	var n int
	var seed uint64
	if w.id, err = strconv.Atoi(p.Args[1]); err == nil {
		if seed, err = strconv.ParseUint(p.Args[2], 10, 64); err == nil {
			n, err = strconv.Atoi(p.Args[3])
		}
	}
	if err != nil {
		return err
	}
	w.r = rand.New(rand.NewPCG(seed, uint64(w.id)))
	if w.log, err = os.OpenFile(p.Args[0], os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return err
	}
	for i := range w.dirs {
		if w.dirs[i], err = unix.Open(p.Args[4+i], unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return fmt.Errorf("%s: %w", p.Args[4+i], err)
		}
	}
	if err := p.Say("ready"); err != nil {
		return err
	}
	if _, err := p.Hear(); err != nil {
		return err
	}
	for range n {
		if err := w.work(); errors.Is(err, errOver) {
			break
		} else if err != nil {
			return err
		}
	}
	return w.log.Close()
}

func (w *worker) place() place { return place{w.r.IntN(dirs), w.r.IntN(slots)} }

// near is a place that mostly is in the same bucket.
func (w *worker) near(p place) place {
	q := w.place()
	if w.r.IntN(8) > 0 {
		q.Dir = q.Dir%perBucket + bucketOf(p.Dir)*perBucket
	}
	return q
}

// work does one operation and notes it.
func (w *worker) work() error {
	o := operation{At: w.place()}
	o.To = w.near(o.At)
	at, name := w.dirs[o.At.Dir], slotNames[o.At.Name]
	to, newName := w.dirs[o.To.Dir], slotNames[o.To.Name]
	var do func() error
	switch n := w.r.IntN(100); {
	case n < 20:
		o.Kind, do = create, func() error { return w.create(&o) }
	case n < 28:
		o.Kind, do = remove, func() error { return unix.Unlinkat(at, name, 0) }
	case n < 29:
		o.Kind, do = rmdir, func() error { return unix.Unlinkat(at, name, unix.AT_REMOVEDIR) }
	case n < 40 && w.file >= 0:
		o.Kind, o.File = link, w.ino
		do = func() error { return unix.Linkat(w.file, "", to, newName, unix.AT_EMPTY_PATH) }
	case n < 60:
		o.Kind, do = rename, func() error { return unix.Renameat(at, name, to, newName) }
	case n < 72:
		o.Kind, do = exchange, func() error { return unix.Renameat2(at, name, to, newName, unix.RENAME_EXCHANGE) }
	case n < 80:
		o.Kind, do = noClobber, func() error { return unix.Renameat2(at, name, to, newName, unix.RENAME_NOREPLACE) }
	case n < 88:
		o.Kind, do = look, func() error {
			var st unix.Stat_t
			err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW)
			o.Found = st.Ino
			return err
		}
	case n < 96:
		o.Kind, do = open, func() error { return w.open(&o) }
	default:
		o.Kind, do = fsync, func() error { return unix.Fsync(at) }
	}
	o.Began = now()
	err := do()
	if o.Ended == 0 {
		o.Ended = now()
	}
	if err != nil && !errors.As(err, &o.Errno) {
		return fmt.Errorf("%s: %w", &o, err)
	}
	switch o.Errno {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ECANCELED:
		o.Lost = true
	}
	line, err := json.Marshal(&o)
	if err != nil {
		return err
	}
	if _, err := w.log.Write(append(line, '\n')); err != nil {
		return err
	}
	if o.Lost {
		return errOver
	}
	return nil
}

// create makes a file and then writes what no other file has into it.
func (w *worker) create(o *operation) error {
	fd, err := unix.Openat(w.dirs[o.At.Dir], slotNames[o.At.Name], unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_NOFOLLOW, 0o644)
	o.Ended = now()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // what it says is of no interest
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	w.made++
	o.File, o.Contents = st.Ino, fmt.Sprintf("file %d of process %d", w.made, w.id)
	n, err := unix.Write(fd, []byte(o.Contents))
	if err == nil && n < len(o.Contents) {
		err = io.ErrShortWrite
	}
	return err
}

// open opens what a name stands for and keeps it open until something else is: whatever becomes of its names, its
// contents stay.
func (w *worker) open(o *operation) error {
	fd, err := unix.Openat(w.dirs[o.At.Dir], slotNames[o.At.Name], unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	o.Ended = now()
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	o.Found = st.Ino
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.Close(fd)
	}
	if o.Contents, err = contents(fd); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	if w.file >= 0 {
		again, err := contents(w.file)
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		if w.want != "" && again != w.want {
			return fmt.Errorf("open file %d had %q and has %q", w.ino, w.want, again)
		}
		if err := unix.Close(w.file); err != nil {
			return err
		}
	}
	w.file, w.ino, w.want = fd, st.Ino, o.Contents
	return nil
}

func contents(fd int) (string, error) {
	b := make([]byte, 100)
	n, err := unix.Pread(fd, b, 0)
	return string(b[:max(0, n)]), err
}

// dirPaths are where the directories of a storm are when it begins.
func dirPaths(d *drive.Drive, round int) (paths []string) {
	for b := range dirs / perBucket {
		bucket := d.Path(fmt.Sprintf("storm%d-%d", round, b))
		paths = append(paths, bucket)
		for i := range perBucket - 1 {
			paths = append(paths, filepath.Join(bucket, slotNames[i]))
		}
	}
	return paths
}
