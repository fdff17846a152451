package fs

import (
	"errors"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"ssefs/fs/record"
	"ssefs/fs/uring"
	"ssefs/fs/volume"
)

// openFile makes a handle of a pinned inode whose key is open.
func (d *drive) openFile(n *volume.Inode, c caller, flags uint32, out *gofuse.OpenOut) {
	n.Acquire()
	h := &handle{n: n, caller: c, writes: flags&unix.O_ACCMODE != unix.O_RDONLY}
	out.Fh = d.handles.add(h)
	out.OpenFlags = gofuse.FOPEN_KEEP_CACHE
}

// Create makes a file and opens it.
func (d *drive) Create(_ <-chan struct{}, in *gofuse.CreateIn, name string, out *gofuse.CreateOut) gofuse.Status {
	w := volume.NewNode{Mode: record.TypeFile | in.Mode&0o7777, Umask: in.Umask}
	n, s := d.create(&in.InHeader, name, w, &out.EntryOut)
	if s == gofuse.OK {
		d.openFile(n, callerOf(&in.InHeader), in.Flags, &out.OpenOut)
	}
	return s
}

// Tmpfile makes a file without a name and opens it.
func (d *drive) Tmpfile(_ <-chan struct{}, in *gofuse.CreateIn, out *gofuse.CreateOut) gofuse.Status {
	c := callerOf(&in.InHeader)
	w := volume.NewNode{
		Mode: record.TypeFile | in.Mode&0o7777, Umask: in.Umask, UID: in.Uid, GID: in.Gid, Caller: c.kms(),
	}
	n, err := d.v.CreateUnnamed(bg, d.ino(in.NodeId), w)
	if err != nil {
		return d.statusAt(err, in.NodeId)
	}
	d.entry(&out.EntryOut, n)
	d.openFile(n, c, in.Flags, &out.OpenOut)
	return gofuse.OK
}

// Open opens a file: here it is decided whether the caller may use its key.
func (d *drive) Open(_ <-chan struct{}, in *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	c := callerOf(&in.InHeader)
	if err := d.v.Open(bg, n, c.kms()); err != nil {
		defer d.v.Unpin(n)
		return d.status(err, n)
	}
	d.openFile(n, c, in.Flags, out)
	return gofuse.OK
}

// Release closes a file.
func (d *drive) Release(_ <-chan struct{}, in *gofuse.ReleaseIn) {
	if h, err := d.handles.get(in.Fh); err == nil && h.writes {
		d.forgetBlocks(h.n, 0)
	}
	d.release(in.Fh)
}

// forgetBlocks makes the kernel ask for the attributes of a file again if of
// those it remembers the number of blocks is wrong by more than the given
// number. It counts no blocks itself, and learns nothing from the replies to
// WRITE. A notification without a range drops attributes only; the kernel sends
// no request for it and takes no lock, so that a handler may send it. But it
// also forgets that the file has no capabilities, so that the next write asks
// for these, too: hence not after every change.
func (d *drive) forgetBlocks(n *volume.Inode, slack uint64) {
	told, blocks := n.Told.Load(), n.Stat().Blocks
	if max(told, blocks)-min(told, blocks) > slack {
		n.Told.Store(blocks)
		d.kernel.InodeNotify(d.node(n.Ino), -1, 0)
	}
}

// syncSlack is by which part of its blocks a file that is being written to and
// synced may differ from what the kernel knows: a log that is synced for each
// entry would otherwise cost three requests each time instead of one.
const syncSlack = 8

// Flush is not needed: what an application wrote was sent here before. The
// kernel does not ask again.
func (d *drive) Flush(_ <-chan struct{}, _ *gofuse.FlushIn) gofuse.Status { return gofuse.ENOSYS }

// usable returns an open file whose key is open. A key that was revoked after
// the file was opened is tried again, so that enabling it brings the file back.
func (d *drive) usable(fh uint64) (*handle, error) {
	h, err := d.handles.file(fh)
	if err != nil {
		return nil, err
	}
	if h.n.Unlocked() {
		return h, nil
	}
	return h, d.v.Open(bg, h.n, h.caller.kms())
}

