package forgery

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"
)

// attacksPerStore is how many random attacks a random store has to bear.
const attacksPerStore = 40

// TestRandom attacks random stores in random ways. The same seed makes the same volumes and chooses in the same way.
func TestRandom(t *testing.T) {
	t.Parallel()
	rounds, seed := number(t, "SSEFS_FORGERY_ROUNDS", 0), number(t, "SSEFS_FORGERY_SEED", 1)
	each := attacksPerStore
	if rounds == 0 {
		rounds, each = 1, 8
	}
	counts := tally{}
	for round := range rounds {
		t.Run(fmt.Sprintf("seed%d", seed+round), func(t *testing.T) {
			s := newPast(t, seed+round)
			for i := range each {
				s.attack(t, rand.New(rand.NewPCG(seed+round, uint64(i))), i, counts)
			}
		})
	}
	counts.report(t)
}

// past is a volume as it is and as it was at several moments, oldest first, and the records of another.
type past struct {
	key    string
	stores []string
	views  []state // what the drive answered
	states []index // the same, to be searched
	all    []raw.Records
	other  raw.Records
}

// index finds what a state of a volume says: which inode a name in a directory means, and what that inode is.
type index struct {
	names map[string]uint64
	nodes map[uint64]*node
}

func place(dir uint64, name string) string { return fmt.Sprintf("%d/%s", dir, name) }

func newIndex(s state) index {
	x := index{map[string]uint64{}, map[uint64]*node{}}
	for path, n := range s {
		x.nodes[n.ino] = n
		if path != "/" {
			x.names[place(s.ino(filepath.Dir(path)), filepath.Base(path))] = n.ino
		}
	}
	return x
}

// newPast makes a random volume, changing it between the moments.
func newPast(t *testing.T, seed uint64) *past {
	t.Helper()
	const moments = 3
	r := rand.New(rand.NewPCG(seed, 1<<32))
	d := drive.New(t, drive.Options{})
	p := &past{key: d.KeyFile()}
	makeBuckets(t, d)
	for range moments {
		disturb(t, r, d, 60)
		d.Remount()
		s := whole(t, d.Mountpoint())
		d.Unmount()
		store := filepath.Join(drive.Dir(t), "store")
		copyStore(t, d.Store(), store)
		p.stores = append(p.stores, store)
		p.states = append(p.states, newIndex(s))
		p.views = append(p.views, s)
		p.all = append(p.all, records(t, store))
		d.Mount()
	}
	d.Unmount()
	second := drive.New(t, drive.Options{KeyFile: p.key})
	makeBuckets(t, second)
	disturb(t, r, second, 60)
	second.Unmount()
	p.other = records(t, second.Store())
	return p
}

func (p *past) now() raw.Records { return p.all[len(p.all)-1] }

// attack does one random thing, or several at once, to a copy of the newest store.
func (p *past) attack(t *testing.T, r *rand.Rand, i int, counts tally) {
	t.Helper()
	v := newVictim(t, p.stores[len(p.stores)-1], p.key)
	defer v.remove()
	j := &judgement{past: p, v: v}
	switch k := r.IntN(10); {
	case k < 4:
		j.what, j.changes = p.strikes(r)
	case k < 6:
		j.what, j.changes = p.rewind(r)
	case k < 7:
		j.what, j.changes = p.removal(r)
	default:
		j.what, j.files = p.shuffleFiles(t, r, v), true
	}
	j.name = fmt.Sprintf("attack %d, %s", i, j.what)
	maps.DeleteFunc(j.changes, func(key string, value *string) bool {
		before, was := p.now()[key]
		return value == nil && !was || value != nil && was && *value == before.Value
	})
	if len(j.changes) > 0 {
		v.change(j.changes)
	}
	how := j.judge(t)
	counts.add(j.what, how)
	if testing.Verbose() {
		t.Logf("%s: %d records: %s", j.name, len(j.changes), how)
	}
	if t.Failed() {
		for key, value := range j.changes {
			t.Logf("record %x: %d bytes, now %d", key, len(p.now()[key].Value), size(value))
		}
		v.keep(fmt.Sprintf("%s-%d", t.Name(), i))
		t.Fatalf("%s: see above", j.name)
	}
}

// size returns how long a value is, -1 if there is none.
func size(value *string) int {
	if value == nil {
		return -1
	}
	return len(*value)
}

