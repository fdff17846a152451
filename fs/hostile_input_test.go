package fs

import (
	"context"
	"math"
	"os"
	"strings"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/record"
	"ssefs/kms"
)

// stepSize is the number of bytes of an input that make one request. Each chooses one part of it, from what the drive
// has told and from what is on the edge or beyond it, so that a changed byte changes a request in one respect and leaves
// the others as they are.
const stepSize = 16

// maxSteps bounds the requests of one input.
const maxSteps = 200

// step is one request of an input.
type step struct {
	b [stepSize]byte
	known
}

// Places of the bytes in a step.
const (
	atOp = iota
	atManner
	atNode
	atNode2
	atName
	atName2
	atHandle
	atHandle2
	atOffset
	atOffset2
	atLength
	atFlags
	atMode
	atCaller
	atRaw
	atRaw2
)

// run sends the requests of an input, some of them side by side.
//
// Not sent are a second INIT, which the kernel never sends and which go-fuse takes while it reads what it changes, and
// requests of more than 1 MiB, which do not fit the buffers that the kernel provides for.
func (k *hostileKernel) run(input []byte) {
	var beside []chan struct{}
	for n := 0; len(input) >= stepSize && n < maxSteps; n++ {
		s := &step{known: k.knows()}
		input = input[copy(s.b[:], input):]
		act := k.own(s.b[atOp], s.directory(atNode), s.name(atName))
		if act == nil {
			r := s.request()
			if r.op == opInit {
				continue
			}
			act = func() { k.send(r) }
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			act()
		}()
		beside = append(beside, done)
		if s.b[atManner]&1 != 0 && len(beside) < 4 {
			continue
		}
		for _, c := range beside {
			<-c
		}
		beside = beside[:0]
	}
	for _, c := range beside {
		<-c
	}
}

// own returns what else goes on in a daemon, for some of the numbers that a step begins with.
func (k *hostileKernel) own(b byte, dir uint64, name string) func() {
	ctx := context.Background()
	switch b {
	case 232:
		return func() { k.succeeds(k.v.Sync()) }
	case 233: // fails as long as no bucket has had the key
		return func() { _ = k.kms.Disable(ctx, kms.By{Managed: true}, kms.DefaultAlias) }
	case 234:
		return func() { _ = k.kms.Enable(ctx, kms.By{Managed: true}, kms.DefaultAlias) }
	case 235:
		return func() {
			_, err := k.v.MergeSparse(ctx, 0, 1<<20, nil)
			k.succeeds(err)
		}
	case 236:
		return func() { (&Server{drive: k.d}).EntryChanged(dir, name) }
	case 237:
		return func() {
			_, err := k.v.FinishDeletions(ctx)
			k.succeeds(err)
		}
	case 238:
		return func() { k.v.ForgetAll() }
	}
	return nil
}

// opcodes are those that are sent most: all that the drive answers, some more than once.
var opcodes = [...]uint32{
	opLookup, opForget, opGetattr, opSetattr, opSetattr, opReadlink, opSymlink, opMknod, opMkdir, opUnlink, opRmdir, opRename,
	opLink, opOpen, opRead, opWrite, opWrite, opStatfs, opRelease, opFsync, opSetxattr, opGetxattr, opListxattr,
	opRemovexattr, opFlush, opOpendir, opReaddir, opReleasedir, opFsyncdir, opGetlk, opSetlk, opSetlkw, opAccess, opCreate,
	opCreate, opInterrupt, opBmap, opDestroy, opIoctl, opPoll, opNotifyReply, opBatchForget, opFallocate, opFallocate,
	opReaddirplus, opRename2, opRename2, opLseek, opCopyFileRange, opSyncfs, opTmpfile, opStatx,
}

