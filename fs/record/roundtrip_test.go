package record_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// roundTrip checks that a drawn value comes back from its encoding, and the
// encoding from the value.
func roundTrip[T any](t *testing.T, draw func(*rapid.T) T, encode func(T) []byte, decode func([]byte) (T, error)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		want := draw(t)
		b := encode(want)
		got, err := decode(b)
		if err != nil {
			t.Fatalf("%v does not decode: %v\n%x", show(want), err, b)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded\n%v\nwant\n%v", show(got), show(want))
		}
		if again := encode(got); !bytes.Equal(again, b) {
			t.Fatalf("encoded again\n%x\nwant\n%x", again, b)
		}
		clear(b)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("the decoded value lies in its encoding: %v", show(got))
		}
	})
}

func show(v any) string { return fmt.Sprintf("%+v", v) }

func drawVersion(t *rapid.T) uint64 { return drawNumber(t, "version", 1<<64-1) }

// drawNumber draws numbers of all lengths, and often the ends of the range.
func drawNumber(t *rapid.T, name string, limit uint64) uint64 {
	bits := rapid.IntRange(0, 64).Draw(t, name+" bits")
	v := rapid.Uint64().Draw(t, name)
	if bits < 64 {
		v &= 1<<bits - 1
	}
	return min(v, limit)
}

func draw32(t *rapid.T, name string) [32]byte {
	return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, name))
}

func drawText(t *rapid.T, name string, least, most int) string {
	return string(rapid.SliceOfN(rapid.Byte(), least, most).Draw(t, name))
}

func TestHeadRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Head {
		n := func(name string) uint64 { return drawNumber(t, name, 1<<64-1) }
		h := &record.Head{
			Version: drawVersion(t), NextInode: n("inode"), NextRecord: n("record"), Inodes: n("inodes"),
			Blocks: n("blocks"), Keystore: n("keystore"), Header: n("header"), Settings: n("settings"), BucketSet: draw32(t, "set"),
		}
		h.Epoch = drawNumber(t, "epoch", h.Version)
		copy(h.Lineage[:], drawText(t, "lineage", 16, 16))
		return h
	}, func(h *record.Head) []byte { return h.Append(nil) }, record.DecodeHead)
}

func TestSettingsRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Settings {
		return &record.Settings{Version: drawVersion(t), DefaultPolicy: drawText(t, "policy", 0, 512), Region: drawText(t, "region", 0, 64)}
	}, func(s *record.Settings) []byte { return s.Append(nil) }, record.DecodeSettings)
}

func TestBucketRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Bucket {
		return &record.Bucket{
			Version: drawVersion(t), Removed: rapid.Bool().Draw(t, "removed"), Direct: rapid.Bool().Draw(t, "direct"), Inodes: drawNumber(t, "inodes", 1<<64-1),
			Blocks: drawNumber(t, "blocks", 1<<64-1), InodeSet: draw32(t, "set"), Policy: drawText(t, "policy", 0, 512),
		}
	}, func(b *record.Bucket) []byte { return b.Append(nil) }, record.DecodeBucket)
}

func TestEntryRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) record.Entry {
		return record.Entry{
			Version: drawVersion(t), Inode: drawNumber(t, "inode", 1<<64-1),
			Type: drawType(t), Name: drawName(t),
		}
	}, func(e record.Entry) []byte { return e.Append(nil) }, record.DecodeEntry)
}

func drawName(t *rapid.T) string {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.NewReplacer("/", "_", "\x00", "_").Replace(drawText(t, "name", 1, record.MaxName))
	}).Filter(func(s string) bool { return s != "." && s != ".." }).Draw(t, "entry")
}

func drawType(t *rapid.T) uint32 {
	return rapid.SampledFrom([]uint32{
		record.TypeFifo, record.TypeChar, record.TypeDir, record.TypeBlock, record.TypeFile, record.TypeLink, record.TypeSocket,
	}).Draw(t, "type")
}

// xattrs is what DecodeXattrs returns, as one value.
type xattrs struct {
	list    []record.Xattr
	version uint64
}

func TestXattrsRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) xattrs {
		x := xattrs{list: []record.Xattr{}, version: drawVersion(t)}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringN(1, 60, record.MaxName), 1, 20, rapid.ID).Draw(t, "names") {
			value := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
			if len(value) == 0 {
				value = nil
			}
			x.list = append(x.list, record.Xattr{Name: name, Value: value})
		}
		slices.SortFunc(x.list, func(a, b record.Xattr) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
		return x
	}, func(x xattrs) []byte {
		return record.AppendXattrs(nil, x.version, x.list)
	}, func(b []byte) (x xattrs, err error) {
		x.list, x.version, err = record.DecodeXattrs(b)
		return x, err
	})
}

func TestPackRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Pack {
		p := &record.Pack{Version: drawVersion(t)}
		next := uint64(0)
		for i := range rapid.IntRange(1, 256).Draw(t, "blocks") {
			at := next + drawNumber(t, "step", 1<<51-256+uint64(i)-next)
			next = at + 1
			p.Logical = append(p.Logical, at)
		}
		p.Live = uint32(rapid.IntRange(1, len(p.Logical)).Draw(t, "live"))
		return p
	}, func(p *record.Pack) []byte { return p.Append(nil) }, record.DecodePack)
}

func TestPendingRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Pending {
		p := &record.Pending{Version: drawVersion(t)}
		for range rapid.IntRange(1, 40).Draw(t, "records") {
			p.Data = append(p.Data, record.DataRef{Inode: drawNumber(t, "inode", 1<<64-1), Record: drawNumber(t, "record", 1<<64-1)})
		}
		return p
	}, func(p *record.Pending) []byte { return p.Append(nil) }, record.DecodePending)
}

func TestOrphanRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) *record.Orphan {
		return &record.Orphan{Version: drawVersion(t), Below: drawNumber(t, "below", 1<<64-1)}
	}, func(o *record.Orphan) []byte { return o.Append(nil) }, record.DecodeOrphan)
}

// drawLeaf draws a leaf that has at least one run and at most so many, made as
// the engine makes them.
func drawLeaf(t *rapid.T, runs int) *extent.Leaf {
	l := &extent.Leaf{}
	for range rapid.IntRange(1, min(runs, 40)).Draw(t, "writes") {
		start := rapid.IntRange(0, extent.LeafBlocks-1).Draw(t, "start")
		count := rapid.IntRange(1, min(16, extent.LeafBlocks-start)).Draw(t, "count")
		index := rapid.IntRange(0, extent.MaxRecordBlocks-count).Draw(t, "index")
		rec := extent.Rec{
			ID: drawNumber(t, "record", 1<<64-1), Salt: [extent.SaltSize]byte(rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "salt")),
			Blocks: uint16(rapid.IntRange(index+count, extent.MaxRecordBlocks).Draw(t, "blocks")), Shared: rapid.Bool().Draw(t, "shared"),
		}
		if !slices.ContainsFunc(l.Recs, func(r extent.Rec) bool { return r.ID == rec.ID }) {
			l.Set(uint16(start), uint16(count), rec, uint16(index), nil)
		}
	}
	return inOrder(l)
}

// inOrder returns the leaf with its data records in the order in which they are
// stored: that in which the runs first name them.
func inOrder(l *extent.Leaf) *extent.Leaf {
	sorted := &extent.Leaf{}
	for _, r := range l.Runs {
		sorted.Set(r.Start, r.Count, l.Recs[r.Rec], r.Index, nil)
	}
	return sorted
}

// TestOrderOfRecords: a leaf has one encoding, in whatever order its records
// came.
func TestOrderOfRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawLeaf(t, extent.LeafBlocks)
		order := rapid.Permutation(want.Recs).Draw(t, "order")
		mixed := &extent.Leaf{Recs: order, Runs: slices.Clone(want.Runs)}
		for i := range mixed.Runs {
			id := want.Recs[want.Runs[i].Rec].ID
			mixed.Runs[i].Rec = uint16(slices.IndexFunc(order, func(r extent.Rec) bool { return r.ID == id }))
		}
		if err := mixed.Check(); err != nil {
			t.Fatal(err)
		}
		if a, b := record.AppendLeaf(nil, 1, want), record.AppendLeaf(nil, 1, mixed); !bytes.Equal(a, b) {
			t.Fatalf("two encodings of one leaf:\n%x\n%x", a, b)
		}
	})
}

// leaf is what DecodeLeaf returns, as one value.
type leaf struct {
	leaf    extent.Leaf
	version uint64
}

func TestLeafRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) leaf {
		return leaf{*drawLeaf(t, extent.LeafBlocks), drawVersion(t)}
	}, func(l leaf) []byte {
		return record.AppendLeaf(nil, l.version, &l.leaf)
	}, func(b []byte) (leaf, error) {
		l, version, err := record.DecodeLeaf(b)
		return leaf{*l, version}, err
	})
}

// drawRefs draws references to nodes of a level.
func drawRefs(t *rapid.T, least, most int, level uint8) []record.Ref {
	refs := []record.Ref{}
	index, last := uint64(0), uint64(1)<<(43-8*level)-1
	for range rapid.IntRange(least, most).Draw(t, "nodes") {
		index += drawNumber(t, "step", min(1<<34, last-index))
		refs = append(refs, record.Ref{Index: index, Version: drawNumber(t, "version", 1<<64-1), Blocks: 1 + drawNumber(t, "blocks", 1<<51-1)})
		if index++; index > last {
			break
		}
	}
	return refs
}

