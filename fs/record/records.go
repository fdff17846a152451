package record

import "strings"

// MaxXattrs bounds the extended attributes of one inode: their names and
// values together, in bytes.
const MaxXattrs = 256 << 10

// MaxXattrValue is the largest value of one extended attribute, the kernel's
// own limit.
const MaxXattrValue = 64 << 10

// Head is the volume's head record: what the newest epoch is and the counters
// that go with it. Every transaction writes it.
type Head struct {
	Version    uint64   // of the transaction
	Lineage    [16]byte // random: what the volume's history is told apart by after an older state was restored
	Epoch      uint64   // version of the last whole epoch: transactions after it stored data ahead, each with a pending record
	NextInode  uint64   // inode numbers below it may be in use
	NextRecord uint64   // data record and pending numbers below it may be in use
	Inodes     uint64   // inodes in the volume
	Blocks     uint64   // blocks of 4096 bytes that are not holes, in all files
	Keystore   uint64   // generation of the keystore
	Header     uint64   // generation of the volume header
	Settings   uint64   // version of the settings record, 0: there is none
	BucketSet  [32]byte // set hash over the bucket records' numbers and versions
}

// Append appends the record's plaintext to dst.
func (h *Head) Append(dst []byte) []byte {
	e := newEncoder(dst, h.Version)
	e.fixed(h.Lineage[:])
	e.uint(h.Epoch)
	e.uint(h.NextInode)
	e.uint(h.NextRecord)
	e.uint(h.Inodes)
	e.uint(h.Blocks)
	e.uint(h.Keystore)
	e.uint(h.Header)
	e.uint(h.Settings)
	e.fixed(h.BucketSet[:])
	return e.b
}

// DecodeHead decodes a head record.
func DecodeHead(b []byte) (*Head, error) {
	d, version := newDecoder(b)
	h := &Head{Version: version}
	copy(h.Lineage[:], d.fixed(16))
	h.Epoch = d.bounded(version, "epoch")
	h.NextInode = d.uint()
	h.NextRecord = d.uint()
	h.Inodes = d.uint()
	h.Blocks = d.uint()
	h.Keystore = d.uint()
	h.Header = d.uint()
	h.Settings = d.uint()
	copy(h.BucketSet[:], d.fixed(32))
	return h, d.finish()
}

// Settings are the volume's settings that commands can change.
type Settings struct {
	Version       uint64
	DefaultPolicy string
	Region        string
}

// Append appends the record's plaintext to dst.
func (s *Settings) Append(dst []byte) []byte {
	e := newEncoder(dst, s.Version)
	e.string(s.DefaultPolicy)
	e.string(s.Region)
	return e.b
}

// DecodeSettings decodes a settings record.
func DecodeSettings(b []byte) (*Settings, error) {
	d, version := newDecoder(b)
	s := &Settings{Version: version}
	s.DefaultPolicy = string(d.bytes(512, "default policy"))
	s.Region = string(d.bytes(64, "region"))
	return s, d.finish()
}

// Bucket is the record of a bucket. Bucket 0 stands for the root directory.
type Bucket struct {
	Version  uint64
	Removed  bool // its directory is gone; open files of it remain
	Direct   bool // every data key is wrapped by the customer master key itself, without a bucket key
	Inodes   uint64
	Blocks   uint64   // blocks of 4096 bytes that are not holes, in its files
	InodeSet [32]byte // set hash over its inodes' numbers and versions
	Policy   string
}

// Flags of a bucket record.
const (
	bucketRemoved = 1 << 0
	bucketDirect  = 1 << 1
)

// Append appends the record's plaintext to dst.
func (b *Bucket) Append(dst []byte) []byte {
	e := newEncoder(dst, b.Version)
	flags := byte(0)
	if b.Removed {
		flags |= bucketRemoved
	}
	if b.Direct {
		flags |= bucketDirect
	}
	e.byte(flags)
	e.uint(b.Inodes)
	e.uint(b.Blocks)
	e.fixed(b.InodeSet[:])
	e.string(b.Policy)
	return e.b
}

// DecodeBucket decodes a bucket record.
func DecodeBucket(p []byte) (*Bucket, error) {
	d, version := newDecoder(p)
	b := &Bucket{Version: version}
	flags := d.byte()
	if flags > bucketRemoved|bucketDirect {
		d.fail("bucket flags %#x", flags)
	}
	b.Removed, b.Direct = flags&bucketRemoved != 0, flags&bucketDirect != 0
	b.Inodes = d.uint()
	b.Blocks = d.uint()
	copy(b.InodeSet[:], d.fixed(32))
	b.Policy = string(d.bytes(512, "policy"))
	return b, d.finish()
}

// Entry is a directory entry.
type Entry struct {
	Version uint64
	Inode   uint64
	Type    uint32 // file type bits of the inode's mode
	Name    string
}

// Append appends the record's plaintext to dst.
func (n *Entry) Append(dst []byte) []byte {
	e := newEncoder(dst, n.Version)
	e.uint(n.Inode)
	e.byte(byte(n.Type >> 12))
	e.string(n.Name)
	return e.b
}

