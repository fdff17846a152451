package check

import (
	"testing"
	"time"

	"ssefs/fs/record"
	"ssefs/fs/volume/volumetest"
)

// TestDeletionsInProgressAreClean: what is announced to be deleted may be there
// or not.
func TestDeletionsInProgressAreClean(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	holes := ino["/aes/holes"]
	n := x.Resolve("/aes/holes")
	n.Acquire()
	x.Must(x.V.Unlink(ino["/aes"], "holes"))
	x.Sync()
	r := x.clean(VerifyContents)
	if r.Counts.Unnamed != 1 {
		t.Fatalf("%d unnamed inodes", r.Counts.Unnamed)
	}
	// The reclaimer is half through, in the middle of each kind.
	for _, kind := range []record.Kind{record.KindData, record.KindPack, record.KindMap} {
		i := 0
		changes := make(raw)
		for key := range x.Dump(record.Prefix(kind, holes)) {
			if i++; i%2 == 0 {
				changes[key] = nil
			}
		}
		then := x.owned(holes)
		x.tamper(changes)
		x.want(x.check(VerifyContents))
		x.tamper(then)
	}
	// The volume's own head is not the one that tamper made.
	x.V.Release(n)
}

func TestSweepIsClean(t *testing.T) {
	x := sample(t)
	x.file("/aes/file", nil)
	file := x.Inode("/aes/file")
	for i := range uint64(70) { // more leaves than are unmapped one by one
		x.WriteAt("/aes/file", i*leafBytes, volumetest.Noise(i, 40*4096))
	}
	x.Sync()
	before := x.owned(file)
	x.truncate("/aes/file", 2*leafBytes)
	x.Sync()
	for deadline := time.Now().Add(2 * time.Minute); len(x.Dump(record.OrphanKey(file))) > 0; x.Sync() {
		x.clean(SkipContents)
		if time.Now().After(deadline) {
			t.Fatal("what the truncate left is not being deleted")
		}
	}
	x.Unmount()
	x.clean(VerifyContents)
	left := make(raw)
	for key, value := range before {
		k, err := record.ParseKey([]byte(key))
		x.Must(err)
		if _, there := x.owned(file)[key]; !there && k.Kind != record.KindInode {
			left[key] = value
		}
	}
	o := record.Orphan{Version: x.head().Version, Below: x.head().NextRecord}
	k := record.OrphanKey(file)
	left[string(k)] = x.Seal(k, o.Append(nil))
	x.tamper(left)
	x.want(x.check(VerifyContents))
	x.tamper(one(k, nil))
	x.want(x.check(VerifyContents), "map-unlisted /aes/file", "data-unlisted /aes/file")
}

// pendingChanges are what a transaction stores ahead of an epoch: data of a
// file and, in a pack, of an inode that is not stored yet; and the record that
// lists it.
func pendingChanges(x *testVolume, ino map[string]uint64, number uint64) raw {
	data := x.value(x.dataKeys(ino["/aes/small"])[0])
	a, b := x.recordOf(ino["/none/small"]), x.recordOf(ino["/none/other"])
	version := x.DB.NextVersion()
	pack := record.Pack{Version: version, Live: 1, Logical: []uint64{0}}
	p := record.Pending{Version: version, Data: []record.DataRef{{Inode: freshInode, Record: b}, {Inode: ino["/aes/small"], Record: a}}}
	pk, rk, hk := record.PendingKey(number), record.PackKey(freshInode, b), record.HeadKey()
	head := x.head()
	head.Version = version
	return raw{
		string(record.DataKey(ino["/aes/small"], a)): data,
		string(record.DataKey(freshInode, b)):        data,
		string(rk):                                   x.Seal(rk, pack.Append(nil)),
		string(pk):                                   x.Seal(pk, p.Append(nil)),
		string(hk):                                   x.Seal(hk, head.Append(nil)),
	}
}

const freshInode = 1 << 30

func TestPending(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	before := *x.head()
	const unlisted, stray = "data-unlisted /aes/small", "stray <inode 1073741824>"
	check := func(want ...string) {
		t.Helper()
		x.want(x.check(VerifyContents), want...)
	}
	setHead := func(version, epoch uint64) {
		t.Helper()
		h := before
		h.Version, h.Epoch = version, epoch
		x.tamper(one(record.HeadKey(), x.Seal(record.HeadKey(), h.Append(nil))))
	}

	x.tamper(pendingChanges(x, ino, 2))
	check()
	x.tamper(pendingChanges(x, ino, 1)) // the same data again, which no volume does
	check()
	pending := x.Dump(record.Prefix(record.KindPending))

	// The epoch came, the records stayed.
	setHead(x.DB.NextVersion(), x.DB.NextVersion())
	check("pending ", unlisted, stray)
	// They are gone, but the epoch did not come.
	x.tamper(raw{string(record.PendingKey(1)): nil, string(record.PendingKey(2)): nil})
	setHead(x.DB.NextVersion(), x.DB.NextVersion()-1)
	check("pending ", unlisted, stray)
	// One record twice, once under the other's number: it does not open.
	changes := one(record.PendingKey(1), pending[string(record.PendingKey(2))])
	x.tamper(changes)
	check("unreadable ", unlisted, stray)
	x.tamper(one(record.PendingKey(1), nil))

	// Data that is in use, and a number that was never given out.
	version := x.DB.NextVersion()
	k := record.PendingKey(1 << 40)
	p := record.Pending{Version: version, Data: []record.DataRef{{Inode: ino["/none/small"], Record: x.recordOf(ino["/none/small"])}}}
	h := before
	h.Version = version
	h.Epoch = version - 1
	x.tamper(raw{string(k): x.Seal(k, p.Append(nil)), string(record.HeadKey()): x.Seal(record.HeadKey(), h.Append(nil))})
	check("pending ", "pending /none/small", unlisted, stray)
	// Two of one version.
	version = x.DB.NextVersion()
	p.Version, h.Version, h.Epoch = version, version, version-1
	p.Data[0].Record = 1 << 41
	k2 := record.PendingKey(1)
	x.tamper(raw{
		string(k): x.Seal(k, p.Append(nil)), string(k2): x.Seal(k2, p.Append(nil)),
		string(record.HeadKey()): x.Seal(record.HeadKey(), h.Append(nil)),
	})
	check("pending ", unlisted, stray)
}