// node is what DecodeNode returns, as one value.
type node struct {
	refs    []record.Ref
	version uint64
}

func TestNodeRoundTrip(t *testing.T) {
	roundTrip(t, func(t *rapid.T) node {
		return node{drawRefs(t, 1, record.NodeFanout, nodeLevel-1), drawVersion(t)}
	}, func(n node) []byte {
		return record.AppendNode(nil, n.version, n.refs)
	}, func(b []byte) (n node, err error) {
		n.refs, n.version, err = record.DecodeNode(b, nodeLevel)
		return n, err
	})
}

func drawTime(t *rapid.T, name string) record.Time {
	sec := int64(drawNumber(t, name, 1<<64-1))
	return record.Time{Sec: sec, Nsec: uint32(drawNumber(t, name+" nsec", 999_999_999))}
}

func drawInode(t *rapid.T) *record.Inode {
	id := func(name string) uint32 { return uint32(drawNumber(t, name, 1<<32-1)) }
	n := &record.Inode{Version: drawVersion(t), XattrVersion: drawNumber(t, "xattrs", 1<<64-1)}
	n.Attr = record.Attr{
		Bucket: drawNumber(t, "bucket", 1<<64-1), Mode: drawType(t) | uint32(rapid.IntRange(0, 0o7777).Draw(t, "permissions")),
		UID: id("uid"), GID: id("gid"), Nlink: id("links"),
		Atime: drawTime(t, "atime"), Mtime: drawTime(t, "mtime"), Ctime: drawTime(t, "ctime"), Btime: drawTime(t, "btime"),
	}
	switch {
	case n.IsDir():
		n.Parent, n.Entries, n.Subdirs = drawNumber(t, "parent", 1<<64-1), drawNumber(t, "entries", 1<<64-1), drawNumber(t, "subdirs", 1<<64-1)
		n.EntrySet = draw32(t, "set")
	case n.IsSymlink():
		n.Target = rapid.SliceOfN(rapid.Byte(), 1, record.MaxSymlink).Draw(t, "target")
		n.Size = uint64(len(n.Target))
	case n.IsRegular():
		n.Size, n.Blocks = drawNumber(t, "size", 1<<63-1), drawNumber(t, "blocks", 1<<51)
		n.Envelope = rapid.SliceOfN(rapid.Byte(), 1, record.MaxEnvelope).Draw(t, "envelope")
		n.Map = drawMap(t)
	case n.IsDevice():
		n.Rdev = id("device")
	}
	return n
}

func drawMap(t *rapid.T) record.Map {
	m := record.Map{Height: uint8(rapid.IntRange(0, record.MaxHeight).Draw(t, "height"))}
	if m.Height > 0 {
		m.Refs = drawRefs(t, 0, record.MaxRootRefs, m.Height-1)
		return m
	}
	index, runs := drawNumber(t, "first leaf", 1<<42), 0
	for range rapid.IntRange(0, record.MaxInlineRuns).Draw(t, "leaves") {
		l := drawLeaf(t, 3)
		if runs += len(l.Runs); runs > record.MaxInlineRuns {
			break
		}
		m.Leaves = append(m.Leaves, record.IndexedLeaf{Index: index, Leaf: l})
		index += 1 + drawNumber(t, "step", 1<<30)
	}
	return m
}

func TestInodeRoundTrip(t *testing.T) {
	roundTrip(t, drawInode, func(n *record.Inode) []byte { return n.Append(nil) }, record.DecodeInode)
}

// TestAppendAppends: encoders leave alone what is in the buffer already.
func TestAppendAppends(t *testing.T) {
	before := []byte("before")
	for name, b := range map[string][]byte{
		"head":     sampleHead().Append(bytes.Clone(before)),
		"settings": sampleSettings().Append(bytes.Clone(before)),
		"bucket":   sampleBucket().Append(bytes.Clone(before)),
		"entry":    sampleEntry().Append(bytes.Clone(before)),
		"xattrs":   record.AppendXattrs(bytes.Clone(before), 1, sampleXattrs()),
		"pack":     samplePack().Append(bytes.Clone(before)),
		"pending":  samplePending().Append(bytes.Clone(before)),
		"leaf":     record.AppendLeaf(bytes.Clone(before), 1, sampleLeaf()),
		"node":     record.AppendNode(bytes.Clone(before), 1, sampleRefs()),
		"inode":    sampleInodes()["small file"].Append(bytes.Clone(before)),
	} {
		rest, ok := bytes.CutPrefix(b, before)
		if !ok {
			t.Errorf("%s: what was before is gone", name)
			continue
		}
		if _, err := codecOf(t, name).recode(rest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
