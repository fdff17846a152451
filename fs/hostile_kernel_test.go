package fs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/crypto"
	"ssefs/fs/check"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// hostileKernel sends requests to a drive as a kernel does that keeps no promise: it may name inodes and handles that
// never were, or are gone. Whatever it does, the drive has to answer, and the volume has to be sound afterwards.
type hostileKernel struct {
	testing.TB
	dir     *store.Dir
	db      *store.DB
	keys    *crypto.VolumeKeys
	id      crypto.VolumeID
	kms     *kms.Service
	v       *volume.Volume
	d       *drive
	server  *gofuse.ProtocolServer
	stop    func()    // ends that keys which are disabled are taken from the drive
	buffers sync.Pool // of reply buffers

	finished bool

	mu     sync.Mutex // guards what follows
	unique uint64
	known
	panics []string
}

// known is what the drive has told, in order, whatever became of it.
type known struct {
	nodes, dirs       []uint64
	handles, listings []uint64 // of files, and of directories
}

// hangLimit is how long one sequence of requests may take before it counts as hanging: some thousand times what the
// longest one takes.
const hangLimit = 2 * time.Minute

// heapLimit is how many bytes may be in use after a sequence. What is allocated for good reason is a small part of it.
const heapLimit = 1 << 30

// maxReply holds the reply to the largest READ, which is what the kernel provides at most.
const maxReply = maxRequest + 4096

func newHostileKernel(t testing.TB) *hostileKernel {
	t.Helper()
	k := &hostileKernel{TB: t, id: crypto.VolumeID{4, 5, 6}}
	k.nodes, k.dirs = []uint64{gofuse.FUSE_ROOT_ID}, []uint64{gofuse.FUSE_ROOT_ID}
	k.buffers.New = func() any { b := make([]byte, maxReply); return &b }
	root, err := crypto.NewKey()
	k.must(err)
	defer root.Wipe()
	k.keys, err = crypto.DeriveVolumeKeys(root, k.id)
	k.must(err)
	k.dir, err = store.CreateDir(filepath.Join(tempStore(t), "store"))
	k.must(err)
	k.db, err = k.dir.OpenDB(store.Options{MemTableSize: 8 << 20, ValueLogFileSize: 32 << 20, BallastSize: 1 << 20})
	k.must(err)
	policy := crypto.Policy{Algorithm: crypto.AlgorithmAES256}
	k.must(volume.Create(k.options(), volume.Settings{DefaultPolicy: policy, Region: "local"}, 0, 0))
	k.v, err = volume.Open(k.options())
	k.must(err)
	k.kms, err = kms.Create(kms.Options{
		Files: k.dir, Key: k.keys.Keystore, Volume: k.id, Logger: slog.New(slog.DiscardHandler),
		RecordGeneration: func(g uint64) error { return k.v.RecordKeystore(g) },
	})
	k.must(err)
	k.v.SetKeyService(k.kms)
	t.Cleanup(func() {
		if !k.finished { // the test has ended before its end, and what works in the background must not outlive it
			_ = errors.Join(k.v.Close(), k.db.Close(), k.dir.Close())
		}
	})
	k.connect()
	return k
}

// tempStore returns a directory in memory where there is one: thousands of volumes are made.
func tempStore(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "ssefs-requests-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (k *hostileKernel) must(err error) {
	k.Helper()
	if err != nil {
		k.Fatal(err)
	}
}

// succeeds is must for goroutines that are not the test's.
func (k *hostileKernel) succeeds(err error) {
	k.Helper()
	if err != nil {
		k.Error(err)
	}
}

func (k *hostileKernel) options() volume.Options {
	return volume.Options{DB: k.db, Dir: k.dir, Keys: k.keys, ID: k.id, Logger: slog.New(&damageLog{t: k.TB}), DirtyMemory: 8 << 20}
}

// stillWritten is logged where a kernel writes to files for as long as their key is being taken away, as this one does.
const stillWritten = "revoking a key was not complete"

// damageLog is a log in which nothing may be said to be damaged or to have failed: no request may bring that about.
type damageLog struct {
	slog.Handler
	t testing.TB
}

func (h *damageLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *damageLog) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
	if r.Message == stillWritten {
		return nil
	}
	if r.Level >= slog.LevelError || strings.Contains(b.String(), "errno="+syscall.EIO.Error()) {
		h.t.Errorf("the drive logged: %s%s", r.Message, b.String())
	}
	return nil
}

// connect mounts the drive, as far as its daemon can tell.
func (k *hostileKernel) connect() {
	cfg := Config{Volume: k.v, KMS: k.kms, AllowOther: true, Logger: slog.New(&damageLog{t: k.TB})}
	var err error
	k.d, err = newDrive(cfg)
	k.must(err)
	k.d.kernel = k
	k.stop = k.d.followKeys(k.kms)
	o := MountOptions(cfg)
	// go-fuse says of each request that it does not like what it does not like.
	o.Logger = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	o.PanicHandler = func(p any) gofuse.Status {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.panics = append(k.panics, fmt.Sprintf("%v\n%s", p, debug.Stack()))
		return gofuse.EIO
	}
	k.server = gofuse.NewProtocolServer(k.d, o)
	init := fields{}
	init.u32(7, 39, 1<<20, math.MaxUint32, math.MaxUint32).zeros(44)
	k.expect(request{op: opInit, body: init})
}

