package repair

import (
	"fmt"
	"slices"

	"ssefs/fs/extent"
	"ssefs/fs/record"
)

// dropUnreadablePack drops a pack record that cannot be read, of a data record that
// stays though the map, as far as it can be read, does not name it. The volume
// gets along without it.
func (f *fileSurvey) dropUnreadablePack(id uint64) {
	p, err := read(f.repairer, record.PackKey(f.ino, id), record.DecodePack)
	if err == nil && !f.tooNew(p.Version) {
		return
	}
	f.note(Lost, f.ino, "pack record %d", id)
	f.drop = append(f.drop, record.PackKey(f.ino, id))
}

// dropPack drops a pack record without a data record.
func (f *fileSurvey) dropPack(id uint64) {
	if f.swept && f.below(id) {
		return
	}
	if f.pending[record.DataRef{Inode: f.ino, Record: id}] {
		f.drops = append(f.drops, record.PackKey(f.ino, id))
		return
	}
	f.note(Dropped, f.ino, "pack record %d, which has no data record", id)
	f.drop = append(f.drop, record.PackKey(f.ino, id))
}

// settlePack compares the pack record of a data record with the map.
func (f *fileSurvey) settlePack(id uint64, uses []use, present bool) {
	if !uses[0].shared {
		if present {
			f.note(Dropped, f.ino, "pack record %d, though its data record is not shared", id)
			f.drop = append(f.drop, record.PackKey(f.ino, id))
		}
		return
	}
	live := countLive(uses)
	if f.broken || f.swept {
		live = max(live, uint32(uses[0].blocks)) // there may be more; counting too many keeps it
	}
	p, err := read(f.repairer, record.PackKey(f.ino, id), record.DecodePack)
	cause := ""
	switch {
	case err != nil:
		cause = why(err)
	case len(p.Logical) != int(uses[0].blocks):
		cause = fmt.Sprintf("it lists %d blocks, the data record has %d", len(p.Logical), uses[0].blocks)
	case !lists(p, uses):
		cause = "it does not list the blocks that the map has there"
	case f.tooNew(p.Version):
		cause = fmt.Sprintf("it is of version %d, the store at %d", p.Version, f.view.Version())
	case p.Live < countLive(uses), p.Live > live && !f.broken && !f.swept:
		cause = fmt.Sprintf("it counts %d live blocks, the map has %d", p.Live, live)
	default:
		return
	}
	fresh := makePack(uses, live)
	if fresh == nil {
		f.note(Left, f.ino, "pack record %d (%s): the map names its blocks in an order that cannot be", id, cause)
		return
	}
	f.note(Counted, f.ino, "pack record %d (%s)", id, cause)
	f.changes.packs = append(f.changes.packs, newPack{id, fresh})
}

// countLive returns how many blocks of a data record the map names.
func countLive(uses []use) (n uint32) {
	for _, u := range uses {
		n += uint32(u.run.Count)
	}
	return n
}

// lists reports whether a pack record has the runs' blocks where they say.
func lists(p *record.Pack, uses []use) bool {
	for _, u := range uses {
		for i := range u.run.Count {
			at := int(u.run.Index + i)
			if at >= len(p.Logical) || p.Logical[at] != u.index*extent.LeafBlocks+uint64(u.run.Start+i) {
				return false
			}
		}
	}
	return true
}

// makePack makes a pack record of what the map names. The logical blocks of dead
// ones are not known; they get numbers between the others' that may be theirs,
// which does no harm: what is not in the map there is not looked for. It is nil if
// there are no such numbers.
func makePack(uses []use, live uint32) *record.Pack {
	blocks := int(uses[0].blocks)
	logical := make([]uint64, blocks)
	known := make([]bool, blocks)
	for _, u := range uses {
		for i := range u.run.Count {
			at := int(u.run.Index + i)
			if at >= blocks || known[at] {
				return nil
			}
			logical[at], known[at] = u.index*extent.LeafBlocks+uint64(u.run.Start+i), true
		}
	}
	for i := range logical {
		switch {
		case known[i]:
		case i > 0:
			logical[i] = logical[i-1] + 1
		default: // as far below the first known one as there are before it
			first := slices.Index(known, true)
			if uint64(first) > logical[first] {
				return nil
			}
			logical[0] = logical[first] - uint64(first)
		}
		if i > 0 && logical[i] <= logical[i-1] {
			return nil
		}
	}
	return &record.Pack{Live: min(live, uint32(blocks)), Logical: logical}
}