// Read reads contents. It comes on handles that are open for writing only,
// too: the kernel completes pages for them.
func (d *drive) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	h, err := d.usable(in.Fh)
	if err != nil {
		return nil, d.statusOn(err, h)
	}
	k, err := d.v.Read(h.n, buf, in.Offset)
	if err != nil {
		return nil, d.status(err, h.n)
	}
	if in.Flags&unix.O_NOATIME == 0 {
		d.v.Accessed(h.n)
	}
	return inReply(buf[:k]), gofuse.OK
}

func (d *drive) statusOn(err error, h *handle) gofuse.Status {
	if h == nil {
		return d.status(err, nil)
	}
	return d.status(err, h.n)
}

// Write stores contents.
func (d *drive) Write(_ <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	h, err := d.usable(in.Fh)
	if err != nil {
		return 0, d.statusOn(err, h)
	}
	if err := d.write(h, in, in.Offset, data); err != nil {
		return 0, d.status(err, h.n)
	}
	return uint32(len(data)), gofuse.OK
}

func (d *drive) write(h *handle, in *gofuse.WriteIn, off uint64, data []byte) error {
	if in.WriteFlags&gofuse.WRITE_CACHE != 0 {
		return d.v.WriteBack(h.n, off, data)
	}
	set := volume.KeepSetID
	if in.WriteFlags&gofuse.WRITE_KILL_SUIDGID != 0 {
		set = volume.ClearSetID
	}
	if err := d.v.DropPriv(h.n, set); err != nil {
		return err
	}
	if err := d.v.Write(h.n, off, data); err != nil {
		return err
	}
	if in.Flags&(unix.O_SYNC|unix.O_DSYNC) != 0 {
		return d.v.SyncInode(h.n)
	}
	return nil
}

// Fsync makes a file durable.
func (d *drive) Fsync(_ <-chan struct{}, in *gofuse.FsyncIn) gofuse.Status {
	h, err := d.handles.get(in.Fh)
	if err != nil {
		return d.status(err, nil)
	}
	if err := d.v.SyncInode(h.n); err != nil {
		var failed *volume.FailedError
		if errors.As(err, &failed) {
			return gofuse.EIO // not EROFS: what was written is lost
		}
		return d.status(err, h.n)
	}
	if h.writes {
		d.forgetBlocks(h.n, h.n.Told.Load()/syncSlack)
	}
	if h.listing == nil && !h.n.Unlocked() { // its key was revoked
		return d.status(d.v.Open(bg, h.n, h.caller.kms()), h.n)
	}
	return gofuse.OK
}

// Lseek finds data and holes. What the kernel has cached and not written back
// counts as data, so it is asked for it first.
func (d *drive) Lseek(_ <-chan struct{}, in *gofuse.LseekIn, out *gofuse.LseekOut) gofuse.Status {
	h, err := d.handles.file(in.Fh)
	if err != nil {
		return d.status(err, nil)
	}
	if d.handles.writing(h.n) {
		if err := d.writeBackCache(h.n.Ino); err != nil {
			return d.status(err, h.n)
		}
	}
	switch in.Whence {
	case unix.SEEK_DATA:
		out.Offset, err = d.v.SeekData(h.n, in.Offset)
	case unix.SEEK_HOLE:
		out.Offset, err = d.v.SeekHole(h.n, in.Offset)
	default:
		err = volume.ErrInvalid
	}
	return d.status(err, h.n)
}

// maxWriteBacks is how many handlers may wait for requests of the kernel's at a
// time, and writeBackTime how long others wait for their turn. Over io_uring a
// handler keeps a ring of its processor's queue, of which there is a limited
// number: were all taken by handlers that wait for requests behind them, they
// would wait for ever.
const (
	maxWriteBacks = uring.MaxRings / 4
	writeBackTime = 10 * time.Second
)

// writeBackCache has the kernel write back what it has cached of an inode, and
// waits for it. The kernel sends WRITE requests meanwhile, so nothing may be
// held.
func (d *drive) writeBackCache(ino uint64) error {
	select {
	case d.writeBacks <- struct{}{}:
		defer func() { <-d.writeBacks }()
	case <-time.After(writeBackTime):
		return errBusy
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.kernel.InodeNotify(d.node(ino), 0, -1)
	}()
	<-done
	return nil
}

