// Package fs puts the FUSE protocol in front of a volume: it turns requests
// into calls of the volume's methods, errors into error numbers (errno.go is
// the only place), and encryption policies into extended attributes.
//
// Invariants:
//   - The node number that the kernel knows an inode by is its inode number,
//     except that 1 is the root of the mount, which may be a bucket.
//   - Every reply that names a node number to the kernel is counted with
//     Volume.Remember, and FORGET takes it back.
//   - Handlers start no goroutine and hold no lock while they call the kernel.
//     Notifications to the kernel, which may make it send requests and wait for
//     them, come from goroutines that hold nothing.
//   - No request is answered with ENOSYS but FLUSH, once: the kernel would take
//     it for success from then on, and with FSYNC that would lose data.
//
// The daemon must never use its own mount: not by a path, not through a child
// that inherits a descriptor or a working directory on it.
package fs
