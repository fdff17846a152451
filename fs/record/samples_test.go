package record_test

import (
	"strings"
	"testing"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// codec decodes the plaintext of one kind of record and encodes what came out.
type codec struct {
	name   string
	recode func([]byte) ([]byte, error)
}

// codecs are all the decoders of record plaintexts.
func codecs() []codec {
	return []codec{
		{"head", func(b []byte) ([]byte, error) {
			r, err := record.DecodeHead(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"settings", func(b []byte) ([]byte, error) {
			r, err := record.DecodeSettings(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"bucket", func(b []byte) ([]byte, error) {
			r, err := record.DecodeBucket(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"inode", func(b []byte) ([]byte, error) {
			r, err := record.DecodeInode(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"entry", func(b []byte) ([]byte, error) {
			r, err := record.DecodeEntry(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"xattrs", func(b []byte) ([]byte, error) {
			list, version, err := record.DecodeXattrs(b)
			if err != nil {
				return nil, err
			}
			return record.AppendXattrs(nil, version, list), nil
		}},
		{"pack", func(b []byte) ([]byte, error) {
			r, err := record.DecodePack(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"pending", func(b []byte) ([]byte, error) {
			r, err := record.DecodePending(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"orphan", func(b []byte) ([]byte, error) {
			r, err := record.DecodeOrphan(b)
			if err != nil {
				return nil, err
			}
			return r.Append(nil), nil
		}},
		{"leaf", func(b []byte) ([]byte, error) {
			l, version, err := record.DecodeLeaf(b)
			if err != nil {
				return nil, err
			}
			return record.AppendLeaf(nil, version, l), nil
		}},
		{"node", func(b []byte) ([]byte, error) {
			refs, version, err := record.DecodeNode(b, nodeLevel)
			if err != nil {
				return nil, err
			}
			return record.AppendNode(nil, version, refs), nil
		}},
	}
}

// nodeLevel is the level of all inner map nodes here.
const nodeLevel = 1

// codecOf returns the codec of that name.
func codecOf(t testing.TB, name string) codec {
	t.Helper()
	for _, c := range codecs() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("no codec %q", name)
	return codec{}
}

// sample is the encoding of a record as the engine writes it.
type sample struct {
	codec, name string
	plain       []byte
}

// samples has every kind of record, small and as large as it gets.
func samples() []sample {
	head, settings, bucket, entry, pack, pending := sampleHead(), sampleSettings(), sampleBucket(), sampleEntry(), samplePack(), samplePending()
	removed := record.Bucket{Version: 5, Removed: true, Inodes: 1, Blocks: 2, InodeSet: pattern32(7), Policy: "KMS:alias/" + strings.Repeat("a", 255)}
	longName := record.Entry{Version: 1 << 60, Inode: 1<<64 - 1, Type: record.TypeLink, Name: strings.Repeat("\xff", record.MaxName)}
	sweep, whole := record.Orphan{Version: 77, Below: 300}, record.Orphan{Version: 78}
	out := []sample{
		{"head", "head", head.Append(nil)},
		{"head", "new volume", (&record.Head{Version: 1, Lineage: lineage(), Epoch: 1, NextInode: 2, NextRecord: 1, Inodes: 1, Settings: 1}).Append(nil)},
		{"head", "after an early flush", (&record.Head{Version: 1 << 33, Lineage: lineage(), Epoch: 1<<33 - 3, NextInode: 2, NextRecord: 9, Header: 1}).Append(nil)},
		{"settings", "settings", settings.Append(nil)},
		{"bucket", "bucket", bucket.Append(nil)},
		{"bucket", "removed", removed.Append(nil)},
		{"bucket", "without bucket keys", (&record.Bucket{Version: 6, Direct: true, Inodes: 1, Policy: "KMS"}).Append(nil)},
		{"bucket", "root", (&record.Bucket{Version: 1, Inodes: 1}).Append(nil)},
		{"entry", "entry", entry.Append(nil)},
		{"entry", "longest name", longName.Append(nil)},
		{"xattrs", "xattrs", record.AppendXattrs(nil, 9, sampleXattrs())},
		{"xattrs", "large value", record.AppendXattrs(nil, 9, []record.Xattr{{Name: "user.big", Value: make([]byte, record.MaxXattrValue)}})},
		{"pack", "pack", pack.Append(nil)},
		{"pack", "full", fullPack().Append(nil)},
		{"pending", "pending", pending.Append(nil)},
		{"orphan", "sweep", sweep.Append(nil)},
		{"orphan", "whole inode", whole.Append(nil)},
		{"leaf", "leaf", record.AppendLeaf(nil, 9, sampleLeaf())},
		{"leaf", "most fragmented", record.AppendLeaf(nil, 9, fragmentedLeaf())},
		{"node", "node", record.AppendNode(nil, 9, sampleRefs())},
		{"node", "full", record.AppendNode(nil, 9, fullRefs(record.NodeFanout, 7))},
	}
	for name, n := range sampleInodes() {
		out = append(out, sample{"inode", name, n.Append(nil)})
	}
	return out
}

func sampleHead() *record.Head {
	return &record.Head{
		Version: 0x1234, Lineage: lineage(), Epoch: 0x1234, NextInode: 17, NextRecord: 300, Inodes: 12, Blocks: 70000,
		Keystore: 3, Header: 2, Settings: 1, BucketSet: pattern32(1),
	}
}

func sampleSettings() *record.Settings {
	return &record.Settings{Version: 1, DefaultPolicy: "AES256", Region: "local"}
}

func sampleBucket() *record.Bucket {
	return &record.Bucket{Version: 0x1234, Inodes: 5, Blocks: 457, InodeSet: pattern32(2), Policy: "KMS:alias/acs/oss"}
}

func sampleEntry() *record.Entry {
	return &record.Entry{Version: 0x1233, Inode: 16, Type: record.TypeFile, Name: "report.txt"}
}

func sampleXattrs() []record.Xattr {
	return []record.Xattr{{Name: "security.capability", Value: []byte{1, 2, 3}}, {Name: "user.empty"}, {Name: "user.note", Value: []byte("hi")}}
}

func samplePack() *record.Pack {
	return &record.Pack{Version: 0x1200, Live: 2, Logical: []uint64{3, 255, 256, 70000}}
}

func fullPack() *record.Pack {
	p := &record.Pack{Version: 1, Live: 256}
	for i := range uint64(256) {
		p.Logical = append(p.Logical, i<<40)
	}
	return p
}

func samplePending() *record.Pending {
	return &record.Pending{Version: 0x1230, Data: []record.DataRef{{Inode: 16, Record: 298}, {Inode: 16, Record: 299}}}
}

// sampleLeaf is a leaf whose first 200 blocks were written at once, and of
// which two scattered ones were overwritten later, into a pack.
func sampleLeaf() *extent.Leaf {
	l := &extent.Leaf{}
	pack := extent.Rec{ID: 290, Salt: salt(20), Blocks: 4, Shared: true}
	l.Set(0, 200, extent.Rec{ID: 21, Salt: salt(1), Blocks: 200}, 0, nil)
	l.Set(3, 1, pack, 0, nil)
	l.Set(255, 1, pack, 1, nil)
	return l
}

// fragmentedLeaf has a record for each block.
func fragmentedLeaf() *extent.Leaf {
	l := &extent.Leaf{}
	for i := range uint16(extent.LeafBlocks) {
		l.Set(i, 1, extent.Rec{ID: uint64(i) + 1, Salt: salt(byte(i)), Blocks: extent.MaxRecordBlocks}, 255-i, nil)
	}
	return l
}

func sampleRefs() []record.Ref {
	return []record.Ref{{Index: 0, Version: 0x1200, Blocks: 256}, {Index: 1, Version: 0x1234, Blocks: 1}, {Index: 300, Version: 9, Blocks: 200}}
}

func fullRefs(n int, step uint64) []record.Ref {
	var refs []record.Ref
	for i := range uint64(n) {
		refs = append(refs, record.Ref{Index: i * step, Version: 1<<40 + i, Blocks: 1 << 30})
	}
	return refs
}

// sampleInodes has an inode of every type, and files with every shape of map.
func sampleInodes() map[string]*record.Inode {
	attr := func(mode uint32) record.Attr {
		return record.Attr{
			Bucket: 2, Mode: mode, UID: 1000, GID: 100, Nlink: 1,
			Atime: record.Time{Sec: 1_700_000_000, Nsec: 1}, Mtime: record.Time{Sec: 1_700_000_001, Nsec: 999_999_999},
			Ctime: record.Time{Sec: 1_700_000_002}, Btime: record.Time{Sec: -1, Nsec: 5},
		}
	}
	with := func(mode uint32, change func(*record.Inode)) *record.Inode {
		n := &record.Inode{Version: 0x1234, Attr: attr(mode)}
		change(n)
		return n
	}
	file := func(change func(*record.Inode)) *record.Inode {
		return with(record.TypeFile|0o644, func(n *record.Inode) {
			n.Envelope = []byte("an envelope")
			change(n)
		})
	}
	return map[string]*record.Inode{
		"directory": with(record.TypeDir|0o755, func(n *record.Inode) {
			n.Nlink, n.Parent, n.Entries, n.Subdirs, n.EntrySet = 3, 1, 4, 1, pattern32(3)
		}),
		"link": with(record.TypeLink|0o777, func(n *record.Inode) {
			n.Target = []byte("../other")
			n.Size = uint64(len(n.Target))
		}),
		"longest link": with(record.TypeLink|0o777, func(n *record.Inode) {
			n.Target = make([]byte, record.MaxSymlink)
			n.Size = record.MaxSymlink
		}),
		"device":     with(record.TypeChar|0o600, func(n *record.Inode) { n.Rdev = 0x0103 }),
		"disk":       with(record.TypeBlock|0o660, func(n *record.Inode) { n.Rdev = 0x0800 }),
		"fifo":       with(record.TypeFifo|0o600, func(*record.Inode) {}),
		"socket":     with(record.TypeSocket|0o600, func(n *record.Inode) { n.XattrVersion = 4 }),
		"empty file": file(func(*record.Inode) {}),
		"small file": file(func(n *record.Inode) {
			leaf := &extent.Leaf{}
			leaf.Set(0, 2, extent.Rec{ID: 40, Salt: salt(4), Blocks: 2}, 0, nil)
			n.Size, n.Blocks = 5000, 2
			n.Map.Leaves = []record.IndexedLeaf{{Index: 0, Leaf: leaf}}
		}),
		"sparse file": file(func(n *record.Inode) {
			n.Size, n.Blocks = 1<<44, 3
			for i := range uint64(3) {
				leaf := &extent.Leaf{}
				leaf.Set(255, 1, extent.Rec{ID: 40 + i, Salt: salt(byte(i)), Blocks: 1}, 0, nil)
				n.Map.Leaves = append(n.Map.Leaves, record.IndexedLeaf{Index: i << 20, Leaf: leaf})
			}
		}),
		"large file": file(func(n *record.Inode) {
			n.Size, n.Blocks = 1<<40, 457
			n.Map = record.Map{Height: 1, Refs: sampleRefs()}
		}),
		"fragmented file": file(func(n *record.Inode) {
			n.Size, n.Blocks = 1<<50, record.MaxInlineRuns
			leaf := &extent.Leaf{}
			for i := range uint16(record.MaxInlineRuns - 1) {
				leaf.Set(2*i, 1, extent.Rec{ID: 40 + uint64(i), Salt: salt(byte(i)), Blocks: 1}, 0, nil)
			}
			last := &extent.Leaf{}
			last.Set(7, 1, extent.Rec{ID: 39, Salt: salt(99), Blocks: 3}, 1, nil)
			n.Map.Leaves = []record.IndexedLeaf{{Index: 0, Leaf: leaf}, {Index: 1<<30 - 1, Leaf: last}}
		}),
		"many nodes": file(func(n *record.Inode) {
			n.Size, n.Blocks = 1<<50, 1<<35
			n.Map = record.Map{Height: 2, Refs: fullRefs(record.MaxRootRefs, 7)}
		}),
		"map of height 1 without blocks": file(func(n *record.Inode) {
			n.Size, n.Map = 1<<40, record.Map{Height: 1, Refs: []record.Ref{}}
		}),
		"largest file": file(func(n *record.Inode) {
			n.Size, n.Blocks = 1<<63-1, 1<<51
			n.Envelope = make([]byte, record.MaxEnvelope)
			n.Map = record.Map{Height: record.MaxHeight, Refs: fullRefs(8, 1)}
		}),
	}
}

func pattern32(start byte) (p [32]byte) {
	for i := range p {
		p[i] = start + byte(i)
	}
	return p
}

// lineage is that of all head records here.
func lineage() (l [16]byte) {
	copy(l[:], counting(16, 5))
	return l
}

func salt(start byte) (s [extent.SaltSize]byte) {
	for i := range s {
		s[i] = start + byte(i)
	}
	return s
}