// strikes attacks some records of any kind, each alone.
func (p *past) strikes(r *rand.Rand) (string, raw.Changes) {
	f := &forger{now: p.now(), then: p.all[r.IntN(len(p.all)-1)], other: p.other, changes: raw.Changes{}}
	keys, then, other := slices.Sorted(maps.Keys(f.now)), slices.Sorted(maps.Keys(f.then)), slices.Sorted(maps.Keys(f.other))
	pickOne := func(keys []string, like string) string {
		if r.IntN(4) > 0 { // of the same kind
			keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k[0] != like[0] })
		}
		if len(keys) == 0 {
			return ""
		}
		return keys[r.IntN(len(keys))]
	}
	used := map[string]bool{}
	for _, key := range append(keys, then...) {
		used[key] = true
	}
	all := attacks()
	for range 1 + r.IntN(5) {
		key := keys[r.IntN(len(keys))]
		if len(f.now[key].Value) < 40 || !isRecord(key) {
			continue
		}
		a := aim{key: key, inFile: pickOne(keys, key), twin: pickOne(keys, key), across: pickOne(keys, key), foreign: pickOne(other, key),
			gone: pickOne(then, key), old: f.then[key].Value, other: keys[r.IntN(len(keys))]}
		if len(key) > 8 {
			a.unused = unusedKey(used, key)
		}
		all[r.IntN(len(all))].do(f, a)
	}
	return "records", f.changes
}

// isRecord tells whether a key is one of a record, and not of the store itself.
func isRecord(key string) bool {
	_, err := record.ParseKey([]byte(key))
	return err == nil
}

// rewind puts a random part of the records back, as they were at one moment: of some inodes or of some kinds, all or any.
func (p *past) rewind(r *rand.Rand) (string, raw.Changes) {
	changes := raw.Changes{}
	now, then := p.now(), p.all[r.IntN(len(p.all)-1)]
	chosen := p.choose(r)
	for _, records := range []raw.Records{now, then} {
		for _, key := range slices.Sorted(maps.Keys(records)) {
			if !isRecord(key) || !chosen(key) {
				continue
			}
			if old, was := then[key]; was {
				changes.Put(key, old.Value)
			} else {
				changes.Remove(key)
			}
		}
	}
	return "rewind", changes
}

// removal removes a random part of the records.
func (p *past) removal(r *rand.Rand) (string, raw.Changes) {
	changes := raw.Changes{}
	chosen := p.choose(r)
	for _, key := range slices.Sorted(maps.Keys(p.now())) {
		if isRecord(key) && chosen(key) {
			changes.Remove(key)
		}
	}
	return "removal", changes
}

// choose chooses keys: of a few inodes or of one kind, and of these all or some.
func (p *past) choose(r *rand.Rand) func(key string) bool {
	inodes := map[string]bool{}
	keys := slices.Sorted(maps.Keys(p.now()))
	for range 1 + r.IntN(4) {
		if key := keys[r.IntN(len(keys))]; len(key) >= 9 {
			inodes[key[1:9]] = true
		}
	}
	kind := keys[r.IntN(len(keys))][0]
	mode, some := r.IntN(3), r.IntN(3) == 0
	return func(key string) bool {
		if some && r.IntN(2) == 0 {
			return false
		}
		switch {
		case mode == 0:
			return key[0] == kind
		case len(key) < 9 || !inodes[key[1:9]]:
			return false
		}
		// A head or bucket that is older has the mount refused, and nothing else is tried.
		return key[0] != byte(record.KindBucket) || mode == 1
	}
}

// shuffleFiles attacks files of the store: some of them, or takes each from one moment or another.
func (p *past) shuffleFiles(t *testing.T, r *rand.Rand, v *victim) string {
	t.Helper()
	files := storeFiles(t, v.store)
	older := p.stores[r.IntN(len(p.stores)-1)]
	if r.IntN(2) == 0 {
		mixed := slices.Compact(slices.Sorted(slices.Values(slices.Concat(files, storeFiles(t, older)))))
		for _, file := range mixed {
			if r.IntN(3) > 0 {
				continue
			}
			path := filepath.Join(v.store, file)
			expect.OK(t, os.RemoveAll(path), "remove")
			if b, err := os.ReadFile(filepath.Join(older, file)); err == nil {
				expect.OK(t, os.WriteFile(path, b, 0o600), "write")
			}
		}
		return "mixed files"
	}
	all := fileAttacks()
	for range 1 + r.IntN(3) {
		file := files[r.IntN(len(files))]
		path := filepath.Join(v.store, file)
		now, err := os.ReadFile(path)
		if err != nil {
			continue // removed before
		}
		forged := all[r.IntN(len(all))].do(r, bytes.Clone(now), like(older, file), like(older, file))
		expect.OK(t, os.RemoveAll(path), "remove")
		if forged != nil {
			expect.OK(t, os.WriteFile(path, forged, 0o600), "write")
		}
	}
	return "files"
}