// InodeNotify implements [notifier]. As the kernel does, it writes back before it answers that contents are dropped:
// the drive has to take that while it waits.
func (k *hostileKernel) InodeNotify(node uint64, off int64, length int64) gofuse.Status {
	if off == 0 && length == -1 {
		handles := k.knows().handles
		for _, fh := range handles[max(0, len(handles)-4):] {
			k.send(request{op: opWrite, node: node, body: writeBody(fh, 4096, gofuse.WRITE_CACHE, 0, []byte("written back"))})
		}
	}
	return gofuse.OK
}

// EntryNotify implements [notifier].
func (k *hostileKernel) EntryNotify(uint64, string) gofuse.Status { return gofuse.OK }

// request is what goes to the drive, without the lengths and numbers that send adds.
type request struct {
	op      uint32
	node    uint64
	caller  caller
	ext     uint16 // length of extensions that the header tells of, in units of 8 bytes
	body    fields
	dropped int // bytes that are missing at the end
}

// inHeader is the size of the header of a request, and outHeader that of a reply.
const (
	inHeader  = 40
	outHeader = 16
)

// reply is what came back; without is set where there was none.
type reply struct {
	without bool
	status  syscall.Errno
	body    []byte
}

// send has the drive answer a request, and looks at whether the kernel would take the answer.
func (k *hostileKernel) send(r request) reply {
	k.mu.Lock()
	k.unique += 2
	unique := k.unique
	k.mu.Unlock()
	var in fields
	in.u32(uint32(inHeader+len(r.body)), r.op).u64(unique, r.node).u32(r.caller.uid, r.caller.gid, r.caller.pid)
	in = binary.NativeEndian.AppendUint16(in, r.ext)
	in = append(binary.NativeEndian.AppendUint16(in, 0), r.body...)
	in = in[:max(0, len(in)-r.dropped)]
	buf := k.buffers.Get().(*[]byte)
	defer k.buffers.Put(buf)
	out := *buf
	n, status := k.server.HandleRequest([][]byte{in}, [][]byte{out})
	if n == 0 {
		if status == gofuse.OK && !unanswered(r.op) {
			k.Errorf("%v: no reply", r)
		}
		return reply{without: true}
	}
	if n < outHeader || n > len(out) {
		k.Errorf("%v: a reply of %d bytes", r, n)
		return reply{without: true}
	}
	length, code, to := binary.NativeEndian.Uint32(out), int32(binary.NativeEndian.Uint32(out[4:])), binary.NativeEndian.Uint64(out[8:])
	a := reply{status: syscall.Errno(-code), body: append([]byte(nil), out[outHeader:n]...)}
	switch {
	case int(length) != n:
		k.Errorf("%v: a reply of %d bytes that says it has %d", r, n, length)
	case to != unique:
		k.Errorf("%v: the reply is for request %d, not %d", r, to, unique)
	case code > 0 || code <= -512: // what the kernel refuses, in fuse_dev_do_write
		k.Errorf("%v: error %d", r, code)
	case code != 0 && n != outHeader:
		k.Errorf("%v: error %v with %d bytes more", r, a.status, n-outHeader)
	case code == 0:
		if err := k.take(r, a.body); err != nil {
			k.Errorf("%v: %v", r, err)
		}
	}
	return a
}

// unanswered reports whether requests of the kind have no answer. INTERRUPT has one only if it fails.
func unanswered(op uint32) bool {
	return op == opForget || op == opBatchForget || op == opNotifyReply || op == opInterrupt
}

// expect is send for a request that has to succeed.
func (k *hostileKernel) expect(r request) []byte {
	k.Helper()
	a := k.send(r)
	if a.without || a.status != 0 {
		k.Fatalf("%v: %v", r, a.status)
	}
	return a.body
}

func (r request) String() string {
	return fmt.Sprintf("opcode %d on node %#x, body %.64q (%d bytes, %d dropped)", r.op, r.node, []byte(r.body), len(r.body), r.dropped)
}

// knows returns what the drive has told so far. Of a list that grows, nothing that is in it changes.
func (k *hostileKernel) knows() known {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known
}

// finish looks at what the requests have left: nothing may have failed in memory, and the volume has to close, to be
// clean, to open again and to show all that it has.
func (k *hostileKernel) finish() {
	k.Helper()
	for _, p := range k.panics {
		k.Errorf("panic: %s", p)
	}
	var mem runtime.MemStats
	if runtime.ReadMemStats(&mem); mem.HeapAlloc > heapLimit {
		k.Errorf("%d bytes are in use", mem.HeapAlloc)
	}
	_ = k.kms.Enable(context.Background(), kms.By{Managed: true}, kms.DefaultAlias) // it may have been so all the time, or not be there
	k.stop()
	k.d.close()
	k.must(k.v.Close())
	k.check()
	var err error
	k.v, err = volume.Open(k.options())
	k.must(err)
	k.v.SetKeyService(k.kms)
	k.walk(volume.RootInode, "/")
	k.must(k.v.Close())
	k.check()
	k.kms.Close()
	k.keys.Wipe()
	k.must(k.db.Close())
	k.must(k.dir.Close())
	k.finished = true
}

