package fs

import (
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// inReply is the result of a READ that lies in the buffer that the reply is sent
// from already. go-fuse's own kind would be copied onto itself over io_uring.
type inReply []byte

// Bytes implements [gofuse.ReadResult].
func (r inReply) Bytes(_ []byte) ([]byte, gofuse.Status) { return r, gofuse.OK }

// Size implements [gofuse.ReadResult].
func (r inReply) Size() int { return len(r) }

// Done implements [gofuse.ReadResult].
func (r inReply) Done() {}

// Readv puts the result where go-fuse's protocol server wants to have it.
func (r inReply) Readv(dst [][]byte) (int, gofuse.Status) {
	if len(r) == 0 || len(dst) == 1 && len(dst[0]) >= len(r) && &dst[0][0] == &r[0] {
		return len(r), gofuse.OK
	}
	n := 0
	for _, d := range dst {
		n += copy(d, r[n:])
	}
	return n, gofuse.OK
}
