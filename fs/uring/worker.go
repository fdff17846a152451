package uring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tags of submissions.
const (
	tagRequest = iota
	tagStop
)

// Layout of a worker's buffer: a page for the header, and for the iovecs of its
// registration, then the payload.
const (
	pageSize      = 4096
	iovecsOffset  = 2048
	payloadOffset = pageSize
)

// worker is a ring of a queue and the thread that serves it.
type worker struct {
	t      *Transport
	q      *queue
	ring   *ring
	buffer []byte // mapping

	header  reqHeader
	payload []byte
	in      [3][]byte
	out     [2][]byte
	file    atomic.Uint64 // the regular file of the last request that was about one
}

// newWorker makes the ring and its buffer. It must be called by the goroutine,
// locked to its thread, that will serve it.
func newWorker(t *Transport, q *queue) (*worker, error) {
	w := &worker{t: t, q: q}
	w.bind()
	var err error
	if w.ring, err = newRing(); err != nil {
		return nil, err
	}
	w.ring.submit(func(e sqe) { e.poll(t.stopped, tagStop) })
	size := payloadOffset + t.payload
	w.buffer, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map %d bytes for requests: %w", size, err), w.close())
	}
	// Contents of files pass through it.
	if err := unix.Madvise(w.buffer, unix.MADV_DONTDUMP); err != nil {
		return nil, errors.Join(fmt.Errorf("leave requests out of core dumps: %w", err), w.close())
	}
	w.header = reqHeader(w.buffer[:headerSize])
	w.payload = w.buffer[payloadOffset:]
	t.mu.Lock()
	defer t.mu.Unlock()
	t.workers = append(t.workers, w)
	return w, nil
}

// bind puts this thread on the queue's processor, where requests of the queue
// come from. It is not needed for anything but speed: of a processor that is
// offline, or not for this process, requests are served elsewhere.
func (w *worker) bind() {
	if !w.t.allowed.IsSet(w.q.number) {
		return
	}
	var set unix.CPUSet
	set.Set(w.q.number)
	_ = unix.SchedSetaffinity(0, &set) // see above
}

// close gives the ring and its buffer back.
func (w *worker) close() error {
	err := w.ring.close()
	if w.buffer != nil {
		err = errors.Join(err, unix.Munmap(w.buffer))
	}
	return err
}

// register gives the ring to the kernel. The first request may be there already
// when it returns.
func (w *worker) register() error {
	payload := w.payload
	if w.t.spoil != nil && w.t.spoil(w.q.number) {
		payload = payload[:1]
	}
	iovecs := (*[2]unix.Iovec)(unsafe.Pointer(&w.buffer[iovecsOffset]))
	iovecs[0].Base, iovecs[1].Base = &w.header[0], &payload[0]
	iovecs[0].SetLen(len(w.header))
	iovecs[1].SetLen(len(payload))
	w.ring.submit(func(e sqe) { e.register(w.t.device, w.q.number, iovecs, tagRequest) })
	for w.ring.unsent() {
		if err := w.ring.enter(0); err != nil {
			return err
		}
	}
	if c, ok := w.ring.peek(); ok && c.tag == tagRequest && c.result < 0 {
		return fmt.Errorf("register a ring: %w", unix.Errno(-c.result))
	}
	return nil
}

// serve answers requests until the file system is unmounted, or the transport
// stopped.
func (w *worker) serve() {
	for {
		c, err := w.ring.wait()
		switch {
		case err != nil:
			w.t.logger.Error("a ring of requests is lost", "queue", w.q.number, "err", err)
			return
		case c.tag == tagStop:
			return
		case c.result < 0:
			if !over(unix.Errno(-c.result)) {
				w.t.logger.Error("a ring of requests is lost", "queue", w.q.number, "err", unix.Errno(-c.result))
			}
			return
		}
		id := w.header.commitID()
		w.q.begin()
		w.answer()
		w.q.end()
		w.ring.submit(func(e sqe) { e.commit(w.t.device, w.q.number, id, tagRequest) })
	}
}

