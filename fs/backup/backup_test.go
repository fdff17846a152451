package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ssefs/crypto"
	"ssefs/fs/archive"
	"ssefs/store"
)

func nothing() {}

// seedsVariable says how many chains TestChains makes, 1 unless it is set.
const seedsVariable = "SSEFS_BACKUP_SEEDS"

// TestChains makes chains of backups of stores that go on changing, and collecting garbage, while each is written, and
// restores each beginning of them.
func TestChains(t *testing.T) {
	seeds := 1
	if text := os.Getenv(seedsVariable); text != "" {
		var err error
		if seeds, err = strconv.Atoi(text); err != nil || seeds > 250 {
			t.Fatalf("%s=%s: %v", seedsVariable, text, err)
		}
	}
	for seed := range byte(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			v := newVolume(t, seed+1)
			v.change(80)
			var chain [][]byte
			var states []map[string]record
			for range 4 {
				state := v.records()
				writes := 0
				busy := func() {
					v.change(3)
					if writes++; writes%3 == 0 {
						if err := v.db.Reclaim(context.Background(), nil); err != nil {
							t.Error(err)
						}
					}
				}
				var base []byte
				if len(chain) > 0 {
					base = chain[len(chain)-1]
				}
				b := v.backup(base, busy)
				if err := v.compare(b, base); err != nil {
					t.Fatal(err)
				}
				chain, states = append(chain, b), append(states, state)
				v.change(20)
			}
			for n := range chain {
				r := v.restored(chain[:n+1]...)
				same(t, fmt.Sprint("restored from ", n+1), r.records(), states[n])
				// It goes on like any other, and the chain with it.
				r.change(15)
				b := r.backup(chain[n], nothing)
				if err := r.compare(b, chain[n]); err != nil {
					t.Errorf("a chain that is gone on with: %v", err)
				}
				again := r.restored(append(slices.Clone(chain[:n+1]), b)...)
				same(t, "restored once more", again.records(), r.records())
			}
		})
	}
}

// TestJournal: commits that are in the journal alone when a backup is made get the version of the last of them later. That
// is no change.
func TestJournal(t *testing.T) {
	for name, changes := range map[string]int{"nothing new": 0, "some more": 3} {
		t.Run(name, func(t *testing.T) {
			v := newVolume(t, 1)
			v.change(20)
			v.db.StartJournal()
			for n := range 5 {
				var b store.Batch
				b.Put(fmt.Appendf(nil, "small%d", n), fmt.Appendf(nil, "value %d", n))
				b.Put([]byte("H"), fmt.Appendf(nil, "head %d", n))
				if _, err := v.db.Commit(&b); err != nil {
					t.Fatal(err)
				}
			}
			state := v.records()
			full := v.backup(nil, nothing)
			v.finish()
			v.reopen()
			if v.records()["small0"].version == state["small0"].version {
				t.Error("the versions did not change: this tests nothing")
			}
			v.change(changes)
			one := v.backup(full, nothing)
			if err := v.compare(one, full); err != nil {
				t.Error(err)
			}
			same(t, "restored", values(v.restored(full).records()), values(state))
			same(t, "restored from both", values(v.restored(full, one).records()), values(v.records()))
		})
	}
}

// values are records without their versions.
func values(records map[string]record) map[string]record {
	all := make(map[string]record)
	for key, r := range records {
		all[key] = record{0, r.value}
	}
	return all
}

// TestNothingNew is an incremental backup of a store that did not change.
func TestNothingNew(t *testing.T) {
	v := newVolume(t, 1)
	v.change(20)
	full := v.backup(nil, nothing)
	b := v.backup(full, nothing)
	if err := v.compare(b, full); err != nil {
		t.Error(err)
	}
	same(t, "restored", v.restored(full, b).records(), v.records())
}

