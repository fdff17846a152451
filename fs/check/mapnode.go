package check

import (
	"errors"
	"fmt"
	"math"

	"ssefs/fs/record"
	"ssefs/store"
)

// badNode notes that a listed map node is missing or does not open.
func (f *fileCheck) badNode(level uint8, ref record.Ref, err error) error {
	if f.fatal != nil {
		return f.fatal
	}
	f.broken = true
	switch {
	case errors.Is(err, store.ErrNotFound):
		if !f.deleting {
			f.mapProblem(Map, level, ref, "map node %d/%d, of version %d, is missing", level, ref.Index, ref.Version)
		}
	case errors.Is(err, store.ErrIO), errors.Is(err, store.ErrDamaged):
		f.mapProblem(StoreFailure, level, ref, "the store fails to deliver map node %d/%d: %v", level, ref.Index, err)
	default:
		f.mapProblem(Unreadable, level, ref, "map node %d/%d: %v", level, ref.Index, err)
	}
	return nil
}

// rightVersion notes a map node that is not of the version listed. What lies
// below it is not followed: it is from another state of the file.
func (f *fileCheck) rightVersion(level uint8, ref record.Ref, version uint64) bool {
	if version == ref.Version {
		if f.first {
			f.notNewer(version, record.Key{Kind: record.KindMap, ID: f.ino, Level: level, Sub: ref.Index})
		}
		return true
	}
	f.broken = true
	f.mapProblem(Map, level, ref, "map node %d/%d is of version %d, not %d", level, ref.Index, version, ref.Version)
	return false
}

func (f *fileCheck) wrongCount(level uint8, ref record.Ref, blocks uint64) {
	f.mapProblem(Blocks, level, ref, "map node %d/%d has %d blocks, it is listed with %d", level, ref.Index, blocks, ref.Blocks)
}

// mapProblem notes a problem of the part of the file that a node covers.
func (f *fileCheck) mapProblem(kind Kind, level uint8, ref record.Ref, format string, a ...any) {
	if !f.first {
		return
	}
	shift := record.FanoutBits * uint(level)
	r := &Range{Length: math.MaxInt64}
	if size := uint64(leafBytes) << shift; ref.Index < math.MaxInt64/size {
		r.Offset, r.Length = ref.Index*size, size
	}
	if r.Offset < f.n.Size {
		r.Length = min(r.Length, f.n.Size-r.Offset)
	}
	f.add(finding{Problem: Problem{Kind: kind, Severity: Error, Inode: f.ino, Range: r, Message: fmt.Sprintf(format, a...)}})
}

// checkNodes looks for map nodes that the map does not list. s is at the file's
// first node.
func (f *fileCheck) checkNodes(s *stream) error {
	n := int64(0)
	for s.ok && s.key.ID == f.ino {
		n++
		if err := f.count(record.KindMap, 0); err != nil {
			return err
		}
		s.advance()
	}
	if n == f.nodes || f.deleting || f.below > 0 || f.broken {
		return nil
	}
	// That is a problem, so the memory for it may be used now.
	listed := make(map[node]bool)
	if err := f.listNodes(listed, f.n.Map.Height, f.n.Map.Refs); err != nil {
		return err
	}
	unlisted, first := 0, ""
	err := f.View.IterateKeys(record.Prefix(record.KindMap, f.ino), nil, func(raw []byte, _ int64) error {
		k, err := record.ParseKey(raw)
		if err == nil && !listed[node{k.Level, k.Sub}] {
			if unlisted == 0 {
				first = fmt.Sprintf("%d/%d", k.Level, k.Sub)
			}
			unlisted++
		}
		return nil
	})
	if unlisted > 0 {
		f.problem(MapUnlisted, Warning, f.ino, "the map does not list %s, from node %s on", plural(unlisted, record.KindMap), first)
	}
	return err
}

// node names a map node of a file.
type node struct {
	level uint8
	index uint64
}

// listNodes collects the nodes of a map. height is one above their level.
func (f *fileCheck) listNodes(listed map[node]bool, height uint8, refs []record.Ref) error {
	if height == 0 {
		return nil
	}
	level := height - 1
	for _, r := range refs {
		listed[node{level, r.Index}] = true
		if level == 0 {
			continue
		}
		if f.get(record.MapKey(f.ino, level, r.Index)) != nil {
			if f.fatal != nil {
				return f.fatal
			}
			continue // noted by walk
		}
		below, _, err := record.DecodeNode(f.plain, level)
		if err != nil {
			continue // noted by walk
		}
		if err := f.listNodes(listed, level, below); err != nil {
			return err
		}
	}
	return nil
}
