package forgery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"
)

// TestRecords does each thing to a record of each kind that files and directories have, in each bucket: all of them in
// one store, each to a file of its own. What is not attacked has to be as it was.
func TestRecords(t *testing.T) {
	t.Parallel()
	s := build(t, prepare, change)
	f := &forger{now: s.now, then: s.then, other: s.other, changes: raw.Changes{}}
	var hit []target
	var missed []string
	aims := map[string]aim{}
	for _, x := range targets() {
		a := s.aimAt(x)
		if x.do(f, a) {
			hit = append(hit, x)
			aims[x.dir()] = a
		} else {
			missed = append(missed, x.dir())
		}
	}
	v := newVictim(t, s.store, s.key)
	v.change(f.changes)
	report := v.fsck()
	if report.code != fsckErrors {
		t.Errorf("fsck: exit %d: %s", report.code, report.text)
	}
	if !v.mount() {
		t.Fatalf("the store with forged records of files is not mounted: %s", v.printed)
	}
	found := look(v.point, s.is, s.was)
	v.unmount()
	log := v.logged()
	counts := tally{}
	for _, x := range hit {
		a := aims[x.dir()]
		counts.add(kindName(x.kind), s.judge(t, x, a, found, report, log))
	}
	// Everything else.
	for path, n := range found {
		if slices.ContainsFunc(hit, func(x target) bool { return within(path, x.dir()) }) {
			continue
		}
		if s.is[path] == nil {
			if !n.absent() {
				t.Errorf("%s is there and should not be", path)
			}
			continue
		}
		if d := n.differs(s.is[path]); d != "" || len(n.failed) > 0 {
			t.Errorf("%s, which was not touched: %s %s", path, n.errors(), d)
		}
	}
	// An inode has one record of itself, and one of its attributes.
	t.Logf("%d attacks; %d make no sense", len(hit), len(missed))
	for _, dir := range missed {
		if !strings.HasSuffix(dir, ".swap-in-file") {
			t.Errorf("%s: there was nothing to do it with", dir)
		}
	}
	counts.report(t)
	if t.Failed() {
		v.keep(t.Name())
	}
	v.remove()
	v = newVictim(t, s.store, s.key)
	v.change(f.changes)
	writeOver(t, s, v, hit)
	if t.Failed() {
		v.keep(t.Name() + "-written")
	}
}

// judge checks how an attack ended and returns who noticed it.
func (s *site) judge(t *testing.T, x target, a aim, found state, report checked, log string) string {
	t.Helper()
	open := slices.Contains(x.open, x.attack.name)
	noticed := false
	for path, n := range found {
		if !within(path, x.dir()) {
			continue
		}
		if n.refused() {
			noticed = true
		} else if len(n.failed) > 0 && !n.absent() {
			t.Errorf("%s: %s", path, n.errors())
		}
		if n.absent() && (s.is[path] == nil || open) {
			continue
		}
		if d := s.wrong(path, n, open); d != "" {
			t.Errorf("%s: %s", path, d)
		}
	}
	how := "fsck"
	switch hidden := slices.Contains(x.hidden, x.attack.name); {
	case noticed:
		how = "read"
		kind := x.kind.String()
		if x.kind == record.KindInode && x.attack.name == "replay" {
			kind = "" // what does not agree with it
		}
		if !logs(log, x.dir(), kind) {
			t.Errorf("%s: no line of the log names it and a record of kind %q", x.dir(), kind)
		}
		if hidden && x.kind != record.KindInode {
			t.Errorf("%s: reading is not meant to notice", x.dir())
		}
	case !hidden:
		t.Errorf("%s: nothing was noticed by reading", x.dir())
	}
	if !report.names(x.dir()) && !s.namedElsewhere(x, a, report) {
		t.Errorf("%s: fsck does not name it", x.dir())
	}
	return how
}

// namedElsewhere tells whether fsck names what a path cannot be given for: an inode that no entry names, or one of which
// only the bucket's sum says that it is not the newest.
func (s *site) namedElsewhere(x target, a aim, report checked) bool {
	if x.kind != record.KindInode {
		return false
	}
	key := a.unused
	if x.attack.name == "put-back" {
		key = a.gone
	}
	if x.attack.name == "replay" {
		return slices.ContainsFunc(report.problems, func(p problem) bool { return p.Path == "/"+x.bucket && p.Kind == "inode-set" })
	}
	k, err := record.ParseKey([]byte(key))
	return err == nil && report.names(fmt.Sprintf("<inode %d>", k.ID))
}

// wrong returns what is wrong with an answer. Open says that what the inode was once counts as right too.
func (s *site) wrong(path string, n *node, open bool) string {
	if n.failed[askStat] != nil {
		return ""
	}
	var first string
	if right := s.is[path]; right != nil {
		if first = n.differs(right); first == "" {
			return ""
		}
	} else {
		first = "it is there and should not be"
	}
	if open {
		for _, st := range []state{s.is, s.was} {
			for _, other := range st {
				if other.ino == n.ino && n.differs(other) == "" {
					return ""
				}
			}
		}
	}
	return first
}