// DecodeEntry decodes a directory entry.
func DecodeEntry(b []byte) (Entry, error) {
	d, version := newDecoder(b)
	n := Entry{Version: version, Inode: d.uint()}
	n.Type = uint32(d.byte()) << 12
	d.fileType(n.Type)
	size := d.bounded(MaxName, "length of the name")
	if size == 0 {
		d.fail("entry without a name")
	}
	if d.err == nil {
		n.Name = string(d.fixed(int(size)))
	}
	if d.err == nil && !IsName(n.Name) {
		d.fail("name %q", n.Name)
	}
	return n, d.finish()
}

// IsName reports whether a directory can have an entry of that name.
func IsName(name string) bool {
	return name != "" && len(name) <= MaxName && name != "." && name != ".." &&
		strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, 0) < 0
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// AppendXattrs appends the plaintext of an xattr record to dst. List is sorted
// by name.
func AppendXattrs(dst []byte, version uint64, list []Xattr) []byte {
	e := newEncoder(dst, version)
	e.uint(uint64(len(list)))
	for _, x := range list {
		e.string(x.Name)
		e.bytes(x.Value)
	}
	return e.b
}

// DecodeXattrs decodes an xattr record.
func DecodeXattrs(b []byte) (list []Xattr, version uint64, err error) {
	d, version := newDecoder(b)
	n := d.count(MaxXattrs, 3, "number of xattrs")
	if n == 0 {
		d.fail("no xattrs")
	}
	list = make([]Xattr, 0, n)
	size := 0
	for i := range n {
		x := Xattr{Name: string(d.bytes(MaxName, "length of the name"))}
		x.Value = d.bytes(MaxXattrValue, "length of the value")
		if x.Name == "" || i > 0 && x.Name <= list[i-1].Name {
			d.fail("xattr names out of order")
			break
		}
		if size += len(x.Name) + len(x.Value); size > MaxXattrs {
			d.fail("more than %d bytes of xattrs", MaxXattrs)
			break
		}
		list = append(list, x)
	}
	return list, version, d.finish()
}

// Pack counts the live blocks of a data record that several map leaves refer
// to.
type Pack struct {
	Version uint64
	Live    uint32   // at least 1: with the last live block the pack goes
	Logical []uint64 // the record's logical blocks, ascending
}

// Append appends the record's plaintext to dst.
func (p *Pack) Append(dst []byte) []byte {
	e := newEncoder(dst, p.Version)
	e.uint(uint64(p.Live))
	e.uint(uint64(len(p.Logical)))
	prev := uint64(0)
	for _, l := range p.Logical {
		e.uint(l - prev)
		prev = l
	}
	return e.b
}

// DecodePack decodes a pack record.
func DecodePack(b []byte) (*Pack, error) {
	d, version := newDecoder(b)
	p := &Pack{Version: version, Live: uint32(d.bounded(256, "live blocks"))}
	n := d.count(256, 1, "blocks of a pack")
	at := uint64(0)
	for i := range n {
		step := d.bounded(maxBlocks-1, "step between blocks")
		if i > 0 && step == 0 || at+step >= maxBlocks {
			d.fail("block %d after %d", at+step, at)
			break
		}
		at += step
		p.Logical = append(p.Logical, at)
	}
	if d.err == nil && (p.Live == 0 || int(p.Live) > len(p.Logical)) {
		d.fail("%d live blocks of %d", p.Live, len(p.Logical))
	}
	return p, d.finish()
}

// DataRef names one data record.
type DataRef struct {
	Inode  uint64
	Record uint64
}

// Pending lists data records that were stored before the map that names them.
type Pending struct {
	Version uint64
	Data    []DataRef
}

// maxPending bounds the data records of one pending record.
const maxPending = 1 << 16

// Append appends the record's plaintext to dst.
func (p *Pending) Append(dst []byte) []byte {
	e := newEncoder(dst, p.Version)
	e.uint(uint64(len(p.Data)))
	for _, r := range p.Data {
		e.uint(r.Inode)
		e.uint(r.Record)
	}
	return e.b
}

// DecodePending decodes a pending record.
func DecodePending(b []byte) (*Pending, error) {
	d, version := newDecoder(b)
	p := &Pending{Version: version}
	n := d.count(maxPending, 2, "number of data records")
	if n == 0 {
		d.fail("no data records")
	}
	for range n {
		p.Data = append(p.Data, DataRef{d.uint(), d.uint()})
	}
	return p, d.finish()
}

// Orphan marks records of an inode that are to be deleted. With Below 0 it is
// the whole inode, which has no name any more and goes when nobody has it
// open, or when the volume is next mounted. Otherwise the inode lives, and
// what goes are data records numbered under Below and map nodes that its map
// does not name: what a truncate or a punched hole of many leaves left behind.
type Orphan struct {
	Version uint64
	Below   uint64
}

// Append appends the record's plaintext to dst.
func (o *Orphan) Append(dst []byte) []byte {
	e := newEncoder(dst, o.Version)
	e.uint(o.Below)
	return e.b
}

// DecodeOrphan decodes an orphan record.
func DecodeOrphan(b []byte) (*Orphan, error) {
	d, version := newDecoder(b)
	o := &Orphan{Version: version, Below: d.uint()}
	return o, d.finish()
}
