package check

import (
	"fmt"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// flip returns a copy with one bit changed.
func flip(b []byte, at int) []byte {
	c := append([]byte(nil), b...)
	c[at] ^= 1
	return c
}

// dataKeys returns the keys of an inode's data records in order.
func (x *testVolume) dataKeys(ino uint64) [][]byte {
	var keys [][]byte
	view := x.DB.View()
	defer view.Release()
	x.Must(view.IterateKeys(record.Prefix(record.KindData, ino), nil, func(key []byte, _ int64) error {
		keys = append(keys, append([]byte(nil), key...))
		return nil
	}))
	return keys
}

// recordOf returns the number of an inode's first data record.
func (x *testVolume) recordOf(ino uint64) uint64 {
	k, err := record.ParseKey(x.dataKeys(ino)[0])
	x.Must(err)
	return k.Sub
}

// one makes a change of one record.
func one(key, value []byte) raw { return raw{string(key): value} }

// damages are single changes of the sample that a check without contents
// finds, and everything that it finds then.
var damages = []struct {
	name   string
	change func(x *testVolume, ino map[string]uint64) raw
	want   []string
}{
	{"inode flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := record.InodeKey(ino["/aes/small"])
		return one(k, flip(x.value(k), 60))
	}, []string{"unreadable /aes/small", "inode-set /aes", "totals "}},
	{"inode deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.InodeKey(ino["/aes/small"]), nil)
	}, []string{"entry /aes/small", "stray /aes/small", "inode-set /aes", "totals "}},
	{"directory's inode flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := record.InodeKey(ino["/aes/dir"])
		return one(k, flip(x.value(k), 60))
	}, []string{"unreadable /aes/dir", "inode-set /aes"}},
	{"directory's inode deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.InodeKey(ino["/aes/dir"]), nil)
	}, []string{"entry /aes/dir", "stray /aes/dir", "inode-set /aes", "totals "}},
	{"file's inode of another file", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.InodeKey(ino["/aes/small"]), x.value(record.InodeKey(ino["/aes/other"])))
	}, []string{"unreadable /aes/small", "inode-set /aes", "totals "}},
	{"whole file deleted", func(x *testVolume, ino map[string]uint64) raw {
		changes := make(raw)
		for key := range x.owned(ino["/none/dir/big"]) {
			changes[key] = nil
		}
		return changes
	}, []string{"entry /none/dir/big", "inode-set /none", "totals "}},
	{"whole file and its entry deleted", func(x *testVolume, ino map[string]uint64) raw {
		changes := one(x.EntryKey(ino["/none/dir"], "big"), nil)
		for key := range x.owned(ino["/none/dir/big"]) {
			changes[key] = nil
		}
		return changes
	}, []string{"entry-set /none/dir", "inode-set /none", "totals "}},
	{"root's inode deleted", func(*testVolume, map[string]uint64) raw {
		return one(record.InodeKey(volume.RootInode), nil)
	}, []string{"unreadable /", "stray /", "inode-set /", "totals "}},
	{"entry flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := x.EntryKey(ino["/aes"], "small")
		return one(k, flip(x.value(k), 45))
	}, []string{"unreadable /aes", "entry-set /aes", "unnamed <inode %d>"}},
	{"entry deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.EntryKey(ino["/aes"], "small"), nil)
	}, []string{"entry-set /aes", "unnamed <inode %d>"}},
	{"subdirectory's entry deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.EntryKey(ino["/aes"], "dir"), nil)
	}, []string{"entry-set /aes", "unnamed <inode %d>"}},
	{"bucket's entry deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.EntryKey(volume.RootInode, "kms"), nil)
	}, []string{"entry-set /", "unnamed <inode %d>"}},
	{"entry under another name", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.EntryKey(ino["/aes"], "new"), x.value(x.EntryKey(ino["/aes"], "small")))
	}, []string{"unreadable /aes", "entry-set /aes"}},
	{"entries exchanged", func(x *testVolume, ino map[string]uint64) raw {
		a, b := x.EntryKey(ino["/aes"], "small"), x.EntryKey(ino["/aes"], "other")
		return raw{string(a): x.value(b), string(b): x.value(a)}
	}, []string{"unreadable /aes", "entry-set /aes", "unnamed <inode %d>", "links /aes/dir/other too"}},
	{"xattr flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := record.XattrKey(ino["/aes/small"])
		return one(k, flip(x.value(k), 50))
	}, []string{"unreadable /aes/small"}},
	{"xattr deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.XattrKey(ino["/aes/dir"]), nil)
	}, []string{"xattr /aes/dir"}},
	{"xattr of another version", func(x *testVolume, ino map[string]uint64) raw {
		k := record.XattrKey(ino["/aes/small"])
		return one(k, x.Seal(k, record.AppendXattrs(nil, 2, []record.Xattr{{Name: "user.color", Value: []byte("red")}})))
	}, []string{"xattr /aes/small"}},
	{"xattr of a file that has none", func(x *testVolume, ino map[string]uint64) raw {
		k := record.XattrKey(ino["/aes/other"])
		return one(k, x.Seal(k, record.AppendXattrs(nil, 2, []record.Xattr{{Name: "user.color", Value: []byte("red")}})))
	}, []string{"xattr /aes/other"}},
	{"map node flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := record.MapKey(ino["/aes/holes"], 0, 7)
		return one(k, flip(x.value(k), 50))
	}, []string{"unreadable /aes/holes"}},
	{"map node deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.MapKey(ino["/aes/holes"], 0, 7), nil)
	}, []string{"map /aes/holes"}},
	{"inner map node deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.MapKey(ino["/aes/holes"], 1, 0), nil)
	}, []string{"map /aes/holes"}},
	{"map node of another place", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.MapKey(ino["/aes/holes"], 0, 7), x.value(record.MapKey(ino["/aes/holes"], 0, 8)))
	}, []string{"unreadable /aes/holes"}},
	{"map node added", func(x *testVolume, ino map[string]uint64) raw {
		k := record.MapKey(ino["/aes/holes"], 0, 255)
		return one(k, x.Seal(k, record.AppendNode(nil, 2, nil)))
	}, []string{"map-unlisted /aes/holes"}},
	{"map node of a small file", func(x *testVolume, ino map[string]uint64) raw {
		k := record.MapKey(ino["/aes/small"], 0, 0)
		return one(k, x.Seal(k, record.AppendNode(nil, 2, nil)))
	}, []string{"map-unlisted /aes/small"}},
	{"map node of a directory", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.MapKey(ino["/aes/dir"], 0, 0), []byte("x"))
	}, []string{"stray /aes/dir"}},
	{"data deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.dataKeys(ino["/none/dir/big"])[2], nil)
	}, []string{"data /none/dir/big"}},
	{"data cut short", func(x *testVolume, ino map[string]uint64) raw {
		k := x.dataKeys(ino["/none/dir/big"])[1]
		v := x.value(k)
		return one(k, v[:len(v)-crypto.BlockSize-crypto.BlockOverhead])
	}, []string{"data /none/dir/big"}},
	{"data of impossible size", func(x *testVolume, ino map[string]uint64) raw {
		k := x.dataKeys(ino["/aes/small"])[0]
		return one(k, x.value(k)[:10])
	}, []string{"data /aes/small"}},
	{"data added", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.DataKey(ino["/aes/small"], x.recordOf(ino["/none/small"])), x.value(x.dataKeys(ino["/aes/small"])[0]))
	}, []string{"data-unlisted /aes/small"}},
	{"data numbered past the head", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.DataKey(ino["/aes/small"], 1<<40), x.value(x.dataKeys(ino["/aes/small"])[0]))
	}, []string{"data /aes/small", "data-unlisted /aes/small"}},
	{"data of no inode", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.DataKey(1<<50, 1), x.value(x.dataKeys(ino["/aes/small"])[0]))
	}, []string{"stray <inode 1125899906842624>"}},
	{"pack flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := x.aPack(ino["/aes/holes"])
		return one(k, flip(x.value(k), 50))
	}, []string{"unreadable /aes/holes"}},
	{"pack deleted", func(x *testVolume, ino map[string]uint64) raw {
		return one(x.aPack(ino["/aes/holes"]), nil)
	}, []string{"pack /aes/holes"}},
	{"pack's count too low", func(x *testVolume, ino map[string]uint64) raw {
		return x.changePack(ino["/aes/holes"], func(p *record.Pack) { p.Live-- })
	}, []string{"pack /aes/holes"}},
	{"pack's blocks moved", func(x *testVolume, ino map[string]uint64) raw {
		return x.changePack(ino["/aes/holes"], func(p *record.Pack) { p.Logical[3]++ })
	}, []string{"pack /aes/holes"}},
	{"pack's blocks fewer", func(x *testVolume, ino map[string]uint64) raw {
		return x.changePack(ino["/aes/holes"], func(p *record.Pack) { p.Logical = p.Logical[:len(p.Logical)-1]; p.Live-- })
	}, []string{"pack /aes/holes"}},
	{"pack without data", func(x *testVolume, ino map[string]uint64) raw {
		k := record.PackKey(ino["/aes/small"], x.recordOf(ino["/none/small"]))
		p := record.Pack{Version: 2, Live: 1, Logical: []uint64{0}}
		return one(k, x.Seal(k, p.Append(nil)))
	}, []string{"pack /aes/small"}},
	{"pack of data that is not shared", func(x *testVolume, ino map[string]uint64) raw {
		p := record.Pack{Version: 2, Live: 1, Logical: []uint64{0}}
		k := x.dataKeys(ino["/aes/small"])[0]
		k[0] = byte(record.KindPack)
		return one(k, x.Seal(k, p.Append(nil)))
	}, []string{"pack /aes/small"}},
	{"bucket flipped", func(x *testVolume, ino map[string]uint64) raw {
		k := record.BucketKey(ino["/none"])
		return one(k, flip(x.value(k), 50))
	}, []string{"unreadable /none", "bucket-set ", "bucket /none", "bucket /none/dir", "bucket /none/dir/big", "bucket /none/dir/fifo",
		"bucket /none/dir/link", "bucket /none/dir/sub", "bucket /none/dir/sub/deep", "bucket /none/empty", "bucket /none/other", "bucket /none/small"}},
	{"bucket's policy exchanged", func(x *testVolume, ino map[string]uint64) raw {
		return one(record.BucketKey(ino["/none"]), x.value(record.BucketKey(ino["/aes"])))
	}, []string{"unreadable /none", "bucket-set ", "bucket /none", "bucket /none/dir", "bucket /none/dir/big", "bucket /none/dir/fifo",
		"bucket /none/dir/link", "bucket /none/dir/sub", "bucket /none/dir/sub/deep", "bucket /none/empty", "bucket /none/other", "bucket /none/small"}},
	{"bucket added", func(x *testVolume, ino map[string]uint64) raw {
		k := record.BucketKey(ino["/aes/dir"])
		b := record.Bucket{Version: 2, Policy: "AES256"}
		return one(k, x.Seal(k, b.Append(nil)))
	}, []string{"bucket-set ", "bucket /aes/dir"}},
	{"bucket marked as removed", func(x *testVolume, ino map[string]uint64) raw {
		k := record.BucketKey(ino["/none"])
		b, err := record.DecodeBucket(x.open(k))
		x.Must(err)
		b.Removed = true
		return one(k, x.Seal(k, b.Append(nil)))
	}, []string{"bucket /none"}},
	{"orphan record of a file with a name", func(x *testVolume, ino map[string]uint64) raw {
		k := record.OrphanKey(ino["/aes/small"])
		o := record.Orphan{Version: 2}
		return one(k, x.Seal(k, o.Append(nil)))
	}, []string{"orphan /aes/small"}},
	{"orphan record of a directory", func(x *testVolume, ino map[string]uint64) raw {
		k := record.OrphanKey(ino["/aes/dir"])
		o := record.Orphan{Version: 2, Below: 3}
		return one(k, x.Seal(k, o.Append(nil)))
	}, []string{"orphan /aes/dir"}},
	{"orphan record of no inode", func(x *testVolume, ino map[string]uint64) raw {
		k := record.OrphanKey(1 << 50)
		o := record.Orphan{Version: 2}
		return one(k, x.Seal(k, o.Append(nil)))
	}, []string{"orphan <inode 1125899906842624>"}},
	{"orphan record flipped", func(*testVolume, map[string]uint64) raw {
		return one(record.OrphanKey(4), []byte("something that does not open, for it was never sealed"))
	}, []string{"unreadable /kms"}},
	{"pending record put back", func(x *testVolume, ino map[string]uint64) raw {
		k := record.PendingKey(1)
		p := record.Pending{Version: 2, Data: []record.DataRef{{Inode: ino["/aes/small"], Record: x.recordOf(ino["/aes/small"])}}}
		return one(k, x.Seal(k, p.Append(nil)))
	}, []string{"pending "}},
	{"pending record flipped", func(*testVolume, map[string]uint64) raw {
		return one(record.PendingKey(4), []byte("something that does not open, for it was never sealed"))
	}, []string{"unreadable "}},
	{"record of the future", func(x *testVolume, ino map[string]uint64) raw {
		k := record.OrphanKey(ino["/aes/holes"])
		o := record.Orphan{Version: 1 << 40, Below: 1}
		return one(k, x.Seal(k, o.Append(nil)))
	}, []string{"too-new /aes/holes"}},
	{"settings deleted", func(*testVolume, map[string]uint64) raw {
		return one(record.SettingsKey(), nil)
	}, []string{"settings "}},
	{"settings flipped", func(x *testVolume, _ map[string]uint64) raw {
		return one(record.SettingsKey(), flip(x.value(record.SettingsKey()), 45))
	}, []string{"unreadable "}},
	{"settings of another version", func(x *testVolume, _ map[string]uint64) raw {
		s := record.Settings{Version: 3, DefaultPolicy: "none", Region: "local"}
		return one(record.SettingsKey(), x.Seal(record.SettingsKey(), s.Append(nil)))
	}, []string{"settings "}},
	{"head deleted", func(*testVolume, map[string]uint64) raw {
		return one(record.HeadKey(), nil)
	}, []string{"head "}},
	{"head flipped", func(x *testVolume, _ map[string]uint64) raw {
		return one(record.HeadKey(), flip(x.value(record.HeadKey()), 60))
	}, []string{"head "}},
	{"head older than the store", func(x *testVolume, _ map[string]uint64) raw {
		return one(record.HeadKey(), x.value(record.HeadKey()))
	}, []string{"head "}},
	{"unknown keys", func(*testVolume, map[string]uint64) raw {
		return raw{"\x00": []byte("x"), "A": []byte("x"), "Hx": []byte("x"), "Ix": []byte("x"), "Kilroy was here, and stayed for a long while": []byte("x"), "Z": []byte("x"), "\xfe": []byte("x")}
	}, []string{"unknown-key "}},
}

