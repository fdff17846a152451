package check

import (
	"context"
	"testing"

	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/fs/volume/volumetest"
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
		x.file(b+"/small", volumetest.Noise(seed+1, 1000))
		x.file(b+"/other", volumetest.Noise(seed+2, 5000))
		x.file(b+"/dir/big", volumetest.Noise(seed+3, 5<<20+77))
		x.file(b+"/dir/sub/deep", volumetest.Noise(seed+4, 20_000))
		x.SetXattr(b+"/small", "user.color", "blue")
		x.SetXattr(b+"/dir", "user.color", "green")
		x.V.Unpin(x.Create(b+"/dir/link", volume.NewNode{Mode: record.TypeLink | 0o777, Target: "sub/deep"}))
		x.V.Unpin(x.Create(b+"/dir/fifo", volume.NewNode{Mode: 0o010000 | 0o644}))
	}
	// A map with nodes, of two levels, and packs.
	x.file("/aes/holes", nil)
	for i := range uint64(80) {
		x.WriteAt("/aes/holes", i*leafBytes+i*4096, volumetest.Noise(i, 4096))
	}
	x.Link("/aes/other", "/aes/dir/other too")
	x.Sync()
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
		if n := c.Records[k.String()]; n != int64(len(x.Dump([]byte{byte(k)}))) {
			t.Errorf("%d %s records counted, there are %d", n, k, len(x.Dump([]byte{byte(k)})))
		}
	}
	if m := x.inodeRecord(x.Inode("/aes/holes")).Map; m.Height != 2 {
		t.Errorf("the sample's map is of height %d, it should be 2", m.Height)
	}
	if c.Records["pack"] == 0 {
		t.Error("the sample has no packs")
	}
	x.Unmount()
	x.clean(VerifyContents)
	x.Mount()
}

// TestUnnamedIsClean: open files without a name, live and after a crash.
func TestUnnamedIsClean(t *testing.T) {
	x := sample(t)
	n := x.Resolve("/aes/holes")
	n.Acquire()
	x.Must(x.V.Unlink(x.Inode("/aes"), "holes"))
	tmp, err := x.V.CreateUnnamed(context.Background(), x.Inode("/aes"), volume.NewNode{Mode: record.TypeFile | 0o600})
	x.Must(err)
	tmp.Acquire()
	x.Write(tmp, 0, volumetest.Noise(1, 9000))
	x.Sync()
	if r := x.clean(VerifyContents); r.Counts.Unnamed != 2 {
		t.Errorf("%d unnamed inodes, want 2", r.Counts.Unnamed)
	}
	x.V.Release(n)
	x.V.Release(tmp)
	x.Sync()
	x.clean(VerifyContents)
}
