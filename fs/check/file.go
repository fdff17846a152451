package check

import (
	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// leafBytes is the part of a file that one leaf of its map covers.
const leafBytes = extent.LeafBlocks * crypto.BlockSize

// fileCheck is the check of one regular file.
//
// The file's map is walked once for every window of its data records (see
// window); files of ordinary size have one. What concerns the map itself and
// the contents is done in the first walk.
type fileCheck struct {
	*checker
	ino uint64
	n   *record.Inode

	// deleting says that the file has no name and that any of its records may
	// be gone already; below, that data records numbered below it and map nodes
	// may be left that the map does not name.
	deleting bool
	below    uint64

	window window
	first  bool // this is the first walk
	// broken says that part of the map could not be followed, so that it is not
	// known what is mapped.
	broken bool

	nodes      int64 // map nodes found
	mapped     uint64
	pastEnd    bool
	contents   contents
	leafRecord []extent.Run // scratch: the runs of one record in a leaf
}

// checkFile checks a regular file's map, data, pack records and envelope.
func (c *checker) checkFile(ino uint64, n *record.Inode, o *orphan, a *attached) error {
	f := &c.file
	*f = fileCheck{checker: c, ino: ino, n: n, first: true, window: f.window, contents: f.contents, leafRecord: f.leafRecord}
	if o != nil {
		f.deleting, f.below = o.below == 0, o.below
	}
	c.totals.blocks += n.Blocks
	f.openKey()
	defer f.contents.close()
	for {
		if err := f.fill(a); err != nil {
			return err
		}
		if err := f.walk(); err != nil {
			return err
		}
		f.settleWindow()
		if f.first {
			f.first = false
			if err := f.checkNodes(a.maps); err != nil {
				return err
			}
			f.checkBlocks()
		}
		if f.window.last {
			return nil
		}
	}
}

// checkBlocks compares the inode's count of blocks with its map.
func (f *fileCheck) checkBlocks() {
	f.report.Counts.Blocks += int64(f.mapped)
	if !f.deleting && !f.broken && f.mapped != f.n.Blocks {
		f.problem(Blocks, Error, f.ino, "the map has %d blocks, the inode counts %d", f.mapped, f.n.Blocks)
	}
}

// walk goes through the file's map.
func (f *fileCheck) walk() error {
	m := &f.n.Map
	if m.Height == 0 {
		for _, l := range m.Leaves {
			if err := f.leaf(l.Index, l.Leaf); err != nil {
				return err
			}
		}
		return nil
	}
	for _, ref := range m.Refs {
		if err := f.node(m.Height-1, ref); err != nil {
			return err
		}
	}
	return nil
}

// node checks a map node and goes through what lies below it.
func (f *fileCheck) node(level uint8, ref record.Ref) error {
	key := record.MapKey(f.ino, level, ref.Index)
	if err := f.get(key); err != nil {
		return f.badNode(level, ref, err)
	}
	f.found()
	if level == 0 {
		leaf, version, err := record.DecodeLeaf(f.plain)
		if err != nil {
			return f.badNode(level, ref, err)
		}
		if !f.rightVersion(level, ref, version) {
			return nil
		}
		if b := uint64(leaf.Blocks()); b != ref.Blocks {
			f.wrongCount(level, ref, b)
		}
		return f.leaf(ref.Index, leaf)
	}
	refs, version, err := record.DecodeNode(f.plain, level)
	if err != nil {
		return f.badNode(level, ref, err)
	}
	if !f.rightVersion(level, ref, version) {
		return nil
	}
	sum := uint64(0)
	for _, r := range refs {
		sum += r.Blocks
	}
	if sum != ref.Blocks {
		f.wrongCount(level, ref, sum)
	}
	for _, r := range refs {
		if r.Index>>record.FanoutBits != ref.Index {
			f.mapProblem(Map, level-1, r, "node %d/%d is listed by node %d/%d, where it cannot be", level-1, r.Index, level, ref.Index)
			continue
		}
		if err := f.node(level-1, r); err != nil {
			return err
		}
	}
	return nil
}

func (f *fileCheck) found() {
	if f.first {
		f.nodes++
	}
}

// leaf checks one leaf: 256 logical blocks.
func (f *fileCheck) leaf(index uint64, leaf *extent.Leaf) error {
	if err := f.tick(f.progress()); err != nil {
		return err
	}
	if f.first {
		f.mapped += uint64(leaf.Blocks())
		if n := len(leaf.Runs); n > 0 && !f.pastEnd {
			end := index*extent.LeafBlocks + uint64(leaf.Runs[n-1].Start+leaf.Runs[n-1].Count)
			if size := (f.n.Size + crypto.BlockSize - 1) / crypto.BlockSize; end > size {
				f.pastEnd = true
				f.problem(Blocks, Error, f.ino, "the map has blocks up to %d, the file ends at block %d", end, size)
			}
		}
	}
	for i := range leaf.Recs {
		runs := f.leafRecord[:0]
		for _, r := range leaf.Runs {
			if int(r.Rec) == i {
				runs = append(runs, r)
			}
		}
		f.leafRecord = runs
		f.named(index, &leaf.Recs[i], runs)
		if f.first && f.contents.cipher != nil {
			if err := f.verify(index, &leaf.Recs[i], runs); err != nil {
				return err
			}
		}
	}
	return nil
}

// progress says how far the check of the inodes is: with contents, in bytes.
func (f *fileCheck) progress() (done, total int64, what string) {
	if f.Contents == VerifyContents {
		if f.head != nil {
			total = int64(f.head.Blocks) * crypto.BlockSize
		}
		return f.report.Counts.VerifiedBytes, total, "contents"
	}
	if f.head != nil {
		total = int64(f.head.Inodes)
	}
	return f.report.Counts.Inodes, total, stepName(record.KindInode)
}
