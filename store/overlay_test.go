package store

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// journalModel is a database with a journal beside a map of what it holds.
type journalModel struct {
	path    string
	d       *Dir
	db      *DB
	now     map[string]string
	views   []*View
	befores []map[string]string // what each view sees
}

func (m *journalModel) open(t *rapid.T) {
	var err error
	if m.d, m.db, err = create(m.path, crashOptions()); err != nil {
		t.Fatal(err)
	}
	if m.db.Committed() > 0 {
		m.checkNow(t)
	}
}

func (m *journalModel) close(t *rapid.T) {
	for len(m.views) > 0 {
		m.release(0)
	}
	if err := closeBoth(m.d, m.db); err != nil {
		t.Fatal(err)
	}
}

func (m *journalModel) release(i int) {
	m.views[i].Release()
	m.views = slices.Delete(m.views, i, i+1)
	m.befores = slices.Delete(m.befores, i, i+1)
}

// commit changes a few of few keys. Sizes are such that some go through the
// journal and some do not, and some values lie in the value log.
func (m *journalModel) commit(t *rapid.T) {
	var b Batch
	next := maps.Clone(m.now)
	for range rapid.IntRange(0, 6).Draw(t, "changes") {
		key := fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "key"))
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			b.Delete([]byte(key))
			delete(next, key)
			continue
		}
		size := rapid.SampledFrom([]int{0, 1, 300, 4096, 9000, 40_000}).Draw(t, "size")
		value := bytes.Repeat([]byte{byte(len(next) + size)}, size)
		value = fmt.Appendf(value, "%d", m.db.NextVersion())
		b.Put([]byte(key), value)
		next[key] = string(value)
	}
	want := m.db.NextVersion()
	if got, err := m.db.Commit(&b); err != nil || got != want {
		t.Fatalf("commit %d: %d, %v", want, got, err)
	}
	m.now = next
}

func (m *journalModel) checkNow(t *rapid.T) {
	v := m.db.View()
	defer v.Release()
	checkView(t, v, m.now)
}

// checkView compares all that a View can be asked with a map.
func checkView(t *rapid.T, v *View, want map[string]string) {
	for i := range 31 {
		key := fmt.Sprintf("k%02d", i)
		got, err := get(v, key)
		value, there := want[key]
		if there && (err != nil || string(got) != value) || !there && !errors.Is(err, ErrNotFound) {
			t.Fatalf("%s at %d: %d bytes, %v; want %d bytes, %v", key, v.Version(), len(got), err, len(value), there)
		}
	}
	keys := slices.Sorted(maps.Keys(want))
	from := fmt.Sprintf("k%02d", rapid.IntRange(0, 30).Draw(t, "from"))
	rest, _ := slices.BinarySearch(keys, from)
	for start, want := range map[string][]string{"": keys, from: keys[rest:]} {
		checkIteration(t, v, start, want, len(want))
		checkIteration(t, v, start, want, min(2, len(want)))
	}
}

// checkIteration iterates from a key on until stop records were seen.
func checkIteration(t *rapid.T, v *View, from string, keys []string, stop int) {
	var seen, seenKeys []string
	err := v.Iterate([]byte("k"), []byte(from), func(key, value []byte) error {
		direct, err := get(v, string(key))
		if err != nil || !bytes.Equal(direct, value) {
			t.Fatalf("%s: %d bytes, and %d by Get, %v", key, len(value), len(direct), err)
		}
		if seen = append(seen, string(key)); len(seen) == stop {
			return ErrStop
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = v.IterateKeys([]byte("k"), []byte(from), func(key []byte, size int64) error {
		if direct, err := get(v, string(key)); err != nil || int64(len(direct)) != size {
			t.Fatalf("%s: %d bytes, and %d by Get, %v", key, size, len(direct), err)
		}
		if seenKeys = append(seenKeys, string(key)); len(seenKeys) == stop {
			return ErrStop
		}
		return nil
	})
	if err != nil || !slices.Equal(seen, keys[:stop]) || !slices.Equal(seenKeys, keys[:stop]) {
		t.Fatalf("from %q: %v and %v, %v; want %v", from, seen, seenKeys, err, keys[:stop])
	}
}

// TestJournaledCommits compares random commits with a map: read at once, by Views
// of earlier versions, across checkpoints, after closing and after a crash.
func TestJournaledCommits(t *testing.T) {
	// Each run opens and closes databases several times.
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("25"); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := &journalModel{path: filepath.Join(dir, fmt.Sprint(runs)), now: map[string]string{}}
		m.open(t)
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"commit":  m.commit,
			"commit2": m.commit,
			"checkpoint": func(t *rapid.T) {
				m.db.journalMu.Lock()
				defer m.db.journalMu.Unlock()
				if err := m.db.checkpointAll(); err != nil {
					t.Fatal(err)
				}
			},
			"freeze": func(t *rapid.T) {
				m.db.journalMu.Lock()
				defer m.db.journalMu.Unlock()
				if m.db.journal.active == nil {
					return
				}
				if err := m.db.freeze(); err != nil {
					t.Fatal(err)
				}
			},
			"view": func(t *rapid.T) {
				if len(m.views) < 4 {
					m.views = append(m.views, m.db.View())
					m.befores = append(m.befores, m.now)
				}
			},
			"read view": func(t *rapid.T) {
				if len(m.views) == 0 {
					return
				}
				i := rapid.IntRange(0, len(m.views)-1).Draw(t, "view")
				checkView(t, m.views[i], m.befores[i])
				m.release(i)
			},
			"reopen": func(t *rapid.T) {
				m.close(t)
				m.open(t)
			},
			// As if killed: what is in the journal does not get into the tables.
			"crash": func(t *rapid.T) {
				crash := errors.New("crash")
				m.db.failure.Store(&crash)
				m.close(t)
				m.open(t)
			},
			"": m.checkNow,
		})
	})
}