// request makes a request of the step.
func (s *step) request() request {
	r := request{caller: s.caller()}
	if b := s.b[atOp]; b < 232 {
		r.op = opcodes[int(b)%len(opcodes)]
	} else {
		r.op = uint32(s.b[atRaw]) | uint32(s.b[atRaw2])<<(b&24)
	}
	r.node = s.node(atNode)
	if inDirectory(r.op) {
		r.node = s.directory(atNode)
	}
	r.body = s.body(r.op)
	switch s.b[atManner] >> 1 & 15 {
	case 15: // cut off
		r.dropped = int(s.b[atRaw]) % (len(r.body) + inHeader + 1)
	case 14: // the last zero of a name is missing, or a byte of something else
		r.dropped = min(1, len(r.body))
	case 13: // more than there should be
		r.body.zeros(int(s.b[atRaw]))
	case 12: // extensions that are no extensions
		r.ext = uint16(s.b[atRaw]) << (s.b[atRaw2] & 8)
		r.body.zeros(int(s.b[atRaw2]))
	}
	return r
}

// body makes the part of a request that follows the header.
func (s *step) body(op uint32) fields {
	var f fields
	fh, fh2, off, off2, length := s.handle(atHandle), s.handle(atHandle2), s.offset(atOffset), s.offset(atOffset2), s.offset(atLength)
	flags, mode := s.flags(), s.mode()
	switch op {
	case opLookup, opUnlink, opRmdir:
		f.name(s.name(atName))
	case opRemovexattr:
		f.name(s.xattr())
	case opForget:
		f.u64(off)
	case opGetattr:
		f.u32(flags, 0).u64(fh)
	case opSetattr:
		return setattr(uint32(s.b[atRaw])|uint32(s.b[atRaw2])<<8, fh, off, off2, flags, mode, s.caller().uid)
	case opSymlink:
		f.name(s.name(atName), s.target())
	case opMknod:
		f.u32(mode, flags, uint32(s.b[atRaw]), 0).name(s.name(atName))
	case opMkdir:
		f.u32(mode, uint32(s.b[atRaw])).name(s.name(atName))
	case opRename:
		f.u64(s.directory(atNode2)).name(s.name(atName), s.name(atName2))
	case opRename2:
		modes := [...]uint32{0, unix.RENAME_NOREPLACE, unix.RENAME_EXCHANGE, unix.RENAME_EXCHANGE, 3, unix.RENAME_WHITEOUT, 5, math.MaxUint32}
		f.u64(s.directory(atNode2)).u32(modes[int(s.b[atFlags])%len(modes)], 0).name(s.name(atName), s.name(atName2))
	case opLink:
		f.u64(s.node(atNode2)).name(s.name(atName))
	case opOpen, opOpendir:
		f.u32(flags, mode)
	case opRead, opReaddir, opReaddirplus:
		if op != opRead {
			fh = s.listingHandle(atHandle)
		}
		f.u64(fh, off).u32(uint32(length), mode).u64(0).u32(flags, 0)
	case opWrite:
		data := make([]byte, min(length, 128<<10))
		for i := range data {
			data[i] = s.b[atRaw] + byte(i>>12)
		}
		return writeBody(fh, off, uint32(s.b[atMode])&7, flags, data)
	case opRelease, opReleasedir:
		f.u64(fh).u32(flags, mode).u64(0)
	case opFsync, opFsyncdir:
		f.u64(fh).u32(flags, 0)
	case opFlush:
		f.u64(fh).u32(0, 0).u64(0)
	case opSetxattr:
		value := s.value()
		f.u32(uint32(len(value)), uint32(s.b[atFlags]), uint32(s.b[atMode]), 0).name(s.xattr())
		f = append(f, value...)
	case opGetxattr, opListxattr:
		f.u32(uint32(length), 0)
		if op == opGetxattr {
			f.name(s.xattr())
		}
	case opGetlk, opSetlk, opSetlkw:
		f.u64(fh, 0, off, off2).u32(flags, 1, 0, 0)
	case opAccess:
		f.u32(flags, 0)
	case opCreate, opTmpfile:
		f.u32(flags, mode, uint32(s.b[atRaw]), 0).name(s.name(atName))
	case opInterrupt:
		f.u64(uint64(s.b[atRaw]) * 2)
	case opIoctl:
		f.u64(fh).u32(flags, mode).u64(off).u32(0, uint32(s.b[atRaw])*64)
	case opBatchForget:
		f.u32(uint32(s.b[atRaw]), 0).u64(s.node(atNode), off, s.node(atNode2), off2)
	case opFallocate:
		modes := [...]uint32{0, 1, 3, 16, 17, 3, 16, 2, 8, 64, math.MaxUint32}
		f.u64(fh, off, length).u32(modes[int(s.b[atFlags])%len(modes)], 0)
	case opLseek:
		f.u64(fh, off).u32(uint32(s.b[atFlags])%7, 0)
	case opCopyFileRange:
		f.u64(fh, off, s.node(atNode2), fh2, off2, length, uint64(flags))
	case opStatx:
		f.u32(flags, 0).u64(fh).u32(flags, mode)
	case opBmap, opPoll, opNotifyReply, opSyncfs:
		f.u64(fh, off, off2, length).u64(0)
	case opDestroy, opStatfs, opReadlink:
	default:
		f.u64(fh, off).name(s.name(atName))
	}
	return f
}

