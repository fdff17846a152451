package volume

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
)

// blockRef numbers a block of the arena. 0 is no block.
type blockRef uint32

// arena is the memory for file contents that are not stored yet: a fixed
// number of blocks outside the Go heap, so that the bound on dirty data is a
// bound on memory and the garbage collector has nothing to look at. take waits
// for blocks to be given back; that is the back-pressure on writers.
type arena struct {
	mem     []byte
	total   int
	reserve int // blocks for those that others wait for

	mu      sync.Mutex // guards the fields below
	free    []blockRef
	waiting int
	changed uint64 // counts what may let a waiting caller go
	room    sync.Cond
	closed  bool
}

// newArena maps memory for size bytes of blocks. Pages are touched only when
// their block is first used.
func newArena(size int64) (*arena, error) {
	n := int(size / crypto.BlockSize)
	mem, err := unix.Mmap(-1, 0, n*crypto.BlockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("memory for %d dirty blocks: %w", n, err)
	}
	// Plaintext does not belong in a core dump; failure changes nothing else.
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	a := &arena{mem: mem, total: n, reserve: max(0, min(leafBlocks+1, n-leafBlocks-1)), free: make([]blockRef, 0, n)}
	a.room.L = &a.mu
	for i := n; i > 0; i-- {
		a.free = append(a.free, blockRef(i))
	}
	return a, nil
}

// take appends n blocks to dst, waiting until there are as many beside the
// reserve. While passes says so, the reserve may be used: what has to be flushed
// for others waits for the caller. kick is called, without locks, before each
// wait, and so is passes.
func (a *arena) take(dst []blockRef, n int, passes func() bool, kick func()) []blockRef {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.free) < n+a.reserve && !a.closed {
		a.waiting++
		seen := a.changed
		a.mu.Unlock()
		kick()
		pass := passes()
		a.mu.Lock()
		if pass && len(a.free) >= n {
			a.waiting--
			break
		}
		if a.changed == seen && !a.closed {
			a.room.Wait()
		}
		a.waiting--
	}
	at := max(0, len(a.free)-n)
	dst = append(dst, a.free[at:]...)
	a.free = a.free[:at]
	return dst
}

// give returns blocks.
func (a *arena) give(refs []blockRef) {
	if len(refs) == 0 {
		return
	}
	a.mu.Lock()
	a.free = append(a.free, refs...)
	a.changed++
	wake := a.waiting > 0
	a.mu.Unlock()
	if wake {
		a.room.Broadcast()
	}
}

// look has those that wait ask anew whether they may pass.
func (a *arena) look() {
	a.mu.Lock()
	a.changed++
	a.mu.Unlock()
	a.room.Broadcast()
}

// used returns the number of blocks that are not free.
func (a *arena) used() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total - len(a.free)
}

// low reports whether more than half of the blocks are in use.
func (a *arena) low() bool { return a.used() > a.total/2 }

// block returns the memory of a block, crypto.BlockSize bytes.
func (a *arena) block(r blockRef) []byte {
	off := (int(r) - 1) * crypto.BlockSize
	return a.mem[off : off+crypto.BlockSize : off+crypto.BlockSize]
}

// close lets waiting callers go, with too few blocks.
func (a *arena) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.room.Broadcast()
}

// release unmaps the memory. Nothing may use a block any more.
func (a *arena) release() error { return unix.Munmap(a.mem) }
