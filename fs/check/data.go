package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"ssefs/crypto"
	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// defaultWindowWeight bounds a window: its data records, and the blocks that
// its pack records list. It makes some tens of megabytes.
const defaultWindowWeight = 1 << 20

// window holds the data records of one file whose numbers lie in a range, for
// comparison with the map. A file with very many has several windows, one after
// the other.
type window struct {
	from uint64 // numbers from here on
	end  uint64 // and below this are in the window
	last bool   // there are no more

	recs  []dataRecord // by number
	packs []*record.Pack

	unlisted      int // data records that the map does not name
	firstUnlisted uint64
}

// dataRecord is a data record in a window.
type dataRecord struct {
	id     uint64
	leaf   uint64 // one more than the first leaf that names it; 0: none does
	mapped uint32 // blocks that the map names
	pack   int32  // index in packs, or noPack or badPack
	blocks uint16 // by its size; 0 if no record has that size
	shared bool   // as the map says
	spread bool   // named by several leaves though not shared, as was noted
	odd    bool   // of another size than the map says, as was noted
}

// Values of dataRecord.pack that are no index.
const (
	noPack  = -1
	badPack = -2 // it does not open or decode
)

// fill loads the next window from the streams of data and pack records.
func (f *fileCheck) fill(a *attached) error {
	w := &f.window
	if f.first {
		w.end, w.unlisted = 0, 0
	}
	w.from = w.end
	w.recs, w.packs = w.recs[:0], w.packs[:0]
	s := a.data
	for weight := 0; weight < f.windowWeight && s.ok && s.key.ID == f.ino; weight++ {
		id := s.key.Sub
		if err := f.passPacks(a.packs, id); err != nil {
			return err
		}
		d := dataRecord{id: id, pack: noPack}
		if blocks, _, err := crypto.RecordGeometry(int(s.size)); err != nil {
			f.problem(Data, Error, f.ino, "data record %d: %v", id, err)
		} else {
			d.blocks = uint16(blocks)
		}
		if f.head != nil && id >= f.head.NextRecord {
			f.problem(Data, Error, f.ino, "data record %d is numbered past the volume's next number %d", id, f.head.NextRecord)
		}
		if p := a.packs; p.ok && p.key.ID == f.ino && p.key.Sub == id {
			d.pack = f.takePack(p)
			if d.pack >= 0 {
				weight += len(w.packs[d.pack].Logical)
			}
			if err := f.count(record.KindPack, 0); err != nil {
				return err
			}
			p.advance()
		}
		w.recs = append(w.recs, d)
		if err := f.count(record.KindData, 0); err != nil {
			return err
		}
		s.advance()
	}
	w.last = !s.ok || s.key.ID != f.ino
	if w.last {
		w.end = math.MaxUint64
		return f.passPacks(a.packs, math.MaxUint64)
	}
	w.end = w.recs[len(w.recs)-1].id + 1
	return nil
}

func (f *fileCheck) takePack(s *stream) int32 {
	p, err := decode(f.checker, s.item, record.DecodePack)
	if err != nil {
		return badPack
	}
	f.notNewer(p.Version, s.key)
	f.window.packs = append(f.window.packs, p)
	return int32(len(f.window.packs) - 1)
}

// passPacks passes over pack records of the file up to a number, which have no
// data record.
func (f *fileCheck) passPacks(s *stream, before uint64) error {
	for s.ok && s.key.ID == f.ino && s.key.Sub < before {
		id := s.key.Sub
		_, err := decode(f.checker, s.item, record.DecodePack)
		if err == nil && !f.dueToGo(id) {
			f.problem(Pack, Warning, f.ino, "pack record %d has no data record", id)
		}
		if err := f.count(record.KindPack, 0); err != nil {
			return err
		}
		s.advance()
	}
	return nil
}

// dueToGo reports whether a data record of the file may be left though the map
// does not name it.
func (f *fileCheck) dueToGo(id uint64) bool {
	return f.deleting || id < f.below || f.isPending(f.ino, id)
}