// inDirectory reports whether the node of a request has to be a directory.
func inDirectory(op uint32) bool {
	switch op {
	case opLookup, opSymlink, opMknod, opMkdir, opUnlink, opRmdir, opRename, opRename2, opLink, opOpendir, opCreate, opTmpfile:
		return true
	}
	return false
}

// directory chooses an inode that mostly is a directory.
func (s *step) directory(at int) uint64 {
	if b := s.b[at]; b < 150 {
		return s.dirs[int(b)%len(s.dirs)]
	}
	return s.node(at)
}

// node chooses an inode: mostly one that the drive has told, whether or not it was forgotten since.
func (s *step) node(at int) uint64 {
	b := s.b[at]
	if b < 220 {
		return s.nodes[int(b)%len(s.nodes)]
	}
	odd := [...]uint64{0, 1, 2, 3, s.nodes[len(s.nodes)-1] + 1, s.nodes[len(s.nodes)-1] + 2, math.MaxUint64, math.MaxUint64 - 1, 1 << 63, 1 << 32}
	return odd[int(b)%len(odd)]
}

// listingHandle chooses a handle that mostly is a directory's.
func (s *step) listingHandle(at int) uint64 {
	if b := s.b[at]; b < 150 && len(s.listings) > 0 {
		return s.listings[int(b)%len(s.listings)]
	}
	return s.handle(at)
}

// handle chooses a handle: mostly one that the drive has told, whether or not it was released since.
func (s *step) handle(at int) uint64 {
	b := s.b[at]
	switch {
	case b < 200 && len(s.handles) > 0:
		return s.handles[int(b)%len(s.handles)]
	case b < 220 && len(s.listings) > 0:
		return s.listings[int(b)%len(s.listings)]
	}
	odd := [...]uint64{0, 1, uint64(len(s.handles)) + 1, math.MaxUint64, 1 << 63, 1 << 32}
	return odd[int(b)%len(odd)]
}

// offset chooses an offset, a size, a time or a count.
func (s *step) offset(at int) uint64 {
	edges := [...]uint64{
		0, 1, 100, 4095, 4096, 4097, 8192, 65536, 128 << 10, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32,
		1 << 40, 1 << 51, math.MaxInt64, math.MaxInt64 - 1, math.MaxInt64 - 4095, math.MaxInt64 - 4096, math.MaxInt64 - 1<<20,
		1 << 63, math.MaxUint64, math.MaxUint64 - 1, math.MaxUint64 - 4095, math.MaxUint64 - 1<<20,
	}
	b := s.b[at]
	if b < 232 {
		return edges[int(b)%len(edges)]
	}
	return uint64(b-232) * 4096 * 256 // leaf by leaf
}

