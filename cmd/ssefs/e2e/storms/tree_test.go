package storms

import (
	"golang.org/x/sys/unix"
)

// The tree has two buckets with directories that stay the same ones for the whole storm, wherever they are moved, and
// each has room for a few names.
const (
	dirs      = 6
	slots     = 4
	perBucket = dirs / 2 // the first of a bucket's is the bucket itself
)

var slotNames = [slots]string{"a", "b", "c", "d"}

func bucketOf(dir int) int { return dir / perBucket }

func isBucket(dir int) bool { return dir%perBucket == 0 }

// tree is what each name of each directory stands for: an inode number, 0 for nothing.
type tree [dirs][slots]uint64

// world is what does not change during a storm.
type world struct {
	dirs [dirs]uint64   // inode numbers
	made map[uint64]int // bucket in which a file was made
	lost []uint64       // files that were found, and that nobody knows to have made: the daemon ended before it said so
}

// foreign reports whether a file is known to be of another bucket than a directory.
func (w *world) foreign(file uint64, dir int) bool {
	b, ok := w.made[file]
	return ok && b != bucketOf(dir)
}

// dir returns the number of a directory, -1 for what is none.
func (w *world) dir(ino uint64) int {
	for i, d := range w.dirs {
		if d == ino && ino != 0 {
			return i
		}
	}
	return -1
}

func (t *tree) at(p place) uint64 { return t[p.Dir][p.Name] }

// parent returns where a directory is, -1 if it is nowhere.
func (w *world) parent(t *tree, dir int) int {
	for d := range t {
		for _, ino := range t[d] {
			if ino == w.dirs[dir] {
				return d
			}
		}
	}
	return -1
}

// alive reports whether a directory has not been removed.
func (w *world) alive(t *tree, dir int) bool { return isBucket(dir) || w.parent(t, dir) >= 0 }

// within reports whether dir is, or lies below, the directory of that inode number.
func (w *world) within(t *tree, dir int, ino uint64) bool {
	for dir >= 0 {
		if w.dirs[dir] == ino {
			return true
		}
		if isBucket(dir) {
			return false
		}
		dir = w.parent(t, dir)
	}
	return false
}

// full reports whether ino is a directory with names in it.
func (w *world) full(t *tree, ino uint64) bool {
	d := w.dir(ino)
	return d >= 0 && t[d] != [slots]uint64{}
}

func (t *tree) links(ino uint64) (n int) {
	for d := range t {
		for _, i := range t[d] {
			if i == ino {
				n++
			}
		}
	}
	return n
}

// do does an operation that nothing speaks against, and reports whether that is so.
func (w *world) do(t tree, o *operation) (tree, bool) {
	src, dst := t.at(o.At), t.at(o.To)
	switch o.Kind {
	case create:
		if src != 0 || !w.alive(&t, o.At.Dir) {
			return t, false
		}
		t[o.At.Dir][o.At.Name] = o.File
	case remove:
		if src == 0 || w.dir(src) >= 0 {
			return t, false
		}
		t[o.At.Dir][o.At.Name] = 0
	case rmdir:
		if w.dir(src) < 0 || w.full(&t, src) {
			return t, false
		}
		t[o.At.Dir][o.At.Name] = 0
	case link:
		if dst != 0 || !w.alive(&t, o.To.Dir) || t.links(o.File) == 0 || w.foreign(o.File, o.To.Dir) {
			return t, false
		}
		t[o.To.Dir][o.To.Name] = o.File
	case look, open:
		return t, src == o.Found && src != 0
	case fsync:
	case rename, exchange, noClobber:
		return w.move(t, o, src, dst)
	}
	return t, true
}

func (w *world) move(t tree, o *operation, src, dst uint64) (tree, bool) {
	switch {
	case src == 0 || o.Kind == noClobber && dst != 0 || o.Kind == exchange && dst == 0:
		return t, false
	case src == dst:
		return t, true
	case !w.alive(&t, o.To.Dir), bucketOf(o.At.Dir) != bucketOf(o.To.Dir), w.within(&t, o.To.Dir, src):
		return t, false
	case o.Kind == exchange:
		if w.within(&t, o.At.Dir, dst) {
			return t, false
		}
		t[o.At.Dir][o.At.Name] = dst
	case dst != 0 && (w.dir(src) >= 0) != (w.dir(dst) >= 0), dst != 0 && w.full(&t, dst):
		return t, false
	default:
		t[o.At.Dir][o.At.Name] = 0
	}
	t[o.To.Dir][o.To.Name] = src
	return t, true
}

// refused reports whether an operation may have failed with its error number. Where several things speak against an
// operation, which of them is told is the kernel's business.
func (w *world) refused(t *tree, o *operation) bool {
	src, dst := t.at(o.At), t.at(o.To)
	moves := o.Kind == rename || o.Kind == exchange || o.Kind == noClobber
	switch o.Errno {
	case unix.ENOENT:
		switch o.Kind {
		case create:
			return !w.alive(t, o.At.Dir)
		case link:
			return t.links(o.File) == 0 || !w.alive(t, o.To.Dir)
		case rename, noClobber, exchange:
			return src == 0 || !w.alive(t, o.To.Dir) || o.Kind == exchange && dst == 0
		}
		return src == 0
	case unix.EEXIST:
		return o.Kind == create && src != 0 || (o.Kind == link || o.Kind == noClobber) && dst != 0
	case unix.EISDIR:
		return o.Kind == remove && w.dir(src) >= 0 || moves && w.dir(dst) >= 0 && w.dir(src) < 0
	case unix.ENOTDIR:
		return o.Kind == rmdir && src != 0 && w.dir(src) < 0 || moves && w.dir(src) >= 0 && dst != 0 && w.dir(dst) < 0
	case unix.ENOTEMPTY:
		return o.Kind == rmdir && w.full(t, src) || moves && w.full(t, dst)
	case unix.EXDEV:
		return moves && bucketOf(o.At.Dir) != bucketOf(o.To.Dir) || o.Kind == link && w.foreign(o.File, o.To.Dir)
	case unix.EINVAL:
		return moves && w.dir(src) >= 0 && w.within(t, o.To.Dir, src) ||
			o.Kind == exchange && w.dir(dst) >= 0 && w.within(t, o.At.Dir, dst)
	}
	return false
}

// step returns the trees that can follow from t by an operation with its outcome, none if it cannot have been.
func (w *world) step(t tree, o *operation) []tree {
	switch {
	case o.Kind == snapshot:
		if *o.tree == t {
			return []tree{t}
		}
		return nil
	case o.Lost && o.Kind == create:
		all := []tree{t}
		for _, ino := range w.lost {
			made := *o
			made.File = ino
			if done, ok := w.do(t, &made); ok && t.links(ino) == 0 {
				all = append(all, done)
			}
		}
		return all
	case o.Lost:
		if done, ok := w.do(t, o); ok && done != t {
			return []tree{t, done}
		}
		return []tree{t}
	case o.Errno != 0:
		if w.refused(&t, o) {
			return []tree{t}
		}
		return nil
	}
	if done, ok := w.do(t, o); ok {
		return []tree{done}
	}
	return nil
}
