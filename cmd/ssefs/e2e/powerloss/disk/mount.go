package disk

import (
	"fmt"
	"sync"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is the file system, mounted.
type Disk struct {
	server *gofuse.Server
	tree   *tree

	cutMu  sync.Mutex // guards replay
	replay *replay
}

// Mount mounts an empty one.
func Mount(point string) (*Disk, error) {
	d := &Disk{tree: newTree()}
	server, err := gofuse.NewServer(d.tree, point, &gofuse.MountOptions{
		FsName: "powerloss", Name: "powerloss", AllowOther: true, DirectMount: true, MaxWrite: 1 << 20,
		ExplicitDataCacheControl: true, // nobody but the kernel writes
		DisableXAttrs:            true,
		DisableReadDirPlus:       true,
	})
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w", point, err)
	}
	d.server = server
	go server.Serve()
	return d, server.WaitMount()
}

// Unmount ends it.
func (d *Disk) Unmount() error { return d.server.Unmount() }

// Position returns how many changes there were.
func (d *Disk) Position() int {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	return d.tree.gone + len(d.tree.log)
}

// Forget forgets how the present came about: only what is done from now on can be cut.
func (d *Disk) Forget() {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	d.tree.gone += len(d.tree.log)
	d.tree.log = nil
}

// Cut writes the directory name of the root to dir as a power failure at the given position could have left it. The
// same seed makes the same of the same log. Without the directory nothing is written. Cuts are cheapest in the order of
// their positions.
func (d *Disk) Cut(position int, seed uint64, promise Promise, name, dir string) error {
	d.cutMu.Lock()
	defer d.cutMu.Unlock()
	d.tree.mu.Lock()
	log, gone := d.tree.log, d.tree.gone
	d.tree.mu.Unlock()
	if gone > 0 {
		return fmt.Errorf("how the disk came to be was forgotten up to position %d", gone)
	}
	if position < 0 || position > len(log) {
		return fmt.Errorf("position %d is not among %d changes", position, len(log))
	}
	if d.replay == nil || d.replay.at > position || d.replay.promise != promise {
		d.replay = newReplay(log, promise)
	}
	d.replay.log = log
	d.replay.advance(position)
	return d.replay.cut(seed).exportPath(name, dir)
}
