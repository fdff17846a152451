package uring

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From include/uapi/linux/io_uring.h.
const (
	setupSQE128     = 1 << 10
	featSingleMmap  = 1 << 0
	enterGetEvents  = 1 << 0
	opPollAdd       = 6
	opCommand       = 46 // IORING_OP_URING_CMD
	offsetRings     = 0
	offsetSQEs      = 0x10000000
	sqeSize         = 128
	cqeSize         = 16
	sqeFD           = 4
	sqeCommand      = 8 // cmd_op
	sqeAddr         = 16
	sqeLen          = 24
	sqePollEvents   = 28
	sqeUserData     = 32
	sqeCommandArea  = 48 // 80 bytes
	commandCommitID = sqeCommandArea + 8
	commandQueue    = sqeCommandArea + 16
)

// ringOffsets is struct io_sqring_offsets and struct io_cqring_offsets, which
// differ in names only: last is array in one and flags in the other.
type ringOffsets struct {
	head, tail, mask, entries uint32
	fifth, sixth, last, _     uint32
	_                         uint64
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, _, _, features, _ uint32
	_                                              [3]uint32
	sq, cq                                         ringOffsets
}

// From include/uapi/linux/fuse.h: the two commands, and struct
// fuse_uring_req_header, which the kernel fills with a request and reads the
// reply from: the header of request or reply, the structure of the operation,
// and struct fuse_uring_ent_in_out. Names and contents are in the payload
// buffer, which request and reply share.
const (
	commandRegister       = 1
	commandCommitAndFetch = 2

	headerOperation = 128
	operationSize   = 128
	headerCommitID  = 264
	headerPayload   = 272 // the payload's size
	headerSize      = 288

	inHeaderSize  = 40 // struct fuse_in_header
	outHeaderSize = 16 // struct fuse_out_header

	opcodeOpen        = 14
	opcodeRead        = 15
	opcodeWrite       = 16
	opcodeRelease     = 18
	opcodeFsync       = 20
	opcodeCreate      = 35
	opcodeIoctl       = 39
	opcodeNotifyReply = 41
	opcodeFallocate   = 43
	opcodeLseek       = 46

	notifyRetrieve = 5

	// nudgeBit keeps numbers of our own apart from those of requests, which the
	// kernel counts up from 2 in steps of 2.
	nudgeBit = 1 << 61
)

// sqe is a submission queue entry of 128 bytes.
type sqe []byte

// poll asks for a completion once fd can be read, or is at its end.
func (e sqe) poll(fd int, tag uint64) {
	clear(e)
	e[0] = opPollAdd
	binary.NativeEndian.PutUint32(e[sqeFD:], uint32(fd))
	binary.NativeEndian.PutUint32(e[sqePollEvents:], unix.POLLIN)
	binary.NativeEndian.PutUint64(e[sqeUserData:], tag)
}

// register gives a queue of the FUSE device fd an entry with two buffers, header
// and payload, which completes with the first request.
func (e sqe) register(fd, queue int, buffers *[2]unix.Iovec, tag uint64) {
	e.command(commandRegister, fd, queue, tag)
	binary.NativeEndian.PutUint64(e[sqeAddr:], uint64(uintptr(unsafe.Pointer(buffers))))
	binary.NativeEndian.PutUint32(e[sqeLen:], uint32(len(buffers)))
}

// refuse is a registration that the kernel refuses, having no buffers.
func (e sqe) refuse(fd int, tag uint64) { e.command(commandRegister, fd, 0, tag) }

// commit replies to a request and completes with the next one.
func (e sqe) commit(fd, queue int, commitID, tag uint64) {
	e.command(commandCommitAndFetch, fd, queue, tag)
	binary.NativeEndian.PutUint64(e[commandCommitID:], commitID)
}

func (e sqe) command(command uint32, fd, queue int, tag uint64) {
	clear(e)
	e[0] = opCommand
	binary.NativeEndian.PutUint32(e[sqeFD:], uint32(fd))
	binary.NativeEndian.PutUint32(e[sqeCommand:], command)
	binary.NativeEndian.PutUint64(e[sqeUserData:], tag)
	binary.NativeEndian.PutUint16(e[commandQueue:], uint16(queue))
}

// reqHeader is the header buffer of an entry.
type reqHeader []byte

func (h reqHeader) length() uint32   { return binary.NativeEndian.Uint32(h[0:]) }
func (h reqHeader) opcode() uint32   { return binary.NativeEndian.Uint32(h[4:]) }
func (h reqHeader) unique() uint64   { return binary.NativeEndian.Uint64(h[8:]) }
func (h reqHeader) node() uint64     { return binary.NativeEndian.Uint64(h[16:]) }
func (h reqHeader) commitID() uint64 { return binary.NativeEndian.Uint64(h[headerCommitID:]) }
func (h reqHeader) payload() uint32  { return binary.NativeEndian.Uint32(h[headerPayload:]) }

// operation returns the structure of the operation, whose size the kernel tells
// in a roundabout way: the length of the request counts header, structure and
// payload. ok is false if that does not add up.
func (h reqHeader) operation() (structure []byte, ok bool) {
	size := int64(h.length()) - inHeaderSize - int64(h.payload())
	if size < 0 || size > operationSize {
		return nil, false
	}
	return h[headerOperation : headerOperation+size], true
}

// reply writes a reply header without a body.
func (h reqHeader) reply(unique uint64, errno unix.Errno) {
	binary.NativeEndian.PutUint32(h[0:], outHeaderSize)
	binary.NativeEndian.PutUint32(h[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(h[8:], unique)
	h.setPayload(0)
}

// setPayload says how much of the payload buffer is the reply's body.
func (h reqHeader) setPayload(size int) {
	binary.NativeEndian.PutUint32(h[headerPayload:], uint32(size))
}

// retrieveMessage is a notification that makes the kernel send a NOTIFY_REPLY
// with this number: it asks for nothing of a file's page cache. The kernel
// refuses it for what it does not know, and later kernels for all but regular
// files.
func retrieveMessage(number, file uint64) []byte {
	const size = outHeaderSize + 32 // struct fuse_notify_retrieve_out
	m := make([]byte, size)
	binary.NativeEndian.PutUint32(m[0:], size)
	binary.NativeEndian.PutUint32(m[4:], notifyRetrieve)
	binary.NativeEndian.PutUint64(m[16:], number)
	binary.NativeEndian.PutUint64(m[24:], file)
	return m
}