// aPack returns the key of the pack of a file with the most live blocks.
func (x *testVolume) aPack(ino uint64) []byte {
	x.Helper()
	var best []byte
	most := uint32(0)
	for key := range x.Dump(record.Prefix(record.KindPack, ino)) {
		p, err := record.DecodePack(x.open([]byte(key)))
		x.Must(err)
		if p.Live > most {
			best, most = []byte(key), p.Live
		}
	}
	if most < 5 {
		x.Fatalf("inode %d has no pack of 5 blocks", ino)
	}
	return best
}

func (x *testVolume) changePack(ino uint64, change func(*record.Pack)) raw {
	x.Helper()
	k := x.aPack(ino)
	p, err := record.DecodePack(x.open(k))
	x.Must(err)
	change(p)
	return one(k, x.Seal(k, p.Append(nil)))
}

// samplePaths are the inodes of the sample that damages refer to.
func (x *testVolume) samplePaths() map[string]uint64 {
	ino := make(map[string]uint64)
	for _, b := range []string{"/aes", "/none", "/kms"} {
		for _, p := range []string{"", "/small", "/other", "/dir", "/dir/big", "/dir/sub", "/dir/sub/deep"} {
			ino[b+p] = x.Inode(b + p)
		}
	}
	ino["/aes/holes"] = x.Inode("/aes/holes")
	return ino
}

// TestDamage makes one change after the other to one sample, and takes it back
// each time.
func TestDamage(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	for _, d := range damages {
		t.Run(d.name, func(t *testing.T) {
			x := x.in(t)
			then := make(raw)
			changes := d.change(x, ino)
			for key := range changes {
				then[key] = x.Dump([]byte(key))[key]
			}
			head := x.head()
			x.tamper(changes)
			want := make([]string, len(d.want))
			for i, w := range d.want {
				if want[i] = w; w == "unnamed <inode %d>" {
					want[i] = fmt.Sprintf(w, unnamed(d.name, ino))
				}
			}
			view := x.DB.View()
			x.want(x.checkWith(Options{View: view, KMS: x.KMS}), want...)
			view.Release()
			then[string(record.HeadKey())] = x.NextHead(head)
			x.Commit(then)
			x.clean(SkipContents)
		})
	}
}

// unnamed returns the inode that loses its name in some of the damages.
func unnamed(damage string, ino map[string]uint64) uint64 {
	switch damage {
	case "subdirectory's entry deleted":
		return ino["/aes/dir"]
	case "bucket's entry deleted":
		return ino["/kms"]
	}
	return ino["/aes/small"]
}
