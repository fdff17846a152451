package record

import (
	"ssefs/fs/extent"
)

// Limits of what an inode record holds.
const (
	MaxEnvelope   = 8472 // what crypto.ParseEnvelope accepts
	MaxSymlink    = 4095
	MaxName       = 255
	MaxRootRefs   = 32  // map nodes listed in the inode record itself
	MaxInlineRuns = 12  // runs kept in the inode record before the map gets nodes
	NodeFanout    = 256 // children of an inner map node
	MaxHeight     = 6   // levels of map nodes: 256^6 blocks is past the largest size
)

// Time is a point in time to the nanosecond.
type Time struct {
	Sec  int64
	Nsec uint32
}

// Before reports whether t is earlier than u.
func (t Time) Before(u Time) bool {
	return t.Sec < u.Sec || t.Sec == u.Sec && t.Nsec < u.Nsec
}

// Attr is what the drive knows of an inode besides its contents.
type Attr struct {
	Bucket uint64 // bucket it belongs to: the bucket's directory inode; 0 for the root
	Flags  uint32 // for inode flags as of chattr(1): none is defined in layout 1, so it is 0
	Mode   uint32 // type and permissions as in stat(2)
	UID    uint32
	GID    uint32
	Nlink  uint32
	Rdev   uint32 // of a device node; else 0
	Size   uint64 // bytes
	Blocks uint64 // blocks of 4096 bytes that are not holes
	Atime  Time
	Mtime  Time
	Ctime  Time
	Btime  Time
}

// Inode is the record of a file, directory or other object. Version is the
// epoch in which it was written last.
type Inode struct {
	Version uint64
	Attr
	XattrVersion uint64 // version of the xattr record, 0: there is none
	Parent       uint64 // of a directory: the directory it lies in
	Entries      uint64 // of a directory
	Subdirs      uint64 // of a directory: those among its entries
	EntrySet     [32]byte
	Target       []byte // of a symbolic link
	Envelope     []byte // of a regular file
	Map          Map    // of a regular file
}

// Map is the root of a file's extent map. At height 0 the leaves stand in the
// inode record. At height h > 0, Refs lists nodes of level h-1: level 0 nodes
// are leaves, the others are Nodes.
type Map struct {
	Height uint8
	Leaves []IndexedLeaf
	Refs   []Ref
}

// IndexedLeaf is a leaf with its place in the file, in units of leaves.
type IndexedLeaf struct {
	Index uint64
	Leaf  *extent.Leaf
}

// Ref names a map node by its index within its level, the version that it
// must have, and the number of blocks below it that are not holes.
type Ref struct {
	Index   uint64
	Version uint64
	Blocks  uint64
}

// maxBlocks is the number of blocks of the largest file.
const maxBlocks = 1 << 51

// FanoutBits is the logarithm of NodeFanout: a node of index i is listed by the
// one of index i>>FanoutBits above it.
const FanoutBits = 8

// leafBits is the logarithm of extent.LeafBlocks.
const leafBits = 8

// maxIndex returns the highest index of a map node of a level: that of the node
// which covers the last block of the largest file.
func maxIndex(level uint8) uint64 {
	return (maxBlocks - 1) >> (leafBits + FanoutBits*uint(level))
}

// File types in Mode, as in stat(2).
const (
	TypeMask   = 0o170000
	TypeFifo   = 0o010000
	TypeChar   = 0o020000
	TypeDir    = 0o040000
	TypeBlock  = 0o060000
	TypeFile   = 0o100000
	TypeLink   = 0o120000
	TypeSocket = 0o140000
)

// fileType refuses what is not the type of a file in its place in Mode.
func (d *decoder) fileType(t uint32) {
	switch t {
	case TypeDir, TypeFile, TypeLink, TypeFifo, TypeChar, TypeBlock, TypeSocket:
	default:
		d.fail("file type %#o", t)
	}
}

// IsDir reports whether the inode is a directory.
func (a *Attr) IsDir() bool { return a.Mode&TypeMask == TypeDir }

// IsRegular reports whether the inode is a regular file.
func (a *Attr) IsRegular() bool { return a.Mode&TypeMask == TypeFile }

// IsSymlink reports whether the inode is a symbolic link.
func (a *Attr) IsSymlink() bool { return a.Mode&TypeMask == TypeLink }

// IsDevice reports whether the inode is a device node.
func (a *Attr) IsDevice() bool {
	return a.Mode&TypeMask == TypeChar || a.Mode&TypeMask == TypeBlock
}

func (e *encoder) time(t Time) { e.int(t.Sec); e.uint(uint64(t.Nsec)) }

func (d *decoder) time() Time {
	return Time{d.int(), uint32(d.bounded(999_999_999, "nanoseconds"))}
}