// named enters into the window that a leaf names a data record for some runs.
func (f *fileCheck) named(index uint64, rec *extent.Rec, runs []extent.Run) {
	w := &f.window
	if rec.ID < w.from || rec.ID >= w.end {
		return
	}
	i, ok := slices.BinarySearchFunc(w.recs, rec.ID, func(d dataRecord, id uint64) int { return cmp.Compare(d.id, id) })
	if !ok {
		if !f.deleting {
			f.runProblem(Data, index, runs, "data record %d is missing", rec.ID)
		}
		return
	}
	d := &w.recs[i]
	if d.blocks != 0 && d.blocks != rec.Blocks {
		d.odd = true
		f.runProblem(Data, index, runs, "data record %d has %d blocks, the map says %d", rec.ID, d.blocks, rec.Blocks)
	}
	if d.leaf == 0 {
		d.leaf, d.shared = index+1, rec.Shared
		if f.isPending(f.ino, rec.ID) {
			f.runProblem(Pending, index, runs, "data record %d is in use, but a pending record says that it is to be deleted", rec.ID)
		}
	} else if (!rec.Shared || !d.shared) && !d.spread {
		d.spread = true
		f.runProblem(Pack, index, runs, "data record %d is named by several parts of the map, which do not all say so", rec.ID)
	}
	for _, r := range runs {
		d.mapped += uint32(r.Count)
	}
	if d.pack >= 0 && rec.Shared && !lists(w.packs[d.pack], index, runs) {
		f.runProblem(Pack, index, runs, "pack record %d does not list the blocks that the map has there", rec.ID)
	}
}

// lists reports whether a pack record has the runs' blocks where they say.
func lists(p *record.Pack, index uint64, runs []extent.Run) bool {
	for _, r := range runs {
		for i := range r.Count {
			at := int(r.Index + i)
			if at >= len(p.Logical) || p.Logical[at] != index*extent.LeafBlocks+uint64(r.Start+i) {
				return false
			}
		}
	}
	return true
}

// settleWindow judges the data records of the window, now that the whole map
// was gone through.
func (f *fileCheck) settleWindow() {
	w := &f.window
	for i := range w.recs {
		d := &w.recs[i]
		switch {
		case f.deleting:
		case d.mapped > 0:
			f.settlePack(d)
		case !f.broken && !f.dueToGo(d.id):
			if w.unlisted == 0 {
				w.firstUnlisted = d.id
			}
			w.unlisted++
		}
	}
	if w.last && w.unlisted > 0 {
		f.problem(DataUnlisted, Warning, f.ino, "the map does not name %s, from %d on", plural(w.unlisted, record.KindData), w.firstUnlisted)
	}
}

// settlePack compares a data record that is in use with its pack record.
func (f *fileCheck) settlePack(d *dataRecord) {
	switch {
	case d.pack == badPack:
	case d.pack == noPack && d.shared:
		f.problem(Pack, Error, f.ino, "pack record %d is missing", d.id)
	case d.pack == noPack:
	case !d.shared:
		f.problem(Pack, Warning, f.ino, "pack record %d, though its data record is not shared", d.id)
	default:
		p := f.window.packs[d.pack]
		switch {
		case d.blocks != 0 && !d.odd && len(p.Logical) != int(d.blocks):
			f.problem(Pack, Error, f.ino, "pack record %d lists %d blocks, the data record has %d", d.id, len(p.Logical), d.blocks)
		case f.broken || p.Live == d.mapped:
		case p.Live < d.mapped:
			f.problem(Pack, Error, f.ino, "pack record %d counts %d live blocks, the map has %d", d.id, p.Live, d.mapped)
		case f.below == 0:
			f.problem(Pack, Warning, f.ino, "pack record %d counts %d live blocks, the map has %d", d.id, p.Live, d.mapped)
		}
	}
}

// runProblem notes a problem of the blocks that runs of a leaf cover.
func (f *fileCheck) runProblem(kind Kind, index uint64, runs []extent.Run, format string, a ...any) {
	first, last := runs[0], runs[len(runs)-1]
	f.rangeProblem(kind, index*extent.LeafBlocks+uint64(first.Start), index*extent.LeafBlocks+uint64(last.Start+last.Count), format, a...)
}

// rangeProblem notes a problem of the logical blocks from first to before end.
func (f *fileCheck) rangeProblem(kind Kind, first, end uint64, format string, a ...any) {
	r := &Range{Offset: first * crypto.BlockSize, Length: (end - first) * crypto.BlockSize}
	if r.Offset < f.n.Size {
		r.Length = min(r.Length, f.n.Size-r.Offset)
	}
	f.add(finding{Problem: Problem{Kind: kind, Severity: Error, Inode: f.ino, Range: r, Message: fmt.Sprintf(format, a...)}})
}
