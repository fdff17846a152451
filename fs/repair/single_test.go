package repair

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"ssefs/fs/record"
)

// damage is one way to damage a record; nil if it does not apply to that one.
type damage struct {
	name  string
	apply func(x *site, key string) raw
}

func damages() []damage {
	return []damage{
		{"flipped", func(x *site, key string) raw {
			v := bytes.Clone(x.good[key])
			v[len(v)/2] ^= 1
			return raw{key: v}
		}},
		{"deleted", func(_ *site, key string) raw { return raw{key: nil} }},
		{"cut short", func(x *site, key string) raw { return raw{key: x.good[key][:len(x.good[key])/2]} }},
		{"put back", func(x *site, key string) raw {
			if old, ok := x.older[key]; ok && !bytes.Equal(old, x.good[key]) {
				return raw{key: old}
			}
			return nil
		}},
		{"of another", func(x *site, key string) raw {
			for other, value := range x.good {
				if other != key && other[0] == key[0] && len(other) == len(key) {
					return raw{key: value}
				}
			}
			return nil
		}},
		{"added elsewhere", func(x *site, key string) raw {
			if len(key) < 9 || key[0] == byte(record.KindPending) {
				return nil
			}
			other := []byte(key)
			other[8] ^= 0x40 // of an inode that does not exist
			if _, ok := x.good[string(other)]; ok {
				return nil
			}
			return raw{string(other): x.good[key]}
		}},
	}
}

// name describes a record for messages.
func name(key string) string {
	k, err := record.ParseKey([]byte(key))
	if err != nil {
		return fmt.Sprintf("key %x", key)
	}
	return fmt.Sprintf("%s %d/%d/%d", k.Kind, k.ID, k.Level, k.Sub)
}

// fewOf leaves out most of the records of which there are many alike.
func (x *site) fewOf() (keys []string) {
	perInode := make(map[string]int)
	for key := range x.good {
		k, err := record.ParseKey([]byte(key))
		x.Must(err)
		group := fmt.Sprint(k.Kind, k.ID, k.Level)
		if perInode[group]++; perInode[group] <= 2 || k.Kind == record.KindEntry {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestSingleDamage damages each record of the volume in each way, one at a time.
func TestSingleDamage(t *testing.T) {
	x := newSite(t)
	for _, key := range x.fewOf() {
		for _, d := range damages() {
			changes := d.apply(x, key)
			if changes == nil {
				continue
			}
			what := name(key) + " " + d.name
			x.tamper(changes)
			r, err := x.repair(nil)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			x.wantRepaired(what)
			x.wantContents(what, changes)
			if t.Failed() {
				for i := range r.Actions {
					t.Log(r.Actions[i].String())
				}
				t.FailNow()
			}
			x.restore()
		}
	}
}

// errStopped ends a repair in the middle.
var errStopped = errors.New("stopped")

// TestUndamaged: a repair of what is in order does nothing.
func TestUndamaged(t *testing.T) {
	x := newSite(t)
	before := x.DB.Committed()
	r, err := x.repair(nil)
	x.Must(err)
	if len(r.Actions) > 0 || r.Transactions > 0 || x.DB.Committed() != before {
		t.Errorf("did %+v", r)
	}
}