// check is fsck --data.
func (k *hostileKernel) check() {
	k.Helper()
	view := k.db.View()
	defer view.Release()
	head, err := k.dir.ReadFile("head")
	k.must(err)
	r, err := check.Run(context.Background(), check.Options{
		View: view, Keys: k.keys, ID: k.id, KMS: k.kms, Contents: check.VerifyContents, HeadCopy: head,
	})
	k.must(err)
	for i := range r.Problems {
		k.Errorf("check: %s", &r.Problems[i])
	}
}

// walk reads every name below a directory, and the ends of every file.
func (k *hostileKernel) walk(dir uint64, path string) {
	k.Helper()
	n, err := k.v.Inode(dir)
	k.must(err)
	defer k.v.Unpin(n)
	var entries []record.Entry
	if err := k.v.NewListing(n).Each(k.v, func(e record.Entry, _ uint64) bool { entries = append(entries, e); return true }); err != nil {
		k.Errorf("list %s: %v", path, err)
	}
	for _, e := range entries {
		if strings.ContainsAny(e.Name, "/\x00") || e.Name == "" || e.Name == "." || e.Name == ".." {
			k.Errorf("%s has an entry named %q", path, e.Name)
		}
		if e.Type == record.TypeDir {
			k.walk(e.Inode, path+e.Name+"/")
			continue
		}
		f, err := k.v.Lookup(dir, e.Name)
		if err != nil {
			k.Errorf("%s%s: %v", path, e.Name, err)
			continue
		}
		if f.IsRegular() {
			k.must(k.v.Open(context.Background(), f, kms.Drive()))
			buf := make([]byte, 64<<10)
			for _, off := range []uint64{0, max(f.Stat().Size, uint64(len(buf))) - uint64(len(buf))} {
				if _, err := k.v.Read(f, buf, off); err != nil {
					k.Errorf("read %s%s at %d: %v", path, e.Name, off, err)
				}
			}
		}
		k.v.Unpin(f)
	}
}

// limitTime ends the process with all stacks if the sequence hangs.
func limitTime(t testing.TB) {
	timer := time.AfterFunc(hangLimit, func() { panic(t.Name() + ": the drive hangs") })
	t.Cleanup(func() { timer.Stop() })
}

// fields builds the body of a request.
type fields []byte

func (f *fields) u32(values ...uint32) *fields {
	for _, v := range values {
		*f = binary.NativeEndian.AppendUint32(*f, v)
	}
	return f
}

func (f *fields) u64(values ...uint64) *fields {
	for _, v := range values {
		*f = binary.NativeEndian.AppendUint64(*f, v)
	}
	return f
}

func (f *fields) zeros(n int) *fields { *f = append(*f, make([]byte, n)...); return f }

func (f *fields) name(names ...string) *fields {
	for _, n := range names {
		*f = append(append(*f, n...), 0)
	}
	return f
}

func writeBody(fh, off uint64, writeFlags, flags uint32, data []byte) fields {
	var f fields
	f.u64(fh, off).u32(uint32(len(data)), writeFlags).u64(0).u32(flags, 0)
	return append(f, data...)
}

// Opcodes, from the kernel's include/uapi/linux/fuse.h.
const (
	opLookup        = 1
	opForget        = 2
	opGetattr       = 3
	opSetattr       = 4
	opReadlink      = 5
	opSymlink       = 6
	opMknod         = 8
	opMkdir         = 9
	opUnlink        = 10
	opRmdir         = 11
	opRename        = 12
	opLink          = 13
	opOpen          = 14
	opRead          = 15
	opWrite         = 16
	opStatfs        = 17
	opRelease       = 18
	opFsync         = 20
	opSetxattr      = 21
	opGetxattr      = 22
	opListxattr     = 23
	opRemovexattr   = 24
	opFlush         = 25
	opInit          = 26
	opOpendir       = 27
	opReaddir       = 28
	opReleasedir    = 29
	opFsyncdir      = 30
	opGetlk         = 31
	opSetlk         = 32
	opSetlkw        = 33
	opAccess        = 34
	opCreate        = 35
	opInterrupt     = 36
	opBmap          = 37
	opDestroy       = 38
	opIoctl         = 39
	opPoll          = 40
	opNotifyReply   = 41
	opBatchForget   = 42
	opFallocate     = 43
	opReaddirplus   = 44
	opRename2       = 45
	opLseek         = 46
	opCopyFileRange = 47
	opSyncfs        = 50
	opTmpfile       = 51
	opStatx         = 52
)

// setattr is the body of a SETATTR.
func setattr(valid uint32, fh, size, seconds uint64, nanos, mode, uid uint32) fields {
	var f fields
	f.u32(valid, 0).u64(fh, size, 0, seconds, seconds, seconds).u32(nanos, nanos, nanos, mode, 0, uid, uid, 0)
	return f
}
