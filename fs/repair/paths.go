package repair

import (
	"slices"
	"strconv"
	"strings"

	"ssefs/fs/record"
)

// maxDepth bounds how many directories a path goes through.
const maxDepth = 4096

// place is a name of an inode.
type place struct {
	dir  uint64
	name string
}

// resolvePaths gives all actions their paths, with one pass over the entries.
func (r *repairer) resolvePaths() error {
	wanted := make(map[uint64]bool)
	want := func(ino uint64) {
		for depth := 0; depth < maxDepth && ino != 0 && ino != record.RootInode && !wanted[ino]; depth++ {
			wanted[ino] = true
			n := r.inodes.find(ino)
			if n == nil {
				return
			}
			ino = n.namedIn
		}
	}
	for i := range r.report.Actions {
		want(r.report.Actions[i].Inode)
		want(r.report.Actions[i].dir)
	}
	if len(r.report.Actions) == 0 {
		return nil
	}
	r.view = r.DB.View()
	defer func() {
		r.view.Release()
		r.view = nil
	}()
	places := make(map[uint64]place)
	err := r.keys(record.Prefix(record.KindEntry), func(k record.Key, raw []byte) error {
		e, err := r.entry(k, raw)
		if err != nil || !wanted[e.Inode] {
			return nil
		}
		n := r.inodes.find(e.Inode)
		if _, ok := places[e.Inode]; !ok || n != nil && n.namedIn == k.ID {
			places[e.Inode] = place{k.ID, e.Name}
		}
		return nil
	})
	for i := range r.report.Actions {
		a := &r.report.Actions[i]
		switch {
		case a.dir != 0:
			a.Path = strings.TrimSuffix(path(places, a.dir), "/") + "/" + a.name
		case a.Inode != 0:
			a.Path = path(places, a.Inode)
		}
	}
	return err
}

// path returns the path of an inode as far as it is known.
func path(places map[uint64]place, ino uint64) string {
	var parts []string
	seen := make(map[uint64]bool) // there may be loops
	for len(parts) < maxDepth && !seen[ino] {
		if ino == record.RootInode {
			slices.Reverse(parts)
			return "/" + strings.Join(parts, "/")
		}
		at, ok := places[ino]
		if !ok {
			break
		}
		seen[ino] = true
		parts = append(parts, at.name)
		ino = at.dir
	}
	parts = append(parts, "<inode "+strconv.FormatUint(ino, 10)+">")
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}