// TestCopiesThatWentTheirOwnWays: two stores of one volume, from one state on, with the same keys and versions but other
// contents. A backup of the one is no base for the other.
func TestCopiesThatWentTheirOwnWays(t *testing.T) {
	v := newVolume(t, 1)
	v.change(40)
	full := v.backup(nil, nothing)
	a, b := v.restored(full), v.restored(full)
	commit := func(v *volume, records map[string]string) {
		t.Helper()
		var batch store.Batch
		for key, value := range records {
			batch.Put([]byte(key), []byte(value))
		}
		if _, err := v.db.Commit(&batch); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("contents ", 2000)
	commit(a, map[string]string{"I001": "a's", "I002": "names a's D002", "D002": "a" + long, "H": "head 1"})
	commit(b, map[string]string{"I001": "b's", "I002": "names b's D002", "D002": "b" + long, "H": "head 2"})
	ofA, ofB := a.backup(full, nothing), b.backup(nil, nothing)
	for what, later := range map[string]map[string]string{
		"a record of the same version": {"I002": "b's again", "D002": "b's again", "H": "head 3"},
		"a long one, named again":      {"I001": "b's again", "I002": "names b's D002 again", "H": "head 3"},
		"nothing that is left":         {"I001": "b's again", "I002": "b's again", "D002": "b's again", "H": "head 4"},
	} {
		b := b.restored(ofB)
		commit(b, later)
		ofB := b.backup(ofA, nothing)
		err := b.compare(ofB, ofA)
		if len(later) == 4 {
			// What went another way is gone: together they are right, and it is allowed.
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			same(t, what, v.restored(full, ofA, ofB).records(), b.records())
			continue
		}
		if !errors.Is(err, ErrBase) {
			t.Errorf("%s: %v", what, err)
		}
		r := newVolume(t, 1)
		if err := r.apply(full, ofA, ofB); !errors.Is(err, ErrBase) {
			t.Errorf("%s: restored: %v", what, err)
		}
	}
}

// TestNotAChain is every wrong order and mixture of backups.
func TestNotAChain(t *testing.T) {
	v := newVolume(t, 1)
	v.change(30)
	full := v.backup(nil, nothing)
	v.change(5)
	one := v.backup(full, nothing)
	v.change(5)
	two := v.backup(one, nothing)
	other := newVolume(t, 2)
	other.change(30)
	foreign := other.backup(nil, nothing)
	other.change(5)
	foreignOne := other.backup(foreign, nothing)
	fullAgain := v.restored(full).backup(nil, nothing) // of the version that one is based on
	for name, test := range map[string]struct {
		chain [][]byte
		want  error
	}{
		"an incremental one alone":     {[][]byte{one}, ErrBase},
		"one left out":                 {[][]byte{full, two}, ErrBase},
		"the wrong order":              {[][]byte{full, two, one}, ErrBase},
		"one twice":                    {[][]byte{full, one, one}, ErrBase},
		"a full one later":             {[][]byte{full, full}, ErrBase},
		"one of another volume":        {[][]byte{full, foreignOne}, ErrBase},
		"all of another volume":        {[][]byte{foreign}, archive.ErrDamaged},
		"another backup of that state": {[][]byte{fullAgain, one}, ErrBase},
	} {
		err := newVolume(t, 1).apply(test.chain...)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"full, with a base":         v.compare(full, full),
		"incremental, without":      v.compare(one, nil),
		"to another backup":         v.compare(two, full),
		"to one of another volume":  v.compare(one, foreign),
		"to a later one, backwards": v.compare(one, two),
	} {
		if !errors.Is(err, ErrBase) {
			t.Errorf("%s: %v", name, err)
		}
	}
	view := v.db.View()
	defer view.Release()
	err := Write(context.Background(), io.Discard, Source{Volume: v.id, Key: v.key, View: view, Base: &other.listing(foreign).Statement, Now: time.Now()})
	if !errors.Is(err, ErrBase) {
		t.Errorf("written for a base of another volume: %v", err)
	}
}

// TestCutOff: a restore ends with the error of what it reads, and of its own context.
func TestCutOff(t *testing.T) {
	v := newVolume(t, 1)
	v.change(60)
	full := v.backup(nil, nothing)
	for _, n := range []int{9, 100, len(full) / 3, len(full) - 1} {
		if err := newVolume(t, 1).apply(full[:n]); !errors.Is(err, archive.ErrTruncated) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	flipped := bytes.Clone(full)
	flipped[len(full)-10] ^= 1 // within the tag
	if err := newVolume(t, 1).apply(flipped); !errors.Is(err, archive.ErrDamaged) {
		t.Errorf("a bit of the tag: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r, err := archive.NewReader(bytes.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	if err := NewChain(newVolume(t, 1).db, v.key).Apply(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	view := v.db.View()
	defer view.Release()
	source := Source{Volume: v.id, Key: v.key, View: view, Now: time.Now()}
	if err := Write(ctx, io.Discard, source); !errors.Is(err, context.Canceled) {
		t.Errorf("writing, cancelled: %v", err)
	}
	broken := errors.New("broken pipe")
	left := 3
	err = Write(context.Background(), writerFunc(func(b []byte) (int, error) {
		if left--; left < 0 {
			return 0, broken
		}
		return len(b), nil
	}), source)
	if !errors.Is(err, broken) {
		t.Errorf("writing to a broken pipe: %v", err)
	}
	wiped, err := crypto.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	wiped.Wipe()
	source.Key = wiped
	if err := Write(context.Background(), io.Discard, source); !errors.Is(err, crypto.ErrWiped) {
		t.Errorf("without a key: %v", err)
	}
}
