// Package uring serves FUSE requests over io_uring (Linux 6.14 and later, the
// kernel's Documentation/filesystems/fuse/fuse-io-uring.rst), in place of
// read(2) and write(2) on /dev/fuse.
//
// The kernel has one queue for each possible processor and puts a request into
// the queue of the processor that the caller runs on. Here each queue has
// rings of depth one, each with an operating system thread of its own that is
// bound to the queue's processor. The thread waits in io_uring_enter(2), calls
// the handler itself, and commits the reply and waits for the next request with
// one system call. Nothing is handed to another goroutine: waking one costs
// more than the request.
//
// Invariants:
//   - All rings, buffers and threads exist before the kernel is told that
//     io_uring will be used. From then on it lets nobody use the mount until
//     every queue has a ring, or until a registration fails: then it goes on
//     with /dev/fuse for good. [Transport.Start] sees to it that one or the
//     other happens.
//   - Buffers are mapped memory, never the Go heap. A ring's buffer is unmapped
//     after its ring is closed.
//   - A ring is never taken out of a queue while the file system is mounted: the
//     kernel would lose a request that is on its way to it.
//   - A handler may block. A queue whose rings are all in handlers and make no
//     progress gets more of them; see [queue].
//
// What does not come over rings goes on over /dev/fuse: INIT, FORGET and
// INTERRUPT, and notifications from this side.
package uring
