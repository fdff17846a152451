package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/store"
)

// volume is the records of a volume, which need not mean anything here.
type volume struct {
	t   *testing.T
	id  crypto.VolumeID
	key *crypto.Key
	dir *store.Dir
	db  *store.DB
	rnd *rand.Rand
	now time.Time // when the last backup was made
}

func newVolume(t *testing.T, id byte) *volume {
	t.Helper()
	key, err := crypto.KeyFromBytes(bytes.Repeat([]byte{id}, crypto.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(key.Wipe)
	v := &volume{t: t, id: crypto.VolumeID{id}, key: key, rnd: rand.New(rand.NewPCG(uint64(id), 7)), now: time.Unix(1_700_000_000, 0)}
	v.create()
	return v
}

// create makes an empty store.
func (v *volume) create() {
	v.t.Helper()
	var err error
	if v.dir, err = store.CreateDir(filepath.Join(v.t.TempDir(), "store")); err != nil {
		v.t.Fatal(err)
	}
	dir := v.dir
	v.t.Cleanup(func() {
		if err := dir.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			v.t.Error(err)
		}
	})
	v.open()
}

func (v *volume) open() {
	v.t.Helper()
	var err error
	if v.db, err = v.dir.OpenDB(store.Options{MemTableSize: 2 << 20, ValueLogFileSize: 4 << 20}); err != nil {
		v.t.Fatal(err)
	}
	db := v.db
	v.t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			v.t.Error(err)
		}
	})
}

// finish makes the store one that exists.
func (v *volume) finish() {
	v.t.Helper()
	if err := errors.Join(v.dir.WriteFile(store.HeaderFile, []byte("{}")), v.dir.FinishCreate()); err != nil {
		v.t.Fatal(err)
	}
}

// reopen closes the database and opens it again.
func (v *volume) reopen() {
	v.t.Helper()
	if err := v.db.Close(); err != nil {
		v.t.Fatal(err)
	}
	v.open()
}

// restored is a store made of a chain of backups.
func (v *volume) restored(chain ...[]byte) *volume {
	v.t.Helper()
	r := &volume{t: v.t, id: v.id, key: v.key, rnd: rand.New(rand.NewPCG(99, 7)), now: time.Unix(1_800_000_000, 0)}
	r.create()
	if err := r.apply(chain...); err != nil {
		v.t.Fatal(err)
	}
	return r
}

func (v *volume) apply(chain ...[]byte) error {
	c := NewChain(v.db, v.key)
	for _, b := range chain {
		r, err := archive.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if err := c.Apply(context.Background(), r); err != nil {
			return err
		}
	}
	return nil
}

// change commits n changes: records stored, stored again, and removed.
func (v *volume) change(n int) {
	v.t.Helper()
	for range n {
		var b store.Batch
		for range 1 + v.rnd.IntN(6) {
			key := fmt.Appendf(nil, "%c%03d", "DIE"[v.rnd.IntN(3)], v.rnd.IntN(150))
			if v.rnd.IntN(3) == 0 {
				b.Delete(key)
				continue
			}
			value := make([]byte, []int{10, 150, 3000, 5000, 30_000}[v.rnd.IntN(5)])
			for i := 0; i < len(value); i += 7 {
				value[i] = byte(v.rnd.Uint32())
			}
			b.Put(key, value)
		}
		b.Put([]byte("H"), fmt.Appendf(nil, "head %d %d", v.db.NextVersion(), v.rnd.Uint64()))
		if _, err := v.db.Commit(&b); err != nil {
			v.t.Fatal(err)
		}
	}
}

// backup makes a backup of the store as it is; each write of it is told to then.
func (v *volume) backup(base []byte, then func()) []byte {
	v.t.Helper()
	var out bytes.Buffer
	var s *archive.Statement
	if base != nil {
		s = &v.listing(base).Statement
	}
	v.now = v.now.Add(time.Second)
	view := v.db.View()
	defer view.Release()
	w := writerFunc(func(b []byte) (int, error) { then(); return out.Write(b) })
	err := Write(context.Background(), w, Source{
		Volume: v.id, Key: v.key, View: view, Base: s, Now: v.now,
		Files: []archive.File{{Name: store.HeaderFile, Contents: []byte("{}")}},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return out.Bytes()
}

func (v *volume) listing(b []byte) *archive.Listing {
	v.t.Helper()
	l, err := archive.OpenListing(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		v.t.Fatal(err)
	}
	return l
}

// compare reads a backup as the command does that writes it.
func (v *volume) compare(b, base []byte) error {
	v.t.Helper()
	var l *archive.Listing
	if base != nil {
		l = v.listing(base)
	}
	r, err := archive.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	var done, total uint64
	c, err := Compare(r.Begin(), l, func(d, t uint64) { done, total = d, t })
	if err != nil {
		return err
	}
	s, err := r.Read(c)
	if err == nil && (done != total || total == 0 && s.Records > 0) {
		err = fmt.Errorf("progress ended at %d of %d", done, total)
	}
	return err
}

// record is what a store has under a key.
type record struct {
	version uint64
	value   string
}

func (v *volume) records() map[string]record {
	v.t.Helper()
	view := v.db.View()
	defer view.Release()
	all := make(map[string]record)
	err := view.Scan(nil, func(i store.Item) error {
		return i.Value(func(value []byte) error {
			all[string(i.Key())] = record{i.Version(), string(value)}
			return nil
		})
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

// same fails the test unless two stores have the same records.
func same(t *testing.T, what string, got, want map[string]record) {
	t.Helper()
	for key, w := range want {
		if g, ok := got[key]; g != w {
			t.Errorf("%s: %s of version %d with %d bytes (there: %v), want version %d with %d", what, key, g.version, len(g.value), ok, w.version, len(w.value))
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %s should not be there", what, key)
		}
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

var _ io.Writer = writerFunc(nil)
