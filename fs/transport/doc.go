// Package transport mounts a FUSE file system and brings the kernel's requests
// to it: over io_uring where the kernel offers that and the mount wants it, else
// over /dev/fuse.
//
// A go-fuse Server reads /dev/fuse in both cases. It answers INIT and gets what
// the kernel never sends over io_uring: FORGET and INTERRUPT; notifications go
// out through it. Requests from rings are answered by a second protocol server
// of go-fuse's on the same file system, told of the same INIT, so that both mean
// the same by every request.
//
// Interrupts reach the Server only, which does not find requests of rings. The
// kernel takes that for a request that has just been answered and goes on
// waiting for it, killed processes included. So over io_uring nothing is
// interrupted; file systems here must not depend on it.
package transport
