// Package disk is a file system for tests that remembers what has been made durable. It keeps everything in memory, with
// a log of all changes and of all that was synced, and makes from a prefix of the log the states in which a disk could be
// found had the power failed there: with everything that was synced, and any part of the rest.
//
// Contents and size of a file are durable by fsync or fdatasync of that file, the entries of a directory by fsync of that
// directory; what fsync does for the name of a new file is a [Promise]. Of the rest, contents can be lost, kept out of
// order and torn at sectors; sizes and entries can be lost. A rename happens as a whole or not at all.
package disk

import (
	"maps"
	"slices"
)

// rootNode is the number of the root directory.
const rootNode = 1

const (
	pageSize   = 4096
	sectorSize = 512
)

// kind is what a change changes.
type kind uint8

const (
	write    kind = iota // data at off, which may make the file longer
	resize               // the size becomes off
	link                 // name in the directory node leads to the new file or directory child
	unlink               // name in the directory node leads nowhere
	rename               // name in node becomes toName in toNode, whatever that led to
	syncFile             // contents and size of node are durable
	syncDir              // entries of node are durable
)

// change is an entry of the log.
type change struct {
	kind   kind
	isDir  bool // of a child
	node   uint64
	child  uint64
	toNode uint64
	off    int64
	data   []byte
	name   string
	toName string
}

// file is the contents of a file, or the entries of a directory. Pages are never modified, so that images share them;
// those not there are zeros.
type file struct {
	size    int64
	pages   map[int64]*[pageSize]byte
	entries map[string]uint64
}

// image is the state of a file system.
type image struct {
	files map[uint64]*file
}

func newImage() *image {
	return &image{files: map[uint64]*file{rootNode: {entries: map[string]uint64{}}}}
}

// clone returns a copy that can be changed on its own.
func (m *image) clone() *image {
	c := &image{files: make(map[uint64]*file, len(m.files))}
	for n, f := range m.files {
		c.files[n] = &file{size: f.size, pages: maps.Clone(f.pages), entries: maps.Clone(f.entries)}
	}
	return c
}

// file returns the file of a number. One whose name was lost is made when something of it is kept.
func (m *image) file(node uint64) *file {
	f := m.files[node]
	if f == nil {
		f = &file{}
		m.files[node] = f
	}
	return f
}

// apply makes a change.
func (m *image) apply(c change) {
	f := m.file(c.node)
	switch c.kind {
	case write:
		f.write(c.data, c.off)
		f.size = max(f.size, c.off+int64(len(c.data)))
	case resize:
		f.resize(c.off)
	case link:
		f.set(c.name, c.child)
		child := m.file(c.child)
		if c.isDir && child.entries == nil {
			child.entries = map[string]uint64{}
		}
	case unlink:
		delete(f.entries, c.name)
	case rename:
		delete(f.entries, c.name)
		m.file(c.toNode).set(c.toName, c.child)
	case syncFile, syncDir:
	}
}

func (f *file) set(name string, child uint64) {
	if f.entries == nil {
		f.entries = map[string]uint64{}
	}
	f.entries[name] = child
}

// write puts data at off and leaves the size as it is.
func (f *file) write(data []byte, off int64) {
	if f.pages == nil {
		f.pages = map[int64]*[pageSize]byte{}
	}
	for len(data) > 0 {
		var page [pageSize]byte
		if old := f.pages[off/pageSize]; old != nil {
			page = *old
		}
		n := copy(page[off%pageSize:], data)
		f.pages[off/pageSize] = &page
		data, off = data[n:], off+int64(n)
	}
}

// resize sets the size. What lies behind it is zero when the file grows again.
func (f *file) resize(size int64) {
	if size < f.size {
		for i := range f.pages {
			if i*pageSize >= size {
				delete(f.pages, i)
			}
		}
		if old := f.pages[size/pageSize]; old != nil {
			page := *old
			clear(page[size%pageSize:])
			f.pages[size/pageSize] = &page
		}
	}
	f.size = size
}

// read fills b from off on and returns how much there was.
func (f *file) read(b []byte, off int64) int {
	if off >= f.size {
		return 0
	}
	b = b[:min(int64(len(b)), f.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		part := b[done:min(len(b), done+int(pageSize-at%pageSize))]
		if page := f.pages[at/pageSize]; page != nil {
			copy(part, page[at%pageSize:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(b)
}

// names returns the names in a directory, in order.
func (f *file) names() []string { return slices.Sorted(maps.Keys(f.entries)) }
