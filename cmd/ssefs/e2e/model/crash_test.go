package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

func (m *machine) remount(t *rapid.T) {
	if m.r.native {
		nothing("nothing to mount")
	}
	m.log = append(m.log, "    unmount and mount")
	noisy := m.stopNoise != nil
	m.rest()
	m.r.remount()
	m.fresh(m.fs)
	m.verify()
	if noisy {
		m.makeNoise()
	}
}

// fresh goes on from a tree that is durable and that nobody has open.
func (m *machine) fresh(fs *FS) {
	fs.DropNameless()
	m.fs = fs
	m.linkable = map[ID]bool{}
	m.history = NewHistory(fs)
}

// kill ends the daemon with SIGKILL: between two operations, after a while without any, or at some moment during the
// next ones. Then it compares what is there with what may be.
func (m *machine) kill(t *rapid.T) {
	if m.r.native {
		nothing("no daemon to kill")
	}
	if rapid.IntRange(0, 15).Draw(t, "idle") == 0 {
		m.log = append(m.log, "    wait, so that everything is committed")
		m.r.d.AwaitCommit()
		m.history.Committed()
	}
	more := rapid.IntRange(0, 25).Draw(t, "operations under the kill")
	delay := time.Duration(rapid.IntRange(0, 4000).Draw(t, "delay")) * time.Microsecond
	m.log = append(m.log, fmt.Sprintf("    kill the daemon in %v", delay))
	m.killing = true
	done := m.r.killAfter(delay)
	actions := m.ordinary()
	names := slices.Sorted(maps.Keys(actions))
	for i := 0; i < more && !m.dead; i++ {
		attempt(t, actions[rapid.SampledFrom(names).Draw(t, "action")])
	}
	if err := <-done; err != nil {
		m.fail("kill the daemon: %v", err)
	}
	noisy := m.stopNoise != nil
	m.rest()
	m.r.mountAgain()
	m.killing, m.dead = false, false
	m.recover()
	if noisy {
		m.makeNoise()
	}
}

// recover finds the past state that the drive came back with, fails if there is none, and goes on from it.
func (m *machine) recover() {
	m.t.Helper()
	s, err := scan(m.root)
	if err != nil {
		m.fail("read the tree back after the kill: %v", err)
	}
	contents := map[string]*Data{}
	for _, p := range s.FS.Paths() {
		if !p.Node.IsRegular() {
			continue
		}
		if contents[p.Path], err = readPath(m.at(p.Path)); err != nil {
			m.fail("read %q after the kill: %v", p.Path, err)
		}
	}
	var near, far []string // reasons of the states that have the right names, and of the others
	for _, cut := range m.history.Cuts() {
		reason := m.explain(cut, s, contents)
		if reason == "" {
			lost := m.history.Len() - cut.last
			m.log = append(m.log, fmt.Sprintf("    came back without the last %d operations", lost))
			if m.r.lost += lost; lost > 0 {
				m.r.losses++
			}
			m.accept(cut, s, contents)
			return
		}
		reason = fmt.Sprintf("without the last %d operations: %.300s", m.history.Len()-cut.last, reason)
		if SameNames(cut.FS, s.FS) == "" {
			near = append(near, reason)
		} else if len(far) < 5 {
			far = append(far, reason)
		}
	}
	m.fail("after the kill the drive is in no state that it may be in:\n%s", strings.Join(append(near, far...), "\n"))
}

// explain says why the drive is not in the state of a cut; the empty string means that it is.
func (m *machine) explain(cut Cut, s *Scan, contents map[string]*Data) string {
	if d := SameNames(cut.FS, s.FS); d != "" {
		return d
	}
	there := byPath(s.FS)
	for _, p := range cut.FS.Paths() {
		id := there[p.Path].ID
		if known := m.inos[p.Node.ID]; known != 0 && known != s.Ino[id] {
			return fmt.Sprintf("%q: inode number is %d, was %d", p.Path, s.Ino[id], known)
		}
		if m.history.Untouched(cut, p.Node.ID) && !p.Node.Mtime.Allows(s.Mtime[id], time.Now()) {
			return fmt.Sprintf("%q: mtime is %v, but %v was durable", p.Path, s.Mtime[id], p.Node.Mtime)
		}
		if p.Node.IsRegular() && !m.history.Explains(cut, p.Node.ID, contents[p.Path]) {
			return fmt.Sprintf("%q: the daemon never had these contents; compared with the last: %s", p.Path,
				FirstDifference(p.Node.Data, contents[p.Path]))
		}
	}
	return ""
}

// accept goes on from a cut with the contents that were found.
func (m *machine) accept(cut Cut, s *Scan, contents map[string]*Data) {
	fs := cut.FS.Clone()
	fs.DropNameless()
	for _, p := range fs.Paths() {
		if p.Node.IsRegular() {
			fs.SetData(p.Node.ID, contents[p.Path])
		}
	}
	fs.ForgetTimes()
	// What the kill took away never was: its inode numbers may come again.
	maps.DeleteFunc(m.ids, func(_ uint64, id ID) bool { return fs.Node(id) == nil })
	maps.DeleteFunc(m.inos, func(id ID, _ uint64) bool { return fs.Node(id) == nil })
	m.fresh(fs)
	there := byPath(s.FS)
	for _, p := range fs.Paths() {
		m.sameIno(p.Path, p.Node.ID, s.Ino[there[p.Path].ID])
	}
}
