package disk

import (
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Call is a kind of request that can be made to fail.
type Call string

// The calls.
const (
	Write Call = "write" // write, and writing mapped pages back
	Sync  Call = "sync"  // fsync and fdatasync, of files and directories
	Make  Call = "make"  // making files and making them longer
	Name  Call = "name"  // renaming
	Read  Call = "read"  // read, and reading mapped pages
	// Short is a write(2) that takes a part only. It does not fail; Errno does not matter.
	Short Call = "short"
)

// Fault makes calls fail: after Skip calls of the kind, Count times, with Errno.
type Fault struct {
	Call        Call
	Skip, Count int
	Errno       unix.Errno
}

// Inject makes calls fail from now on, in place of an earlier fault. For reads to be made at all the kernel is told to
// forget what it has of every file.
func (d *Disk) Inject(f Fault) {
	d.tree.mu.Lock()
	d.tree.fault, d.tree.failed = f, 0
	last := d.tree.last
	d.tree.mu.Unlock()
	if f.Call != Read || f.Count == 0 {
		return
	}
	for node := uint64(rootNode + 1); node <= last; node++ {
		_ = d.server.InodeNotify(node, 0, 0) // one that the kernel does not know has nothing to forget
	}
}

// Failed returns how many calls have failed since the fault was injected.
func (d *Disk) Failed() int {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	return d.tree.failed
}

// fails tells whether a call is to fail, and how. Guarded by mu.
func (t *tree) fails(call Call) (gofuse.Status, bool) {
	switch {
	case t.fault.Call != call || t.fault.Count == 0:
		return gofuse.OK, false
	case t.fault.Skip > 0:
		t.fault.Skip--
		return gofuse.OK, false
	}
	t.fault.Count--
	t.failed++
	return gofuse.Status(t.fault.Errno), true
}