// Fallocate answers fallocate(2).
func (d *drive) Fallocate(_ <-chan struct{}, in *gofuse.FallocateIn) gofuse.Status {
	h, err := d.usable(in.Fh)
	if err != nil {
		return d.statusOn(err, h)
	}
	var mode volume.AllocateMode
	switch in.Mode {
	case 0:
		mode = volume.AllocateExtend
	case unix.FALLOC_FL_KEEP_SIZE:
		mode = volume.AllocateKeepSize
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE:
		mode = volume.AllocatePunch
	case unix.FALLOC_FL_ZERO_RANGE:
		mode = volume.AllocateZero
	case unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE:
		mode = volume.AllocateZeroKeepSize
	default:
		return d.status(errNotSupported, h.n)
	}
	if err := d.v.DropPriv(h.n, setIDAfter(&in.InHeader)); err != nil {
		return d.status(err, h.n)
	}
	return d.status(d.v.Allocate(h.n, in.Offset, in.Length, mode), h.n)
}

// setIDAfter says what becomes of the set-ID bits after a change for which the
// kernel does not say whether the caller has the privilege to keep them.
func setIDAfter(h *gofuse.InHeader) volume.SetID {
	if h.Uid == 0 {
		return volume.KeepSetID
	}
	return volume.ClearSetID
}

// maxCopy bounds the bytes that one copy request moves; copyStep is how many
// at a time.
const (
	maxCopy  = 16 << 20
	copyStep = 1 << 20
)

// CopyFileRange copies within the drive. Contents are decrypted and encrypted
// again under the target's key, as if read and written, since every file has
// its own.
func (d *drive) CopyFileRange(_ <-chan struct{}, in *gofuse.CopyFileRangeIn) (uint32, gofuse.Status) {
	from, err := d.usable(in.FhIn)
	if err != nil {
		return 0, d.statusOn(err, from)
	}
	to, err := d.usable(in.FhOut)
	if err != nil {
		return 0, d.statusOn(err, to)
	}
	length := min(in.Len, maxCopy)
	// The kernel sends no such request. It would read what it has just written,
	// however little that is, and never come to the end of the file.
	if from.n == to.n && max(in.OffIn, in.OffOut)-min(in.OffIn, in.OffOut) < length {
		return 0, d.status(volume.ErrInvalid, to.n)
	}
	if err := d.v.DropPriv(to.n, setIDAfter(&in.InHeader)); err != nil {
		return 0, d.status(err, to.n)
	}
	buf := make([]byte, min(length, copyStep))
	done := uint64(0)
	for done < length {
		k, err := d.v.Read(from.n, buf[:min(uint64(len(buf)), length-done)], in.OffIn+done)
		if err == nil && k > 0 {
			err = d.v.Write(to.n, in.OffOut+done, buf[:k])
		}
		if err != nil && done == 0 {
			return 0, d.status(err, to.n)
		}
		if err != nil || k == 0 {
			break
		}
		done += uint64(k)
	}
	return uint32(done), gofuse.OK
}

// Ioctl has no commands to offer.
func (d *drive) Ioctl(_ <-chan struct{}, _ *gofuse.IoctlIn, _ []byte, _ *gofuse.IoctlOut, _ []byte) gofuse.Status {
	return gofuse.Status(unix.ENOTTY)
}

// Access answers access(2) where the kernel does not check permissions itself,
// that is for root: all is allowed but to execute what nobody may execute.
func (d *drive) Access(_ <-chan struct{}, in *gofuse.AccessIn) gofuse.Status {
	n, err := d.inode(in.NodeId)
	if err != nil {
		return d.status(err, nil)
	}
	defer d.v.Unpin(n)
	if a := n.Stat(); in.Mask&unix.X_OK != 0 && !a.IsDir() && a.Mode&0o111 == 0 {
		return gofuse.EACCES
	}
	return gofuse.OK
}
