// Package extent holds the map from a file's logical blocks to the data
// records that contain them.
//
// A file's blocks of 4096 bytes are grouped into leaves of LeafBlocks logical
// blocks (1 MiB of the file). A leaf lists the data records that hold any of
// its blocks and the runs of blocks found in them; a block that no run covers
// is a hole and reads as zeros. The package is pure: it does no I/O, knows no
// keys and takes no locks; the caller serialises changes.
//
// Invariants of a leaf, which Check verifies and every operation keeps:
//   - runs are sorted by Start, do not overlap and lie within the leaf;
//   - neighbouring runs that continue one another are one run;
//   - every run names a listed record and blocks that the record has;
//   - every listed record is named by at least one run.
package extent

import (
	"errors"
	"fmt"
	"slices"
)

// LeafBlocks is the number of logical blocks that one leaf covers.
const LeafBlocks = 256

// MaxRecordBlocks is the largest number of blocks in one data record.
const MaxRecordBlocks = 256

// SaltSize is the length in bytes of a data record's nonce prefix.
const SaltSize = 20

// ErrInvalid is returned for a leaf that breaks one of the invariants.
var ErrInvalid = errors.New("extent map leaf is not well formed")

// Rec describes one data record as a leaf refers to it.
type Rec struct {
	ID     uint64         // number of the data record, unique in the volume
	Salt   [SaltSize]byte // the nonce prefix it was sealed with
	Blocks uint16         // blocks in the whole record, 1 to MaxRecordBlocks
	Shared bool           // other leaves of the inode may refer to it too (a pack)
}

// Run says that Count logical blocks from Start (relative to the leaf) are the
// blocks Index, Index+1, ... of the record Recs[Rec].
type Run struct {
	Start, Count uint16
	Rec, Index   uint16
}

// Leaf is the map of LeafBlocks logical blocks. The zero value is all holes.
type Leaf struct {
	Recs []Rec
	Runs []Run
}

// Drop tells how many blocks of a record a change has let go.
type Drop struct {
	ID     uint64
	Blocks int
	Shared bool // the record's count of live blocks is kept outside the leaf
	Last   bool // no run of this leaf names the record any more
}

