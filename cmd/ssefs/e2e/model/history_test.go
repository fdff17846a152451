package model

import (
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// story tells a history operation by operation.
type story struct {
	t  *testing.T
	fs *FS
	h  *History
}

func newStory(t *testing.T) *story {
	s := &story{t: t, fs: New(0o755, 0, 0)}
	s.h = NewHistory(s.fs)
	return s
}

func (s *story) file(name string) ID {
	s.t.Helper()
	id, created, errno := s.fs.Open(name, unix.O_CREAT|unix.O_RDWR, 0o600)
	if errno != 0 {
		s.t.Fatalf("create %s: %v", name, errno)
	}
	if created {
		s.h.Add(s.fs, true)
	}
	return id
}

func (s *story) names(errno syscall.Errno, changes ...Change) {
	s.t.Helper()
	if errno != 0 {
		s.t.Fatalf("operation on names: %v", errno)
	}
	s.h.Add(s.fs, true, changes...)
}

func (s *story) write(id ID, off int64, b []byte) {
	s.fs.Write(id, off, b)
	s.h.Add(s.fs, false, Change{File: id, Effect: Wrote, Off: off, Len: int64(len(b))})
}

func (s *story) effect(id ID, e Effect) { s.h.Add(s.fs, false, Change{File: id, Effect: e}) }

func (s *story) truncate(id ID, size int64) {
	s.fs.Ftruncate(id, size)
	s.h.Add(s.fs, false, Change{File: id, Effect: Truncated, Len: size})
}

// cuts lists what a crash now may leave of the names.
func (s *story) cuts() []Cut { return s.h.Cuts() }

// may reports whether a crash may leave the file like this in any cut that has it.
func (s *story) may(id ID, contents []byte) bool {
	d := (&Data{}).Write(0, contents)
	for _, c := range s.cuts() {
		if c.FS.Node(id) != nil && s.h.Explains(c, id, d) {
			return true
		}
	}
	return false
}

func (s *story) expect(what string, id ID, contents []byte, want bool) {
	s.t.Helper()
	if got := s.may(id, contents); got != want {
		s.t.Errorf("%s: possible after a crash: %t, want %t", what, got, want)
	}
}

// pages joins pages of one letter each; '0' stands for zeros.
func pages(letters string) []byte {
	b := make([]byte, 0, len(letters)*PageSize)
	for _, l := range []byte(letters) {
		for range PageSize {
			if l == '0' {
				b = append(b, 0)
				continue
			}
			b = append(b, l)
		}
	}
	return b
}

func TestCrashMayLoseWhatWasNotSynced(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.write(id, 0, pages("AAA"))
	s.expect("nothing written back", id, nil, true)
	s.expect("everything written back", id, pages("AAA"), true)
	s.expect("the first pages", id, pages("AA"), true)
	s.expect("a later page only", id, pages("00A"), true)
	s.expect("half a page", id, pages("AAA")[:2*PageSize+100], false)
	s.expect("other bytes", id, pages("ABA"), false)
	s.expect("more bytes", id, pages("AAAA"), false)
	torn := pages("AAA")
	torn[PageSize+50] = 0
	s.expect("a page halfway", id, torn, false)
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.write(id, 0, pages("AA"))
	s.effect(id, Synced)
	s.write(id, PageSize, pages("BB"))
	s.expect("as synced", id, pages("AA"), true)
	s.expect("as written", id, pages("ABB"), true)
	s.expect("between", id, pages("AB"), true)
	s.expect("empty", id, nil, false)
	s.expect("short", id, pages("A"), false)
	s.expect("a hole where data was synced", id, pages("0B"), false)
}

func TestCrashNeverBringsBackWhatATruncateTook(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.write(id, 0, pages("AAAA"))
	s.effect(id, Synced)
	s.truncate(id, PageSize)
	s.truncate(id, 4*PageSize)
	s.write(id, 3*PageSize, pages("B"))
	s.expect("before the truncate", id, pages("AAAA"), true)
	s.expect("after the first", id, pages("A"), true)
	s.expect("after the second", id, pages("A000"), true)
	s.expect("after all", id, pages("A00B"), true)
	s.expect("old bytes under new ones", id, pages("AAAB"), false)
	s.expect("old bytes after the truncate", id, pages("AA00"), false)
}

func TestCrashLeavesAFlushedFileAsOfOneMoment(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.write(id, 0, pages("AA"))
	s.effect(id, Flushed)
	s.truncate(id, 3*PageSize)
	s.expect("before the flush", id, nil, true)
	s.expect("the truncate with what was flushed", id, pages("AA0"), true)
	s.expect("the truncate without what was flushed", id, pages("000"), false)
}

func TestCrashLeavesAPrefixOfTheNames(t *testing.T) {
	s := newStory(t)
	a := s.file("a")
	_, errno := s.fs.Mkdir("d", 0o755)
	s.names(errno)
	s.names(s.fs.Rename("a", "d/b", 0))
	s.names(s.fs.Chmod("d", 0o700))
	if n := len(s.cuts()); n != 5 {
		t.Fatalf("%d cuts, want one for each operation and the beginning", n)
	}
	has := func(paths ...string) bool {
		for _, c := range s.cuts() {
			all := c.FS.Paths()
			if len(all) != len(paths) {
				continue
			}
			same := true
			for i, p := range all {
				same = same && p.Path == paths[i]
			}
			if same {
				return true
			}
		}
		return false
	}
	if !has() || !has("a") || !has("a", "d") || !has("d", "d/b") {
		t.Errorf("a prefix is missing")
	}
	if has("d") || has("a", "d", "d/b") {
		t.Errorf("there is a state that never was")
	}
	// A sync of the file keeps what happened up to its last change of name, but not the chmod after it.
	s.h.SyncNode(a)
	if has("a", "d") || !has("d", "d/b") || len(s.cuts()) != 2 {
		t.Errorf("after a sync there are %d cuts, want the rename and the chmod", len(s.cuts()))
	}
}

func TestCrashAfterRenameOver(t *testing.T) {
	s := newStory(t)
	doc := s.file("doc")
	s.write(doc, 0, pages("A"))
	s.effect(doc, Synced)
	s.h.Barrier(s.fs)
	tmp := s.file("tmp")
	s.write(tmp, 0, pages("BB"))
	s.effect(tmp, Flushed)
	s.names(s.fs.Rename("tmp", "doc", 0), Change{File: tmp, Effect: Replaced})
	for _, c := range s.cuts() {
		n, errno := c.FS.Lookup("doc", false)
		if errno != 0 {
			t.Fatalf("there is a cut without the document")
		}
		for contents, want := range map[string]bool{
			"A": n.ID == doc, "BB": n.ID == tmp, "": false, "B": false, "0B": false,
		} {
			if got := s.h.Explains(c, n.ID, (&Data{}).Write(0, pages(contents))); got != want {
				t.Errorf("document is file %d with %q: possible %t, want %t", n.ID, contents, got, want)
			}
		}
	}
}

func TestCrashBeforeADirectWrite(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.file("other")
	s.fs.Write(id, 0, pages("A"))
	s.h.Add(s.fs, false, Change{File: id, Effect: WroteThrough, Len: PageSize})
	s.expect("before", id, nil, true)
	s.expect("after", id, pages("A"), true)
	s.expect("zeros", id, pages("0"), false)
}

func TestCrashAfterACommit(t *testing.T) {
	s := newStory(t)
	id := s.file("f")
	s.write(id, 0, pages("A"))
	s.effect(id, Flushed)
	s.h.Committed()
	cuts := s.cuts()
	if len(cuts) != 1 || cuts[0].FS.Node(id) == nil {
		t.Fatalf("%d cuts, want the newest alone", len(cuts))
	}
	if s.h.Explains(cuts[0], id, nil) {
		t.Errorf("what the daemon had may be lost")
	}
	if !s.h.Explains(cuts[0], id, (&Data{}).Write(0, pages("A"))) {
		t.Errorf("what the daemon had is refused")
	}
}

func TestData(t *testing.T) {
	d := (&Data{}).Write(PageSize-2, []byte("abcd"))
	if got := string(d.Read(PageSize-3, 100)); got != "\x00abcd" {
		t.Errorf("read %q", got)
	}
	cut := d.Truncate(PageSize + 1).Truncate(PageSize + 4)
	if got := string(cut.Read(PageSize-2, 100)); got != "abc\x00\x00\x00" {
		t.Errorf("after truncates %q: old bytes came back", got)
	}
	if got := string(d.Zero(PageSize-1, 2).Read(PageSize-2, 100)); got != "a\x00\x00d" {
		t.Errorf("after zeroing %q", got)
	}
	if got := string(d.Read(PageSize-2, 4)); got != "abcd" {
		t.Errorf("the original changed to %q", got)
	}
	if !d.Equal((&Data{}).Truncate(PageSize+2).Write(PageSize-2, []byte("abcd"))) || d.Equal(cut) {
		t.Errorf("Equal is wrong")
	}
}
