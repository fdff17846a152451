package check

import (
	"bytes"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/fs/volume/volumetest"
)

// TestContents changes contents in ways that leave sizes and maps right.
func TestContents(t *testing.T) {
	const sealed = crypto.BlockSize + crypto.BlockOverhead
	cases := []struct {
		name   string
		change func(x *testVolume, ino map[string]uint64) raw
		path   string
		ranges []Range
	}{
		{"a bit flipped", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/aes/small"])[0]
			return one(k, flip(x.value(k), 500))
		}, "/aes/small", []Range{{0, 1000}}},
		{"a bit flipped in clear contents", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/none/dir/big"])[1]
			return one(k, flip(x.value(k), 3*sealed+1))
		}, "/none/dir/big", []Range{{1<<20 + 3*4096, 4096}}},
		{"a tag flipped", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/kms/dir/big"])[0]
			return one(k, flip(x.value(k), sealed-1))
		}, "/kms/dir/big", []Range{{0, 4096}}},
		{"blocks exchanged within a record", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/none/dir/big"])[0]
			v := x.value(k)
			c := bytes.Clone(v)
			copy(c[5*sealed:6*sealed], v[9*sealed:])
			copy(c[9*sealed:10*sealed], v[5*sealed:])
			return one(k, c)
		}, "/none/dir/big", []Range{{5 * 4096, 4096}, {9 * 4096, 4096}}},
		{"records of a file exchanged", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/aes/dir/big"])
			return raw{string(k[0]): x.value(k[1]), string(k[1]): x.value(k[0])}
		}, "/aes/dir/big", []Range{{0, 1 << 20}, {1 << 20, 1 << 20}}},
		{"a record of another file", func(x *testVolume, ino map[string]uint64) raw {
			return one(x.dataKeys(ino["/aes/other"])[0], x.value(x.dataKeys(ino["/none/other"])[0]))
		}, "/aes/other", []Range{{0, 5000}}},
		{"a record of the same size in another bucket", func(x *testVolume, ino map[string]uint64) raw {
			return one(x.dataKeys(ino["/kms/dir/sub/deep"])[0], x.value(x.dataKeys(ino["/aes/dir/sub/deep"])[0]))
		}, "/kms/dir/sub/deep", []Range{{0, 20_000}}},
		{"zeros", func(x *testVolume, ino map[string]uint64) raw {
			k := x.dataKeys(ino["/aes/other"])[0]
			return one(k, make([]byte, len(x.value(k))))
		}, "/aes/other", []Range{{0, 5000}}},
	}
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	before := x.clean(VerifyContents).Counts.VerifiedBytes
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x := x.in(t)
			then := make(raw)
			changes := c.change(x, ino)
			for key := range changes {
				then[key] = x.value([]byte(key))
			}
			x.tamper(changes)
			x.clean(SkipContents)
			r := x.check(VerifyContents)
			x.want(r, "contents "+c.path)
			bad := uint64(0)
			if len(r.Problems) != len(c.ranges) {
				t.Fatalf("found\n%swant ranges %v", lines(r), c.ranges)
			}
			for i, want := range c.ranges {
				if got := *r.Problems[i].Range; got != want {
					t.Errorf("range %v, want %v", got, want)
				}
				bad += want.Length
			}
			if want := before - int64(bad); r.Counts.VerifiedBytes != want {
				t.Errorf("%d bytes verified, want %d", r.Counts.VerifiedBytes, want)
			}
			x.tamper(then)
			x.clean(VerifyContents)
		})
	}
}