// name chooses a name, rarely one that the kernel would send.
func (s *step) name(at int) string {
	b := s.b[at]
	switch {
	case b < 200:
		return [...]string{"a", "b", "c", "file", "dir", "bucket", "link", "fifo"}[b%8]
	case b < 240:
		odd := [...]string{
			"", ".", "..", "a/b", "/", "a\x00b", strings.Repeat("n", 255), strings.Repeat("n", 256), strings.Repeat("n", 4096), "\xff\xfe",
			".go-fuse-epoll-hack", "ä\n",
		}
		return odd[int(b)%len(odd)]
	}
	return strings.Repeat(string(rune(b)), int(s.b[atRaw]))
}

// target chooses what a symbolic link points to.
func (s *step) target() string {
	switch b := s.b[atName2]; {
	case b < 100:
		return "target"
	case b < 200:
		return strings.Repeat("t", 4090+int(b%10))
	}
	return s.name(atName2)
}

func (s *step) xattr() string {
	names := [...]string{
		"user.a", "user.b", "trusted.a", "security.capability", "system.posix_acl_access", "system.posix_acl_default", ssePolicy, sseAlgorithm,
		"user.", "system.other", "", "user." + strings.Repeat("n", 250), "user." + strings.Repeat("n", 251), "user.sse.", "security.x", "trusted.",
	}
	return names[int(s.b[atName])%len(names)]
}

// value chooses the value of an extended attribute.
func (s *step) value() string {
	acl := func(entries ...string) string { return "\x02\x00\x00\x00" + strings.Join(entries, "") }
	id := func(tag, perm byte) string { return string([]byte{tag, 0, perm, 0, 0xff, 0xff, 0xff, 0xff}) }
	values := [...]string{
		"", "value", "AES256", "none", "KMS", "KMS:alias/acs/oss", "KMS:no-such-key",
		acl(id(1, 7), id(4, 5), id(0x20, 5)), acl(id(1, 6), id(2, 7), id(4, 5), id(0x10, 7), id(0x20, 0)), acl(id(1, 7)), acl(), "\x02",
		acl(id(1, 7), id(4, 5), id(0x20, s.b[atRaw])), strings.Repeat("v", 4096), strings.Repeat("v", record.MaxXattrValue),
		strings.Repeat("v", record.MaxXattrValue+1), string(s.b[:]),
	}
	b := s.b[atName2]
	if b < 128 && strings.HasPrefix(s.xattr(), aclPrefix) {
		return values[7+b%6]
	}
	return values[int(b)%len(values)]
}

func (s *step) flags() uint32 {
	flags := [...]uint32{
		unix.O_RDONLY, unix.O_RDWR, unix.O_WRONLY, unix.O_RDWR | unix.O_SYNC, unix.O_RDWR | unix.O_APPEND | unix.O_DSYNC, unix.O_RDWR | unix.O_TRUNC,
		unix.O_RDWR | unix.O_DIRECT, unix.O_NOATIME, 3, math.MaxUint32, 1 << 31, 999_999_999, 1_000_000_000,
	}
	return flags[int(s.b[atFlags])%len(flags)]
}

func (s *step) mode() uint32 {
	modes := [...]uint32{
		record.TypeFile | 0o644, record.TypeDir | 0o755, record.TypeFifo | 0o600, record.TypeChar | 0o666, record.TypeBlock, record.TypeSocket | 0o7777,
		record.TypeLink | 0o777, 0, 0o6777, record.TypeMask, 0o170000 | 0o7777, math.MaxUint32, 1<<16 | 0o100644, 0o030000, gofuse.WRITE_CACHE,
	}
	return modes[int(s.b[atMode])%len(modes)]
}

// caller chooses a process and its user.
func (s *step) caller() caller {
	callers := [...]caller{
		{pid: uint32(os.Getpid())}, {}, {uid: 1000, gid: 1000, pid: uint32(os.Getpid())}, {uid: 1000, gid: 1000},
		{uid: math.MaxUint32, gid: math.MaxUint32, pid: math.MaxUint32}, {pid: 1 << 31},
	}
	return callers[int(s.b[atCaller])%len(callers)]
}
