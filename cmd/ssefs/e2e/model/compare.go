package model

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// SameNames compares what two states show of their trees without contents, sizes and times, and describes the first
// difference; the empty string means none. Inode numbers are not compared.
func SameNames(want, got *FS) string {
	a, b := byPath(want), byPath(got)
	for _, path := range slices.Sorted(maps.Keys(a)) {
		if b[path] == nil {
			return fmt.Sprintf("%q is missing", path)
		}
		if d := sameNode(a[path], b[path]); d != "" {
			return fmt.Sprintf("%q: %s", path, d)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(b)) {
		if a[path] == nil {
			return fmt.Sprintf("%q should not be there", path)
		}
	}
	return ""
}

// byPath maps all names of a tree.
func byPath(f *FS) map[string]*Node {
	m := map[string]*Node{}
	for _, p := range f.Paths() {
		m[p.Path] = p.Node
	}
	return m
}

// sameNode describes the first difference of two nodes in what SameNames compares.
func sameNode(want, got *Node) string {
	switch {
	case want.Mode != got.Mode:
		return fmt.Sprintf("mode is %#o, want %#o", got.Mode, want.Mode)
	case want.UID != got.UID || want.GID != got.GID:
		return fmt.Sprintf("owner is %d:%d, want %d:%d", got.UID, got.GID, want.UID, want.GID)
	case want.Nlink != got.Nlink:
		return fmt.Sprintf("%d links, want %d", got.Nlink, want.Nlink)
	case want.Target != got.Target:
		return fmt.Sprintf("target is %q, want %q", got.Target, want.Target)
	case want.Rdev != got.Rdev:
		return fmt.Sprintf("device is %#x, want %#x", got.Rdev, want.Rdev)
	case !maps.Equal(want.Xattrs, got.Xattrs):
		return fmt.Sprintf("xattrs are %.200q, want %.200q", got.Xattrs, want.Xattrs)
	}
	return ""
}

// Allows reports whether a modification time read now agrees with what is known.
func (m Mtime) Allows(t, now time.Time) bool {
	if m.Exact != nil {
		return m.Exact.Equal(t)
	}
	return m.NotBefore.IsZero() || !t.Before(m.NotBefore) && !t.After(now)
}

// FirstDifference describes where contents differ; the empty string means nowhere.
func FirstDifference(want, got *Data) string {
	if want.Size() != got.Size() {
		return fmt.Sprintf("size is %d, want %d", got.Size(), want.Size())
	}
	indices := append(want.Pages(), got.Pages()...)
	slices.Sort(indices)
	for _, i := range indices {
		if samePage(want.Page(i), got.Page(i)) {
			continue
		}
		a, b := want.Read(i*PageSize, PageSize), got.Read(i*PageSize, PageSize)
		for at := range a {
			if a[at] != b[at] {
				return fmt.Sprintf("at byte %d (page %d) there is % x, want % x", i*PageSize+int64(at), i,
					b[at:min(at+16, len(b))], a[at:min(at+16, len(a))])
			}
		}
	}
	return ""
}