// over reports whether an error is how the kernel tells a ring that the mount is
// gone.
func over(errno unix.Errno) bool {
	switch errno {
	case unix.ENOTCONN, unix.ECONNABORTED, unix.ENODEV, unix.ECANCELED:
		return true
	}
	return false
}

// answer has the handler answer the request in the buffer.
func (w *worker) answer() {
	opcode, unique := w.header.opcode(), w.header.unique()
	if opcode == opcodeNotifyReply {
		w.header.reply(unique, 0) // see nudge
		return
	}
	operation, ok := w.header.operation()
	size := w.header.payload()
	if !ok || int64(size) > int64(len(w.payload)) {
		w.t.logger.Error("a request does not add up", "opcode", opcode, "length", w.header.length(), "payload", size)
		w.header.reply(unique, unix.EIO)
		return
	}
	payload := w.payload[:size]
	if opcode == opcodeIoctl {
		payload = bytes.Clone(payload) // its handler may read it while it writes its answer
	}
	w.in = [3][]byte{w.header[:inHeaderSize], operation, payload}
	w.out = [2][]byte{w.header[:outHeaderSize], w.payload}
	w.note(opcode)
	n := w.t.handle(w.in[:], w.out[:])
	if n < outHeaderSize {
		w.header.reply(unique, unix.EIO)
		return
	}
	w.noteReply(opcode, n)
	w.header.setPayload(n - outHeaderSize)
}

// run is the life of a worker. It registers the ring when start says so, and
// tells through started what came of it.
func (w *worker) run(start <-chan struct{}, started chan<- error) {
	defer func() {
		if err := w.close(); err != nil {
			w.t.logger.Error("close a ring of requests", "queue", w.q.number, "err", err)
		}
		w.t.ended()
	}()
	select {
	case <-start:
	case <-w.t.stop:
		return
	}
	err := w.register()
	if err == nil {
		w.q.size.Add(1)
	}
	started <- err
	if err != nil {
		return
	}
	if w.t.inUse.Load() {
		w.nudge()
	}
	w.serve()
}

// nudge has the kernel look at the requests that wait in the queue. It gives a
// new ring none of them, only those that come after it; a ring that commits
// gets the oldest. So the new ring is made to commit: the kernel answers a
// notification, which is sent from the queue's processor, with a request. The
// notification has to be about a regular file that the kernel remembers, such
// as one that a blocked request is about. Where there is none, requests that
// wait have to do so until the next one comes.
func (w *worker) nudge() {
	for _, file := range w.t.files() {
		if _, err := unix.Write(w.t.device, retrieveMessage(w.t.nudges.Add(1)*2|nudgeBit, file)); err == nil {
			return
		}
	}
}

// files returns the regular files that the rings had requests about last.
func (t *Transport) files() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []uint64
	for _, w := range t.workers {
		if f := w.file.Load(); f != 0 && !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// note remembers which file a request is about, if it is a regular one.
func (w *worker) note(opcode uint32) {
	switch opcode {
	case opcodeOpen, opcodeRead, opcodeWrite, opcodeRelease, opcodeFsync, opcodeFallocate, opcodeLseek:
		w.file.Store(w.header.node())
	}
}

// noteReply remembers the file that a request has made.
func (w *worker) noteReply(opcode uint32, size int) {
	if opcode == opcodeCreate && size > outHeaderSize {
		w.file.Store(binary.NativeEndian.Uint64(w.payload)) // struct fuse_entry_out begins with it
	}
}

// spawn makes a worker on a thread of its own and returns when its ring is
// there. Closing start has it registered; started then tells the outcome.
func (t *Transport) spawn(q *queue, start <-chan struct{}, started chan<- error) error {
	if !t.begun() {
		return errOver
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, bound to a processor, ends with this goroutine
		w, err := newWorker(t, q)
		made <- err
		if err != nil {
			t.ended()
			return
		}
		w.run(start, started)
	}()
	return <-made
}

// pages rounds a size up.
func pages(size int) int { return (size + pageSize - 1) / pageSize * pageSize }