// find returns the index of the first run that ends after block.
func (l *Leaf) find(block uint16) int {
	lo, hi := 0, len(l.Runs)
	for lo < hi {
		mid := (lo + hi) / 2
		if l.Runs[mid].Start+l.Runs[mid].Count > block {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Lookup returns the record and the index in it of a logical block, and how
// many blocks from there on are contiguous in the record. ok is false in a
// hole, and then n is the length of the hole up to the end of the leaf.
func (l *Leaf) Lookup(block uint16) (rec *Rec, index uint16, n int, ok bool) {
	i := l.find(block)
	if i == len(l.Runs) {
		return nil, 0, LeafBlocks - int(block), false
	}
	r := l.Runs[i]
	if block < r.Start {
		return nil, 0, int(r.Start - block), false
	}
	d := block - r.Start
	return &l.Recs[r.Rec], r.Index + d, int(r.Count - d), true
}

// Blocks returns the number of blocks that are not holes.
func (l *Leaf) Blocks() int {
	n := 0
	for _, r := range l.Runs {
		n += int(r.Count)
	}
	return n
}

// Empty reports whether every block of the leaf is a hole.
func (l *Leaf) Empty() bool { return len(l.Runs) == 0 }

// Clear makes holes of count blocks from start and appends what was let go to
// drops.
func (l *Leaf) Clear(start, count uint16, drops []Drop) []Drop {
	end := start + count
	i := l.find(start)
	if i == len(l.Runs) || l.Runs[i].Start >= end {
		return drops
	}
	var keep [2]Run // what remains left and right of the cleared range
	kept := keep[:0]
	j := i
	base := len(drops)
	for ; j < len(l.Runs) && l.Runs[j].Start < end; j++ {
		r := l.Runs[j]
		from, to := max(r.Start, start), min(r.Start+r.Count, end)
		if r.Start < from {
			kept = append(kept, Run{r.Start, from - r.Start, r.Rec, r.Index})
		}
		if to < r.Start+r.Count {
			kept = append(kept, Run{to, r.Start + r.Count - to, r.Rec, r.Index + (to - r.Start)})
		}
		drops = addDrop(drops, base, &l.Recs[r.Rec], int(to-from))
	}
	l.Runs = slices.Replace(l.Runs, i, j, kept...)
	return l.sweep(drops, base)
}

func addDrop(drops []Drop, base int, rec *Rec, blocks int) []Drop {
	for k := base; k < len(drops); k++ {
		if drops[k].ID == rec.ID {
			drops[k].Blocks += blocks
			return drops
		}
	}
	return append(drops, Drop{ID: rec.ID, Blocks: blocks, Shared: rec.Shared})
}

// sweep removes records that no run names and marks their drops as last.
func (l *Leaf) sweep(drops []Drop, base int) []Drop {
	if len(drops) == base {
		return drops
	}
	used := make([]bool, len(l.Recs))
	for _, r := range l.Runs {
		used[r.Rec] = true
	}
	renumber := make([]uint16, len(l.Recs))
	n := 0
	for i := range l.Recs {
		if used[i] {
			renumber[i] = uint16(n)
			l.Recs[n] = l.Recs[i]
			n++
			continue
		}
		for k := base; k < len(drops); k++ {
			if drops[k].ID == l.Recs[i].ID {
				drops[k].Last = true
			}
		}
	}
	if n < len(l.Recs) {
		l.Recs = l.Recs[:n]
		for i := range l.Runs {
			l.Runs[i].Rec = renumber[l.Runs[i].Rec]
		}
	}
	return drops
}

// Set maps count blocks from start to the blocks from index of rec, and
// appends what was let go to drops.
func (l *Leaf) Set(start, count uint16, rec Rec, index uint16, drops []Drop) []Drop {
	drops = l.Clear(start, count, drops)
	ri := -1
	for i := len(l.Recs) - 1; i >= 0; i-- {
		if l.Recs[i].ID == rec.ID {
			ri = i
			break
		}
	}
	if ri < 0 {
		ri = len(l.Recs)
		l.Recs = append(l.Recs, rec)
	}
	run := Run{start, count, uint16(ri), index}
	i := l.find(start)
	if i > 0 && continues(l.Runs[i-1], run) {
		l.Runs[i-1].Count += count
		if i < len(l.Runs) && continues(l.Runs[i-1], l.Runs[i]) {
			l.Runs[i-1].Count += l.Runs[i].Count
			l.Runs = slices.Delete(l.Runs, i, i+1)
		}
		return drops
	}
	if i < len(l.Runs) && continues(run, l.Runs[i]) {
		l.Runs[i].Start, l.Runs[i].Index = run.Start, run.Index
		l.Runs[i].Count += count
		return drops
	}
	l.Runs = slices.Insert(l.Runs, i, run)
	return drops
}

func continues(a, b Run) bool {
	return a.Start+a.Count == b.Start && a.Rec == b.Rec && a.Index+a.Count == b.Index
}

// Waste returns how many blocks the records that belong to this leaf alone
// hold without a run naming them.
func (l *Leaf) Waste() int {
	total, live := 0, 0
	for _, r := range l.Recs {
		if !r.Shared {
			total += int(r.Blocks)
		}
	}
	for _, r := range l.Runs {
		if !l.Recs[r.Rec].Shared {
			live += int(r.Count)
		}
	}
	return total - live
}

// NextData returns the first block at or after block that is not a hole, or
// LeafBlocks.
func (l *Leaf) NextData(block uint16) uint16 {
	i := l.find(block)
	if i == len(l.Runs) {
		return LeafBlocks
	}
	return max(block, l.Runs[i].Start)
}

// NextHole returns the first block at or after block that is a hole, or
// LeafBlocks.
func (l *Leaf) NextHole(block uint16) uint16 {
	for i := l.find(block); i < len(l.Runs) && l.Runs[i].Start <= block; i++ {
		block = l.Runs[i].Start + l.Runs[i].Count
	}
	return block
}

// Clone returns a copy that shares nothing with l.
func (l *Leaf) Clone() *Leaf {
	return &Leaf{Recs: slices.Clone(l.Recs), Runs: slices.Clone(l.Runs)}
}

// Check verifies the invariants given in the package comment, for leaves that
// were read from disk.
func (l *Leaf) Check() error {
	if len(l.Recs) > LeafBlocks || len(l.Runs) > LeafBlocks {
		return fmt.Errorf("%w: %d records, %d runs", ErrInvalid, len(l.Recs), len(l.Runs))
	}
	used := make([]bool, len(l.Recs))
	end := 0
	for i, r := range l.Runs {
		if int(r.Rec) >= len(l.Recs) {
			return fmt.Errorf("%w: run %d names record %d of %d", ErrInvalid, i, r.Rec, len(l.Recs))
		}
		if r.Count == 0 || int(r.Start) < end || int(r.Start)+int(r.Count) > LeafBlocks {
			return fmt.Errorf("%w: run %d covers %d+%d", ErrInvalid, i, r.Start, r.Count)
		}
		if int(r.Index)+int(r.Count) > int(l.Recs[r.Rec].Blocks) {
			return fmt.Errorf("%w: run %d needs block %d of %d", ErrInvalid, i, r.Index+r.Count, l.Recs[r.Rec].Blocks)
		}
		if i > 0 && continues(l.Runs[i-1], r) {
			return fmt.Errorf("%w: runs %d and %d are one", ErrInvalid, i-1, i)
		}
		end = int(r.Start) + int(r.Count)
		used[r.Rec] = true
	}
	for i, u := range used {
		if !u {
			return fmt.Errorf("%w: record %d is not used", ErrInvalid, i)
		}
		if b := l.Recs[i].Blocks; b == 0 || b > MaxRecordBlocks {
			return fmt.Errorf("%w: record %d has %d blocks", ErrInvalid, i, b)
		}
		for j := range i {
			if l.Recs[j].ID == l.Recs[i].ID {
				return fmt.Errorf("%w: record %d is listed twice", ErrInvalid, l.Recs[i].ID)
			}
		}
	}
	return nil
}
