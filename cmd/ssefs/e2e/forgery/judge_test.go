package forgery

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/fs/record"
)

// judgement is what may come of a random attack. What a drive answers must be what some record says that the volume once
// had, and that it still has or that was put back.
type judgement struct {
	*past
	v       *victim
	name    string
	what    string
	changes map[string]*string
	files   bool // files were attacked: any record may be an older one, or missing
}

// judge checks how the attack ended and returns who noticed it.
func (j *judgement) judge(t *testing.T) string {
	t.Helper()
	report := j.v.fsckAnyway()
	if !j.onlyData() && len(j.changes) > 0 && report.code != fsckErrors {
		t.Errorf("%s: fsck: exit %d: %s", j.name, report.code, report.text)
	}
	if !j.v.mountAnyway() {
		if report.code == 0 {
			t.Errorf("%s: fsck finds nothing, but it is not mounted: %s", j.name, j.v.printed)
		}
		return "mount"
	}
	found := look(j.v.point, j.views...)
	j.v.unmount()
	log := j.v.logged()
	noticed := 0
	for _, path := range slices.Sorted(maps.Keys(found)) {
		n := found[path]
		if n.refused() {
			noticed++
			if !found.logged(log, path) && !found.above(path) {
				t.Errorf("%s: %s: %s, and the log does not name it", j.name, path, n.errors())
			}
		} else if len(n.failed) > 0 && !n.absent() {
			t.Errorf("%s: %s: %s", j.name, path, n.errors())
		}
		if d := j.wrong(found, path, n); d != "" {
			t.Errorf("%s: %s: %s", j.name, path, d)
		}
	}
	switch {
	case noticed > 0 && report.code != fsckErrors:
		t.Errorf("%s: %d paths are refused, and fsck exits with %d: %s", j.name, noticed, report.code, report.text)
	case noticed > 0:
		return "read"
	case report.code != 0:
		return "fsck"
	case !j.complete(found):
		t.Errorf("%s: nobody notices, and it is in no state that it was in", j.name)
	}
	return "harmless"
}

// onlyData tells whether nothing but contents were changed. Blocks that were overwritten may lie in a data record with
// others that are in use; nobody reads them, and nobody knows any more which they were.
func (j *judgement) onlyData() bool {
	for key := range j.changes {
		if key[0] != byte(record.KindData) {
			return false
		}
	}
	return true
}

// logged tells whether the log names a path, or another of the same inode.
func (s state) logged(log, path string) bool {
	for other, n := range s {
		if (other == path || n.ino != 0 && n.ino == s[path].ino) && logs(log, other, "") {
			return true
		}
	}
	return false
}

// above tells whether a directory above the path is refused, so that nobody got as far as the path.
func (s state) above(path string) bool {
	for path != "/" {
		path = filepath.Dir(path)
		if n := s[path]; n != nil && n.failed[askStat] != nil {
			return true
		}
	}
	return false
}

// touched tells whether a record may be another one than the newest.
func (j *judgement) touched(kind record.Kind, id uint64) bool {
	prefix := keyOf(kind, id)
	if j.files {
		return true
	}
	for key := range j.changes {
		if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

// wrong returns what is wrong with an answer, nothing if it may be.
func (j *judgement) wrong(found state, path string, n *node) string {
	newest := j.states[len(j.states)-1]
	dir := found[filepath.Dir(path)]
	if dir == nil || dir.failed[askStat] != nil {
		return "" // nothing can be said about what is in it
	}
	if path != "/" {
		where := place(dir.ino, filepath.Base(path))
		right, there := newest.names[where]
		entries := j.touched(record.KindEntry, dir.ino)
		switch {
		case n.absent():
			if there && !entries {
				return "it is not there"
			}
			return ""
		case n.failed[askStat] != nil:
			return ""
		case n.ino == right && there:
		case !entries:
			return fmt.Sprintf("it is inode %d, not %d", n.ino, right)
		case !slices.ContainsFunc(j.states, func(x index) bool { return x.names[where] == n.ino }):
			return fmt.Sprintf("it is inode %d, which it never was", n.ino)
		}
	}
	var first string
	if now := newest.nodes[n.ino]; now != nil {
		if first = n.differs(now); first == "" {
			return ""
		}
	}
	if j.touched(record.KindInode, n.ino) {
		for _, x := range j.states {
			if then := x.nodes[n.ino]; then != nil && n.differs(then) == "" {
				return ""
			}
		}
	}
	if first == "" {
		first = fmt.Sprintf("inode %d has come back", n.ino)
	}
	return first
}

// complete tells whether all answers are those of one state.
func (j *judgement) complete(found state) bool {
	return slices.ContainsFunc(j.views, func(s state) bool {
		for path, n := range found {
			switch right := s[path]; {
			case right == nil && !n.absent(), right != nil && (len(n.failed) > 0 || n.differs(right) != ""):
				return false
			}
		}
		return true
	})
}