// Append appends the record's plaintext to dst.
func (n *Inode) Append(dst []byte) []byte {
	e := newEncoder(dst, n.Version)
	e.uint(n.Bucket)
	e.uint(uint64(n.Flags))
	e.uint(uint64(n.Mode))
	e.uint(uint64(n.UID))
	e.uint(uint64(n.GID))
	e.uint(uint64(n.Nlink))
	e.time(n.Atime)
	e.time(n.Mtime)
	e.time(n.Ctime)
	e.time(n.Btime)
	e.uint(n.XattrVersion)
	switch n.Mode & TypeMask {
	case TypeDir:
		e.uint(n.Parent)
		e.uint(n.Entries)
		e.uint(n.Subdirs)
		e.fixed(n.EntrySet[:])
	case TypeLink:
		e.bytes(n.Target)
	case TypeFile:
		e.uint(n.Size)
		e.uint(n.Blocks)
		e.bytes(n.Envelope)
		e.fileMap(&n.Map)
	default:
		e.uint(uint64(n.Rdev))
	}
	return e.b
}

// DecodeInode decodes the plaintext of an inode record.
func DecodeInode(b []byte) (*Inode, error) {
	d, version := newDecoder(b)
	n := &Inode{Version: version}
	n.Bucket = d.uint()
	n.Flags = uint32(d.bounded(0, "inode flags"))
	n.Mode = uint32(d.bounded(1<<16-1, "mode"))
	n.UID = uint32(d.bounded(1<<32-1, "uid"))
	n.GID = uint32(d.bounded(1<<32-1, "gid"))
	n.Nlink = uint32(d.bounded(1<<32-1, "link count"))
	n.Atime = d.time()
	n.Mtime = d.time()
	n.Ctime = d.time()
	n.Btime = d.time()
	n.XattrVersion = d.uint()
	d.fileType(n.Mode & TypeMask)
	switch n.Mode & TypeMask {
	case TypeDir:
		n.Parent = d.uint()
		n.Entries = d.uint()
		n.Subdirs = d.uint()
		copy(n.EntrySet[:], d.fixed(32))
	case TypeLink:
		n.Target = d.bytes(MaxSymlink, "link target")
		n.Size = uint64(len(n.Target))
		if n.Size == 0 {
			d.fail("link without a target")
		}
	case TypeFile:
		n.Size = d.bounded(1<<63-1, "size")
		n.Blocks = d.bounded(maxBlocks, "blocks")
		n.Envelope = d.bytes(MaxEnvelope, "envelope")
		n.Map = d.fileMap()
	case TypeChar, TypeBlock:
		n.Rdev = uint32(d.bounded(1<<32-1, "device number"))
	default:
		d.bounded(0, "device number of what is none")
	}
	if err := d.finish(); err != nil {
		return nil, err
	}
	return n, nil
}

func (e *encoder) fileMap(m *Map) {
	e.byte(m.Height)
	if m.Height == 0 {
		e.uint(uint64(len(m.Leaves)))
		prev := uint64(0)
		for _, l := range m.Leaves {
			e.uint(l.Index - prev)
			prev = l.Index
			e.leaf(l.Leaf)
		}
		return
	}
	e.refs(m.Refs)
}

func (d *decoder) fileMap() Map {
	m := Map{Height: d.byte()}
	if m.Height > MaxHeight {
		d.fail("map of height %d", m.Height)
		return Map{}
	}
	if m.Height > 0 {
		m.Refs = d.refs(MaxRootRefs, m.Height-1)
		return m
	}
	n := d.count(MaxInlineRuns, 2, "number of leaves")
	index, runs := uint64(0), 0
	for i := range n {
		index = d.nextIndex(index, i, 0)
		l := d.leaf()
		if runs += len(l.Runs); runs > MaxInlineRuns {
			d.fail("%d runs in the inode", runs)
		}
		if d.err != nil {
			return Map{}
		}
		m.Leaves = append(m.Leaves, IndexedLeaf{index, l})
	}
	return m
}

// nextIndex reads the index, in its level, of the i-th map node in a list: as
// the distance to prev, the one before.
func (d *decoder) nextIndex(prev uint64, i int, level uint8) uint64 {
	last := maxIndex(level)
	step := d.bounded(last, "index of a map node")
	if i > 0 && step == 0 || prev+step > last {
		d.fail("map node %d after %d", prev+step, prev)
		return 0
	}
	return prev + step
}

func (e *encoder) refs(refs []Ref) {
	e.uint(uint64(len(refs)))
	prev := uint64(0)
	for _, r := range refs {
		e.uint(r.Index - prev)
		prev = r.Index
		e.uint(r.Version)
		e.uint(r.Blocks)
	}
}

