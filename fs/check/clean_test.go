package check

import (
	"context"
	"testing"

	"ssefs/fs/record"
	"ssefs/fs/volume"
)

// sample fills a volume with something of everything.
func sample(t testing.TB) *testVolume {
	x := newVolume(t)
	x.mkdir("/aes", "AES256")
	x.mkdir("/none", "none")
	x.mkdir("/kms", "KMS")
	for i, b := range []string{"/aes", "/none", "/kms"} {
		seed := uint64(i * 100)
		x.mkdir(b + "/dir")
		x.mkdir(b + "/dir/sub")
		x.file(b+"/empty", nil)
		x.file(b+"/small", noise(seed+1, 1000))
		x.file(b+"/other", noise(seed+2, 5000))
		x.file(b+"/dir/big", noise(seed+3, 5<<20+77))
		x.file(b+"/dir/sub/deep", noise(seed+4, 20_000))
		x.setXattr(b+"/small", "user.color", "blue")
		x.setXattr(b+"/dir", "user.color", "green")
		x.v.Unpin(x.create(b+"/dir/link", volume.NewNode{Mode: record.TypeLink | 0o777, Target: "sub/deep"}))
		x.v.Unpin(x.create(b+"/dir/fifo", volume.NewNode{Mode: 0o010000 | 0o644}))
	}
	// A map with nodes, of two levels, and packs.
	x.file("/aes/holes", nil)
	for i := range uint64(80) {
		x.writeAt("/aes/holes", i*leafBytes+i*4096, noise(i, 4096))
	}
	n, err := x.v.Resolve("/aes/other")
	x.must(err)
	x.must(x.v.Link(n, x.inode("/aes/dir"), "other too"))
	x.v.Unpin(n)
	x.sync()
	return x
}

func TestSampleIsClean(t *testing.T) {
	x := sample(t)
	r := x.clean(VerifyContents)
	want := Counts{Inodes: 1 + 3*10 + 1, Directories: 1 + 3*3, Files: 3*5 + 1, Symlinks: 3, Special: 3, Buckets: 3}
	c := r.Counts
	if c.Inodes != want.Inodes || c.Directories != want.Directories || c.Files != want.Files ||
		c.Symlinks != want.Symlinks || c.Special != want.Special || c.Buckets != want.Buckets {
		t.Errorf("counts %+v, want %+v", c, want)
	}
	if want := c.Inodes - 1 + 1; c.Entries != want { // not the root, and one twice
		t.Errorf("%d entries, want %d", c.Entries, want)
	}
	if want := int64(3*(1000+5000+5<<20+77+20_000) + 80*4096); c.VerifiedBytes != want {
		t.Errorf("%d bytes verified, want %d", c.VerifiedBytes, want)
	}
	for _, k := range kinds() {
		if n := c.Records[k.String()]; n != int64(len(x.dump([]byte{byte(k)}))) {
			t.Errorf("%d %s records counted, there are %d", n, k, len(x.dump([]byte{byte(k)})))
		}
	}
	if m := x.inodeRecord(x.inode("/aes/holes")).Map; m.Height != 2 {
		t.Errorf("the sample's map is of height %d, it should be 2", m.Height)
	}
	if c.Records["pack"] == 0 {
		t.Error("the sample has no packs")
	}
	x.unmount()
	x.clean(VerifyContents)
	x.mount()
}

// TestUnnamedIsClean: open files without a name, live and after a crash.
func TestUnnamedIsClean(t *testing.T) {
	x := sample(t)
	n, err := x.v.Resolve("/aes/holes")
	x.must(err)
	n.Acquire()
	x.must(x.v.Unlink(x.inode("/aes"), "holes"))
	tmp, err := x.v.CreateUnnamed(context.Background(), x.inode("/aes"), volume.NewNode{Mode: record.TypeFile | 0o600})
	x.must(err)
	tmp.Acquire()
	x.write(tmp, 0, noise(1, 9000))
	x.sync()
	if r := x.clean(VerifyContents); r.Counts.Unnamed != 2 {
		t.Errorf("%d unnamed inodes, want 2", r.Counts.Unnamed)
	}
	x.v.Release(n)
	x.v.Release(tmp)
	x.sync()
	x.clean(VerifyContents)
}
