package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"ssefs/kms"
)

// TestCountKeyFiles counts files under two keys in three buckets, through removal, links and a remount.
func TestCountKeyFiles(t *testing.T) {
	x := newTestVolume(t, Options{})
	var ids []string
	for range 2 {
		info, err := x.kms.CreateKey(t.Context(), kms.By{}, kms.CreateOptions{})
		x.must(err)
		ids = append(ids, info.ID)
	}
	x.mkdir("/one", "KMS:"+ids[0])
	x.mkdir("/two", "KMS:"+ids[0])
	x.mkdir("/other", "KMS:"+ids[1])
	x.mkdir("/one/dir")
	for i := range 5 {
		x.v.Unpin(x.newFile(fmt.Sprintf("/one/dir/f%d", i)))
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/f%d", i)))
	}
	for i := range 3 {
		x.v.Unpin(x.newFile(fmt.Sprintf("/two/f%d", i)))
		x.v.Unpin(x.newFile(fmt.Sprintf("/other/f%d", i)))
	}
	one, two, other := x.inode("/one"), x.inode("/two"), x.inode("/other")
	want := func(when, id string, files ...KeyFiles) {
		t.Helper()
		x.must(x.v.Sync())
		got, err := x.v.CountKeyFiles(t.Context(), id)
		x.must(err)
		if !slices.Equal(got, files) {
			t.Errorf("%s: %v, want %v", when, got, files)
		}
	}
	want("first key", ids[0], KeyFiles{one, 5}, KeyFiles{two, 3})
	want("second key", ids[1], KeyFiles{other, 3})
	want("no key", "00000000-0000-4000-8000-000000000000")

	n := x.resolve("/one/dir/f0")
	x.must(x.v.Link(n, x.inode("/one"), "again"))
	x.v.Unpin(n)
	want("after a link", ids[0], KeyFiles{one, 5}, KeyFiles{two, 3})
	x.must(x.v.Unlink(x.inode("/one/dir"), "f0"))
	x.must(x.v.Unlink(x.inode("/one/dir"), "f1"))
	x.must(x.v.Unlink(two, "f2"))
	x.reopen()
	want("after removals", ids[0], KeyFiles{one, 4}, KeyFiles{two, 2})

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := x.v.CountKeyFiles(ended, ids[0]); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
}