// TestReplay puts older versions of records back, of several kinds and in ever
// more complete sets.
func TestReplay(t *testing.T) {
	cases := []struct {
		name string
		// keep returns what is put back later, after change.
		keep   func(x *testVolume) raw
		change func(x *testVolume)
		want   []string
	}{
		{"inode", func(x *testVolume) raw {
			return x.Dump(record.InodeKey(x.Inode("/aes/small")))
		}, func(x *testVolume) {
			x.WriteAt("/aes/small", 0, volumetest.Noise(9, 3000))
		}, []string{"inode-set /aes", "data /aes/small", "data-unlisted /aes/small"}},
		{"file with all its records", func(x *testVolume) raw {
			return x.owned(x.Inode("/aes/small"))
		}, func(x *testVolume) {
			x.WriteAt("/aes/small", 0, volumetest.Noise(9, 3000))
		}, []string{"inode-set /aes"}},
		{"deleted file with all its records", func(x *testVolume) raw {
			return x.owned(x.Inode("/aes/small"))
		}, func(x *testVolume) {
			x.Must(x.V.Unlink(x.Inode("/aes"), "small"))
		}, []string{"inode-set /aes", "unnamed <inode SMALL>", "totals "}},
		{"deleted file with all its records and its entry", func(x *testVolume) raw {
			all := x.owned(x.Inode("/aes/small"))
			k := x.EntryKey(x.Inode("/aes"), "small")
			all[string(k)] = x.value(k)
			return all
		}, func(x *testVolume) {
			x.Must(x.V.Unlink(x.Inode("/aes"), "small"))
		}, []string{"inode-set /aes", "entry-set /aes", "totals "}},
		{"directory with all its records", func(x *testVolume) raw {
			all := x.Dump(record.Prefix(record.KindEntry, x.Inode("/aes/dir/sub")))
			for k, v := range x.owned(x.Inode("/aes/dir/sub")) {
				all[k] = v
			}
			all[string(x.EntryKey(x.Inode("/aes/dir/sub"), "deeper"))] = nil
			return all
		}, func(x *testVolume) {
			x.Must(x.V.Rename(x.Inode("/aes/dir/sub"), "deep", x.Inode("/aes/dir/sub"), "deeper", volume.RenameReplace))
		}, []string{"inode-set /aes"}},
		{"extent map node", func(x *testVolume) raw {
			return x.Dump(record.MapKey(x.Inode("/aes/holes"), 0, 3))
		}, func(x *testVolume) {
			x.WriteAt("/aes/holes", 3*leafBytes, volumetest.Noise(9, 4096))
		}, []string{"map /aes/holes"}},
		{"extent map nodes, all", func(x *testVolume) raw {
			return x.Dump(record.Prefix(record.KindMap, x.Inode("/aes/holes")))
		}, func(x *testVolume) {
			x.WriteAt("/aes/holes", 3*leafBytes, volumetest.Noise(9, 4096))
		}, []string{"map /aes/holes"}},
		{"xattrs", func(x *testVolume) raw {
			return x.Dump(record.XattrKey(x.Inode("/aes/small")))
		}, func(x *testVolume) {
			x.SetXattr("/aes/small", "user.color", "red")
		}, []string{"xattr /aes/small"}},
		{"pack", func(x *testVolume) raw {
			return x.Dump(record.Prefix(record.KindPack, x.Inode("/aes/holes")))
		}, func(x *testVolume) {
			x.WriteAt("/aes/holes", 3*leafBytes+3*4096, volumetest.Noise(9, 4096))
		}, []string{"pack /aes/holes"}},
		{"deleted data", func(x *testVolume) raw {
			return x.Dump(record.Prefix(record.KindData, x.Inode("/none/small")))
		}, func(x *testVolume) {
			x.truncate("/none/small", 0)
		}, []string{"data-unlisted /none/small"}},
		{"bucket", func(x *testVolume) raw {
			return x.Dump(record.BucketKey(x.Inode("/aes")))
		}, func(x *testVolume) {
			x.Must(x.V.Unlink(x.Inode("/aes"), "small"))
		}, []string{"bucket-set ", "inode-set /aes"}},
		{"bucket with everything in it", func(x *testVolume) raw {
			all := x.Dump(record.BucketKey(x.Inode("/aes")))
			for k, v := range x.owned(x.Inode("/aes/small")) {
				all[k] = v
			}
			return all
		}, func(x *testVolume) {
			x.WriteAt("/aes/small", 0, volumetest.Noise(9, 3000))
		}, []string{"bucket-set "}},
		{"directory that moved", func(x *testVolume) raw {
			return x.Dump(record.InodeKey(x.Inode("/aes/dir/sub")))
		}, func(x *testVolume) {
			x.Must(x.V.Rename(x.Inode("/aes/dir"), "sub", x.Inode("/aes"), "sub", volume.RenameReplace))
		}, []string{"inode-set /aes", "parent /aes/sub"}},
		{"entry of a file that was replaced", func(x *testVolume) raw {
			return x.Dump(x.EntryKey(x.Inode("/aes"), "small"))
		}, func(x *testVolume) {
			x.Must(x.V.Rename(x.Inode("/aes"), "other", x.Inode("/aes"), "small", volume.RenameReplace))
		}, []string{"entry-set /aes", "entry /aes/small", "links /aes/dir/other too"}},
		{"settings", func(x *testVolume) raw {
			return x.Dump(record.SettingsKey())
		}, func(x *testVolume) {
			x.Must(x.V.SetSettings(volume.Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmNone}, Region: "local"}))
		}, []string{"settings "}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x := sample(t)
			small := x.Inode("/aes/small")
			then := c.keep(x)
			c.change(x)
			x.Sync()
			x.clean(VerifyContents)
			x.Unmount()
			now := make(raw)
			for key := range then {
				for k, v := range x.sameOwner([]byte(key)) {
					now[k] = v
				}
			}
			x.restore(now, then)
			want := make([]string, len(c.want))
			for i, w := range c.want {
				want[i] = replaceInode(w, small)
			}
			x.want(x.check(SkipContents), want...)
		})
	}
}
