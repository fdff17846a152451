package fs

import (
	"bytes"
	"testing"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

func TestInReply(t *testing.T) {
	buf := []byte("contents and more")
	r := inReply(buf[:8])
	if r.Size() != 8 {
		t.Errorf("size %d", r.Size())
	}
	if b, s := r.Bytes(nil); s != gofuse.OK || &b[0] != &buf[0] || len(b) != 8 {
		t.Errorf("Bytes gives %q, %v", b, s)
	}
	if n, s := r.Readv([][]byte{buf}); n != 8 || s != gofuse.OK || string(buf) != "contents and more" {
		t.Errorf("Readv in place: %d, %v, %q", n, s, buf)
	}
	elsewhere := make([]byte, 8)
	if n, s := r.Readv([][]byte{elsewhere[:3], elsewhere[3:]}); n != 8 || s != gofuse.OK || !bytes.Equal(elsewhere, r) {
		t.Errorf("Readv elsewhere: %d, %v, %q", n, s, elsewhere)
	}
	if n, s := (inReply{}).Readv(nil); n != 0 || s != gofuse.OK {
		t.Errorf("Readv of nothing: %d, %v", n, s)
	}
}
