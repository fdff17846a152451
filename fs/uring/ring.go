package uring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ringEntries is how many submissions a ring holds: one command, and the poll
// that ends it.
const ringEntries = 2

// shortage is the pause before a system call is tried again that the kernel had
// no memory for.
const shortage = time.Millisecond

// ring is an io_uring. One goroutine uses it.
type ring struct {
	fd             int
	rings, entries []byte // mappings

	sqHead, sqTail, cqHead, cqTail *uint32 // shared with the kernel
	sqMask, cqMask                 uint32
	sqArray, cqes                  []byte
}

// completion is a completion queue entry.
type completion struct {
	tag    uint64
	result int32
}

func newRing() (*ring, error) {
	p := ringParams{flags: setupSQE128}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringEntries, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &ring{fd: int(fd)}
	unix.CloseOnExec(r.fd)
	if err := r.mapMemory(&p); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *ring) mapMemory(p *ringParams) error {
	if p.features&featSingleMmap == 0 {
		return errors.New("io_uring: the kernel is too old")
	}
	sqEnd := p.sq.last + 4*p.sqEntries
	cqEnd := p.cq.sixth + cqeSize*p.cqEntries
	var err error
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	if r.rings, err = unix.Mmap(r.fd, offsetRings, int(max(sqEnd, cqEnd)), prot, flags); err != nil {
		return fmt.Errorf("map the queues of an io_uring: %w", err)
	}
	if r.entries, err = unix.Mmap(r.fd, offsetSQEs, int(sqeSize*p.sqEntries), prot, flags); err != nil {
		return fmt.Errorf("map the entries of an io_uring: %w", err)
	}
	word := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.rings[offset])) }
	r.sqHead, r.sqTail, r.sqMask = word(p.sq.head), word(p.sq.tail), *word(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = word(p.cq.head), word(p.cq.tail), *word(p.cq.mask)
	r.sqArray = r.rings[p.sq.last:sqEnd]
	r.cqes = r.rings[p.cq.sixth:cqEnd]
	return nil
}

// close closes the ring. Commands that wait in it are cancelled.
func (r *ring) close() error {
	var errs []error
	for _, m := range [][]byte{r.rings, r.entries} {
		if m != nil {
			errs = append(errs, unix.Munmap(m))
		}
	}
	return errors.Join(append(errs, unix.Close(r.fd))...)
}

// submit queues an entry, which fill writes; enter sends it.
func (r *ring) submit(fill func(sqe)) {
	tail := *r.sqTail // only written here
	i := tail & r.sqMask
	fill(sqe(r.entries[i*sqeSize : (i+1)*sqeSize]))
	*(*uint32)(unsafe.Pointer(&r.sqArray[4*i])) = i
	atomic.StoreUint32(r.sqTail, tail+1)
}

// enter sends what is queued and returns when there are as many completions as
// wanted, or earlier.
func (r *ring) enter(wanted uint32) error {
	queued := *r.sqTail - atomic.LoadUint32(r.sqHead)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued), uintptr(wanted), enterGetEvents, 0, 0)
	switch errno {
	case 0, unix.EINTR:
		return nil
	case unix.EAGAIN, unix.ENOMEM, unix.EBUSY:
		time.Sleep(shortage)
		return nil
	}
	return fmt.Errorf("io_uring_enter: %w", errno)
}

// unsent reports whether the kernel has still to take queued entries.
func (r *ring) unsent() bool { return *r.sqTail != atomic.LoadUint32(r.sqHead) }

// peek returns the next completion, if there is one, and leaves it there.
func (r *ring) peek() (completion, bool) {
	head := *r.cqHead // only written here
	if head == atomic.LoadUint32(r.cqTail) {
		return completion{}, false
	}
	e := r.cqes[(head&r.cqMask)*cqeSize:]
	return completion{tag: *(*uint64)(unsafe.Pointer(&e[0])), result: *(*int32)(unsafe.Pointer(&e[8]))}, true
}

// next takes a completion out, if there is one.
func (r *ring) next() (completion, bool) {
	c, ok := r.peek()
	if ok {
		atomic.StoreUint32(r.cqHead, *r.cqHead+1)
	}
	return c, ok
}

// wait returns the next completion.
func (r *ring) wait() (completion, error) {
	for {
		if c, ok := r.next(); ok {
			return c, nil
		}
		if err := r.enter(1); err != nil {
			return completion{}, err
		}
	}
}
