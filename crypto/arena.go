package crypto

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// arenaChunk is how much the arena maps at a time, in bytes: 512 keys. A multiple of every page size in use,
// and small against an RLIMIT_MEMLOCK of 8 MiB, the usual limit of an unprivileged process.
const arenaChunk = 16 << 10

// arena hands out 32-byte slots from pages that are outside the Go heap (the garbage collector neither
// copies nor forgets them), locked into memory (never swapped) and excluded from core dumps. Pages are
// never given back: the number of live keys is bounded by the number of open files.
type arena struct {
	mu       sync.Mutex
	free     []*[KeySize]byte
	unlocked int // chunks that the kernel did not lock, or not keep out of core dumps
}

// secrets is the one arena of the process. It is package state because locked memory is a resource of the
// process (RLIMIT_MEMLOCK counts it there), and keys of several volumes share its pages. It has no behaviour
// to configure.
var secrets arena

// take returns a zeroed slot. It fails only when the kernel refuses memory.
func (a *arena) take() (*[KeySize]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		if err := a.grow(); err != nil {
			return nil, err
		}
	}
	last := len(a.free) - 1
	slot := a.free[last]
	a.free = a.free[:last]
	return slot, nil
}

// put wipes a slot and makes it available again.
func (a *arena) put(slot *[KeySize]byte) {
	clear(slot[:])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, slot)
}

// grow maps another chunk. The caller holds the mutex.
func (a *arena) grow() error {
	pages, err := unix.Mmap(-1, 0, arenaChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map memory for keys: %w", err)
	}
	// Refusals are remembered, not returned: a drive that does not mount because of a low RLIMIT_MEMLOCK
	// helps nobody, and lockedMemory lets the caller warn.
	if unix.Mlock(pages) != nil || unix.Madvise(pages, unix.MADV_DONTDUMP) != nil {
		a.unlocked++
	}
	for off := 0; off < arenaChunk; off += KeySize {
		a.free = append(a.free, (*[KeySize]byte)(pages[off:off+KeySize]))
	}
	return nil
}

// lockedMemory reports whether all keys made so far in this process lie in memory that is locked and excluded
// from core dumps. When it is false, the remedy is a larger RLIMIT_MEMLOCK (ulimit -l).
func lockedMemory() bool {
	secrets.mu.Lock()
	defer secrets.mu.Unlock()
	return secrets.unlocked == 0
}