// refs reads a list of at most limit nodes of a level.
func (d *decoder) refs(limit int, level uint8) []Ref {
	n := d.count(limit, 3, "number of map nodes")
	refs := make([]Ref, 0, n)
	index := uint64(0)
	for i := range n {
		index = d.nextIndex(index, i, level)
		r := Ref{index, d.uint(), d.bounded(maxBlocks, "blocks of a map node")}
		if r.Blocks == 0 {
			d.fail("map node without blocks")
		}
		if d.err != nil {
			return nil
		}
		refs = append(refs, r)
	}
	return refs
}

// leaf writes the data records in the order in which the runs first name them,
// so that there is one encoding for a map.
func (e *encoder) leaf(l *extent.Leaf) {
	const unnamed = extent.LeafBlocks
	var place, order [extent.LeafBlocks]uint16 // of a record: its place among the named; and back
	for i := range l.Recs {
		place[i] = unnamed
	}
	n := uint16(0)
	for _, r := range l.Runs {
		if place[r.Rec] == unnamed {
			place[r.Rec], order[n] = n, r.Rec
			n++
		}
	}
	e.uint(uint64(n))
	for _, i := range order[:n] {
		r := &l.Recs[i]
		e.uint(r.ID)
		e.fixed(r.Salt[:])
		shared := uint64(0)
		if r.Shared {
			shared = 1
		}
		e.uint(uint64(r.Blocks)<<1 | shared)
	}
	e.uint(uint64(len(l.Runs)))
	end := uint16(0)
	for _, r := range l.Runs {
		e.uint(uint64(r.Start - end))
		end = r.Start + r.Count
		e.uint(uint64(r.Count))
		e.uint(uint64(place[r.Rec]))
		e.uint(uint64(r.Index))
	}
}

// leaf reads a leaf, which is not empty.
func (d *decoder) leaf() *extent.Leaf {
	l := &extent.Leaf{}
	n := d.count(extent.LeafBlocks, 22, "number of data records")
	l.Recs = make([]extent.Rec, n)
	for i := range l.Recs {
		r := &l.Recs[i]
		r.ID = d.uint()
		copy(r.Salt[:], d.fixed(extent.SaltSize))
		v := d.bounded(extent.MaxRecordBlocks<<1|1, "blocks of a record")
		r.Blocks, r.Shared = uint16(v>>1), v&1 == 1
	}
	n = d.count(extent.LeafBlocks, 4, "number of runs")
	l.Runs = make([]extent.Run, n)
	if n == 0 {
		d.fail("empty leaf")
	}
	end, named := uint64(0), uint16(0)
	for i := range l.Runs {
		start := end + d.bounded(extent.LeafBlocks, "start of a run")
		count := d.bounded(extent.LeafBlocks, "length of a run")
		end = start + count
		l.Runs[i] = extent.Run{
			Start: uint16(start), Count: uint16(count),
			Rec:   uint16(d.bounded(extent.LeafBlocks, "record of a run")),
			Index: uint16(d.bounded(extent.MaxRecordBlocks, "index of a run")),
		}
		if end > extent.LeafBlocks {
			d.fail("run past the leaf")
			break
		}
		if rec := l.Runs[i].Rec; rec > named {
			d.fail("record %d is named before record %d", rec, named)
			break
		} else if rec == named {
			named++
		}
	}
	if d.err != nil {
		return &extent.Leaf{}
	}
	if err := l.Check(); err != nil {
		d.fail("%v", err)
		return &extent.Leaf{}
	}
	return l
}

// AppendLeaf appends the plaintext of a level 0 map node to dst.
func AppendLeaf(dst []byte, version uint64, l *extent.Leaf) []byte {
	e := newEncoder(dst, version)
	e.leaf(l)
	return e.b
}

// DecodeLeaf decodes a level 0 map node.
func DecodeLeaf(b []byte) (l *extent.Leaf, version uint64, err error) {
	d, version := newDecoder(b)
	l = d.leaf()
	return l, version, d.finish()
}

// AppendNode appends the plaintext of an inner map node to dst. Refs are
// sorted by index.
func AppendNode(dst []byte, version uint64, refs []Ref) []byte {
	e := newEncoder(dst, version)
	e.refs(refs)
	return e.b
}

// DecodeNode decodes an inner map node of a level, which is at least 1 and below
// MaxHeight.
func DecodeNode(b []byte, level uint8) (refs []Ref, version uint64, err error) {
	d, version := newDecoder(b)
	if level < 1 || level >= MaxHeight {
		d.fail("inner map node of level %d", level)
	}
	refs = d.refs(NodeFanout, level-1)
	if len(refs) == 0 {
		d.fail("map node without references")
	}
	return refs, version, d.finish()
}
