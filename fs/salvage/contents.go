package salvage

import (
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
	"ssefs/kms"
)

// leafBytes is the part of a file that one leaf of its map covers.
const leafBytes = extent.LeafBlocks * crypto.BlockSize

// file is the copying of one regular file.
type file struct {
	*salvager
	ino    uint64
	n      *record.Inode
	path   string
	out    *os.File
	cipher *crypto.FileCipher
	buf    []byte

	// The range that was lost last, and why; extended as long as it goes on.
	lostFrom, lostTo uint64
	lostWhy          string
}

// copyFile makes a regular file and copies into it what can be read.
func (s *salvager) copyFile(d directory, name string, ino uint64, n *record.Inode) error {
	fd, err := unix.Openat(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	f := &file{salvager: s, ino: ino, n: n, path: d.join(name), out: os.NewFile(uintptr(fd), name), buf: s.block}
	err = f.copy()
	f.flushLost()
	s.block = f.buf
	if f.cipher != nil {
		f.cipher.Wipe()
	}
	if err == nil {
		if err = f.out.Truncate(int64(n.Size)); err != nil {
			err = fmt.Errorf("set the size: %w", err)
		}
	}
	if closeErr := f.out.Close(); err == nil {
		err = closeErr
	}
	return err
}

// copy copies the contents. Its errors are of the copy.
func (f *file) copy() error {
	if f.n.Blocks == 0 && f.n.Map.Height == 0 && len(f.n.Map.Leaves) == 0 {
		return nil
	}
	if err := f.openKey(); err != nil {
		if f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		f.lost(0, f.n.Size, "the data key: "+err.Error())
		return nil
	}
	m := &f.n.Map
	if m.Height == 0 {
		for _, l := range m.Leaves {
			if err := f.leaf(l.Index, l.Leaf); err != nil {
				return err
			}
		}
		return nil
	}
	return f.nodes(m.Height-1, m.Refs)
}

func (f *file) openKey() error {
	env, err := crypto.ParseEnvelope(f.n.Envelope)
	if err != nil {
		return err
	}
	if f.KMS == nil {
		return errNoKeystore
	}
	fc := crypto.FileContext{Volume: f.ID, Bucket: f.n.Bucket, Inode: f.ino}
	key, err := f.KMS.OpenEnvelope(f.ctx, env, fc, kms.Drive())
	if err != nil {
		return err
	}
	defer key.Wipe()
	f.cipher, err = crypto.NewFileCipher(key, env.Algorithm.ContentMode(), fc)
	return err
}

// nodes goes through map nodes of a level.
func (f *file) nodes(level uint8, refs []record.Ref) error {
	for _, ref := range refs {
		leaf, below, err := f.node(level, ref)
		switch {
		case err != nil:
			from, to := covers(level, ref.Index)
			f.lost(from, to, fmt.Sprintf("map node %d/%d, with %d blocks: %s", level, ref.Index, ref.Blocks, why(err)))
		case level == 0:
			if err := f.leaf(ref.Index, leaf); err != nil {
				return err
			}
		default:
			if err := f.nodes(level-1, below); err != nil {
				return err
			}
		}
	}
	return nil
}

// node reads a map node, which must be of the version that it is listed with.
func (f *file) node(level uint8, ref record.Ref) (leaf *extent.Leaf, below []record.Ref, err error) {
	if err := f.get(record.MapKey(f.ino, level, ref.Index)); err != nil {
		return nil, nil, err
	}
	version := uint64(0)
	if level == 0 {
		leaf, version, err = record.DecodeLeaf(f.plain)
	} else {
		below, version, err = record.DecodeNode(f.plain, level)
	}
	if err == nil && version != ref.Version {
		err = fmt.Errorf("it is of version %d, not %d", version, ref.Version)
	}
	for _, r := range below {
		if err == nil && r.Index>>record.FanoutBits != ref.Index {
			err = fmt.Errorf("it lists node %d, which cannot be below it", r.Index)
		}
	}
	return leaf, below, err
}

// covers returns the bytes that a map node covers.
func covers(level uint8, index uint64) (from, to uint64) {
	size := uint64(leafBytes) << (record.FanoutBits * uint(level))
	if index >= math.MaxInt64/size {
		return math.MaxInt64, math.MaxInt64
	}
	return index * size, (index + 1) * size
}

// leaf copies the blocks of one leaf.
func (f *file) leaf(index uint64, leaf *extent.Leaf) error {
	if err := f.tick(f.report.Copied.Bytes, f.totalBytes(), "contents"); err != nil {
		return err
	}
	var rc *crypto.RecordCipher
	var err error
	last := -1
	for _, r := range leaf.Runs {
		rec := &leaf.Recs[r.Rec]
		if int(r.Rec) != last {
			if rc, err = f.cipher.Record(rec.Salt); err != nil {
				return err
			}
			last = int(r.Rec)
		}
		if err := f.run(rc, rec.ID, index*extent.LeafBlocks+uint64(r.Start), r); err != nil {
			return err
		}
	}
	return nil
}

// run copies one run of blocks, from logical block first on.
func (f *file) run(rc *crypto.RecordCipher, id, first uint64, r extent.Run) error {
	var output error
	err := f.View.Get(record.DataKey(f.ino, id), func(value []byte) error {
		f.buf = f.buf[:0]
		begin := first
		for i := range uint64(r.Count) {
			index, logical := uint32(r.Index)+uint32(i), first+i
			sealed, err := crypto.SealedBlock(value, index)
			if err == nil {
				var more []byte
				if more, err = rc.OpenBlock(f.buf, index, logical, sealed); err == nil {
					full := len(more)-len(f.buf) == crypto.BlockSize
					if f.buf = more; full {
						continue
					}
				}
			}
			// After a short block, too, the next one is not where this one ends.
			if output = f.write(begin); output != nil {
				return nil
			}
			f.buf, begin = f.buf[:0], logical+1
			if err != nil {
				f.lost(logical*crypto.BlockSize, (logical+1)*crypto.BlockSize, fmt.Sprintf("data record %d: %v", id, err))
			}
		}
		output = f.write(begin)
		return nil
	})
	if err != nil {
		f.lost(first*crypto.BlockSize, (first+uint64(r.Count))*crypto.BlockSize, fmt.Sprintf("data record %d: %s", id, why(err)))
	}
	return output
}

// write writes what is in the buffer at a logical block.
func (f *file) write(logical uint64) error {
	if len(f.buf) == 0 {
		return nil
	}
	n, err := io.NewOffsetWriter(f.out, int64(logical*crypto.BlockSize)).Write(f.buf)
	f.report.Copied.Bytes += int64(n)
	return err
}

// lost notes that bytes of the file are not in the copy.
func (f *file) lost(from, to uint64, because string) {
	to = min(to, f.n.Size)
	if from >= to {
		return
	}
	if f.lostTo == from && f.lostWhy == because && f.lostTo > 0 {
		f.lostTo = to
		return
	}
	f.flushLost()
	f.lostFrom, f.lostTo, f.lostWhy = from, to, because
}

func (f *file) flushLost() {
	if f.lostTo > f.lostFrom {
		f.lose(Loss{Kind: Range, Inode: f.ino, Path: f.path, Offset: f.lostFrom, Length: f.lostTo - f.lostFrom, Message: f.lostWhy})
	}
	f.lostFrom, f.lostTo = 0, 0
}

// totalBytes is about how much there is to copy.
func (s *salvager) totalBytes() int64 {
	if s.head == nil {
		return 0
	}
	return int64(s.head.Blocks) * crypto.BlockSize
}
