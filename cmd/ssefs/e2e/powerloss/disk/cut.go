package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Promise is what fsync of a file does for its name.
type Promise string

const (
	// Named makes it durable together with what happened in the directory before, as the file systems of Linux do.
	Named Promise = "named"
	// Unnamed leaves it to fsync of the directory, as POSIX allows.
	Unnamed Promise = "unnamed"
)

// replay goes through a log and keeps apart what is durable and what is not.
type replay struct {
	promise Promise
	log     []change
	at      int
	durable *image
	pending []change
}

func newReplay(log []change, promise Promise) *replay {
	return &replay{promise: promise, log: log, durable: newImage()}
}

// advance goes on until the first end changes have happened.
func (r *replay) advance(end int) {
	for ; r.at < end; r.at++ {
		c := r.log[r.at]
		switch c.kind {
		case syncFile:
			r.settle(r.pending, func(p change) bool { return !p.ofNames() && p.node == c.node })
			if r.promise == Named {
				r.settleNames(c.node)
			}
		case syncDir:
			r.settle(r.pending, func(p change) bool { return p.ofNames() && (p.node == c.node || p.toNode == c.node) })
		default:
			r.pending = append(r.pending, c)
		}
	}
}

// ofNames tells whether the change is one of directory entries.
func (c change) ofNames() bool { return c.kind == link || c.kind == unlink || c.kind == rename }

// settle makes those of the oldest pending changes durable that are chosen.
func (r *replay) settle(oldest []change, chosen func(change) bool) {
	rest := r.pending[len(oldest):]
	left := slices.DeleteFunc(oldest, func(c change) bool {
		if !chosen(c) {
			return false
		}
		r.durable.apply(c)
		return true
	})
	r.pending = append(left, rest...)
}

// settleNames makes the names of a file durable, and what happened in its directory before.
func (r *replay) settleNames(node uint64) {
	for i := len(r.pending) - 1; i >= 0; i-- {
		p := r.pending[i]
		if p.ofNames() && p.child == node {
			r.settle(r.pending[:i+1], func(c change) bool { return c.ofNames() && c.node == p.node })
			return
		}
	}
}

// cut returns a state in which the disk could be now, chosen by the seed.
func (r *replay) cut(seed uint64) *image {
	rng := rand.New(rand.NewPCG(seed, 0))
	// How likely the disk is to have kept something: in some states it has kept nothing, or everything.
	moods := [...]float64{0, 0.1, 0.5, 0.9, 1}
	mood := func() float64 { return moods[rng.IntN(len(moods))] }
	chance := func(p float64) bool { return rng.Float64() < p }
	keepData, keepSize, keepEntry, tear := mood(), mood(), mood(), mood()
	m := r.durable.clone()
	stale := map[uint64]bool{} // files a cut of which was lost, and all after that with it
	for _, c := range r.pending {
		switch {
		case stale[c.node]:
		case c.kind == write:
			f := m.file(c.node)
			if end := c.off + int64(len(c.data)); end > f.size && chance(keepSize) {
				f.size = end
			}
			data := c.data[:min(int64(len(c.data)), max(0, f.size-c.off))]
			switch {
			case chance(tear):
				writeSectors(f, data, c.off, func() bool { return chance(keepData) })
			case chance(keepData):
				f.write(data, c.off)
			}
		case c.kind == resize:
			if chance(keepSize) {
				m.apply(c)
			} else {
				// The blocks of what is written after a cut belong to the file only once the cut does.
				stale[c.node] = c.off < m.file(c.node).size
			}
		case chance(keepEntry):
			m.apply(c)
		}
	}
	return m
}

// writeSectors writes those sectors that keep says.
func writeSectors(f *file, data []byte, off int64, keep func() bool) {
	for len(data) > 0 {
		n := min(int64(len(data)), sectorSize-off%sectorSize)
		if keep() {
			f.write(data[:n], off)
		}
		data, off = data[n:], off+n
	}
}

// export writes a directory and all below it to dir, which must not exist.
func (m *image) export(node uint64, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	f := m.files[node]
	for _, name := range f.names() {
		path := filepath.Join(dir, name)
		child := m.files[f.entries[name]]
		var err error
		if child.entries != nil {
			err = m.export(f.entries[name], path)
		} else {
			err = child.export(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// export writes a file, with holes where nothing is.
func (f *file) export(path string) (err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, i := range slices.Sorted(maps.Keys(f.pages)) {
		if i*pageSize >= f.size {
			break
		}
		if _, err := out.WriteAt(f.pages[i][:], i*pageSize); err != nil {
			return err
		}
	}
	return out.Truncate(f.size)
}

// exportPath writes the directory that a path below the root leads to. If there is none, none is made.
func (m *image) exportPath(name, dir string) error {
	node, ok := m.files[rootNode].entries[name]
	if !ok {
		return nil
	}
	if m.files[node].entries == nil {
		return fmt.Errorf("%s: %w", name, fs.ErrInvalid)
	}
	return m.export(node, dir)
}
