package uring

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSizes: of the kernel's structures, as its headers have them.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(ringParams{}); n != 120 {
		t.Errorf("struct io_uring_params has %d bytes, want 120", n)
	}
	var p ringParams
	if sq, cq := unsafe.Offsetof(p.sq), unsafe.Offsetof(p.cq); sq != 40 || cq != 80 {
		t.Errorf("the queues' offsets are at %d and %d, want 40 and 80", sq, cq)
	}
	if n := unsafe.Offsetof(p.sq.last); n != 24 {
		t.Errorf("the submission array's offset is at %d, want 24", n)
	}
	if n := unsafe.Offsetof(p.cq.sixth); n != 20 {
		t.Errorf("the completions' offset is at %d, want 20", n)
	}
	if commandCommitID != 56 || commandQueue != 64 {
		t.Errorf("commit_id at %d and qid at %d, want 56 and 64", commandCommitID, commandQueue)
	}
}

// entryWith returns the bytes of an SQE, whatever was in it before.
func entryWith(fill func(sqe)) []byte {
	e := bytes.Repeat([]byte{0xff}, sqeSize)
	fill(sqe(e))
	return e
}

func TestEntries(t *testing.T) {
	native := binary.NativeEndian
	iovecs := &[2]unix.Iovec{}
	want := make([]byte, sqeSize)
	want[0] = 46
	native.PutUint32(want[4:], 7)
	native.PutUint32(want[8:], 1)
	native.PutUint64(want[16:], uint64(uintptr(unsafe.Pointer(iovecs))))
	native.PutUint32(want[24:], 2)
	native.PutUint64(want[32:], 99)
	native.PutUint16(want[64:], 3)
	if got := entryWith(func(e sqe) { e.register(7, 3, iovecs, 99) }); !bytes.Equal(got, want) {
		t.Errorf("register:\n%x\nwant\n%x", got, want)
	}

	want = make([]byte, sqeSize)
	want[0] = 46
	native.PutUint32(want[4:], 7)
	native.PutUint32(want[8:], 2)
	native.PutUint64(want[32:], 99)
	native.PutUint64(want[56:], 1<<40+6)
	native.PutUint16(want[64:], 300)
	if got := entryWith(func(e sqe) { e.commit(7, 300, 1<<40+6, 99) }); !bytes.Equal(got, want) {
		t.Errorf("commit:\n%x\nwant\n%x", got, want)
	}

	want = make([]byte, sqeSize)
	want[0] = 46
	native.PutUint32(want[4:], 7)
	native.PutUint32(want[8:], 1)
	native.PutUint64(want[32:], 99)
	if got := entryWith(func(e sqe) { e.refuse(7, 99) }); !bytes.Equal(got, want) {
		t.Errorf("refuse:\n%x\nwant\n%x", got, want)
	}

	want = make([]byte, sqeSize)
	want[0] = 6
	native.PutUint32(want[4:], 7)
	native.PutUint32(want[28:], unix.POLLIN)
	native.PutUint64(want[32:], 99)
	if got := entryWith(func(e sqe) { e.poll(7, 99) }); !bytes.Equal(got, want) {
		t.Errorf("poll:\n%x\nwant\n%x", got, want)
	}
}

// request makes the header buffer of a request as the kernel does.
func request(length, opcode uint32, unique, commitID uint64, payload uint32) reqHeader {
	h := make(reqHeader, headerSize)
	for i := range operationSize {
		h[headerOperation+i] = byte(i)
	}
	native := binary.NativeEndian
	native.PutUint32(h[0:], length)
	native.PutUint32(h[4:], opcode)
	native.PutUint64(h[8:], unique)
	native.PutUint64(h[256+8:], commitID)
	native.PutUint32(h[256+16:], payload)
	return h
}

func TestRequestHeader(t *testing.T) {
	h := request(40+16+9, 15, 22, 24, 9)
	binary.NativeEndian.PutUint64(h[16:], 1234)
	if h.node() != 1234 || h.opcode() != 15 || h.unique() != 22 || h.commitID() != 24 || h.payload() != 9 {
		t.Errorf("read back %d %d %d %d", h.opcode(), h.unique(), h.commitID(), h.payload())
	}
	if op, ok := h.operation(); !ok || len(op) != 16 || op[15] != 15 {
		t.Errorf("operation %x, %v", op, ok)
	}
	for _, c := range []struct {
		length, payload uint32
		size            int // negative: does not add up
	}{
		{40, 0, 0}, {40 + 128, 0, 128}, {40 + 128 + 1<<20, 1 << 20, 128}, {40 + 5, 5, 0},
		{39, 0, -1}, {0, 0, -1}, {40 + 129, 0, -1}, {40 + 5, 6, -1}, {40, 1 << 31, -1}, {1<<32 - 1, 0, -1},
	} {
		op, ok := request(c.length, 1, 2, 2, c.payload).operation()
		if ok != (c.size >= 0) || ok && len(op) != c.size {
			t.Errorf("length %d, payload %d: operation of %d bytes, %v; want %d", c.length, c.payload, len(op), ok, c.size)
		}
	}
}

func TestReplyHeader(t *testing.T) {
	h := request(40+16+9, 15, 22, 24, 9)
	h.reply(22, unix.EIO)
	want := make([]byte, 16)
	binary.NativeEndian.PutUint32(want[0:], 16)
	errno := int32(-5)
	binary.NativeEndian.PutUint32(want[4:], uint32(errno))
	binary.NativeEndian.PutUint64(want[8:], 22)
	if !bytes.Equal(h[:16], want) || h.payload() != 0 {
		t.Errorf("reply %x with %d bytes, want %x with none", h[:16], h.payload(), want)
	}
	h.setPayload(1 << 20)
	if h.payload() != 1<<20 || h.commitID() != 24 {
		t.Errorf("payload of %d bytes, commit ID %d", h.payload(), h.commitID())
	}
}

func TestRetrieveMessage(t *testing.T) {
	m := retrieveMessage(nudgeBit|4, 77)
	native := binary.NativeEndian
	if len(m) != 48 || native.Uint32(m[0:]) != 48 || native.Uint32(m[4:]) != 5 || native.Uint64(m[8:]) != 0 ||
		native.Uint64(m[16:]) != 1<<61+4 || native.Uint64(m[24:]) != 77 || native.Uint64(m[32:]) != 0 || native.Uint64(m[40:]) != 0 {
		t.Errorf("notification %x", m)
	}
}
