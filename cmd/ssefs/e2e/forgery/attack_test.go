package forgery

import (
	"encoding/binary"
	"slices"
	"strings"

	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"
)

// forger has what an attacker has: the records of a store as they are, as they were once, and those of another volume.
type forger struct {
	now, then, other raw.Records
	changes          raw.Changes
}

// aim is what one attack is aimed at: keys of records of one kind.
type aim struct {
	key     string // the record
	inFile  string // another of the same file or directory, if the attack needs one
	twin    string // one of another file in the same bucket
	across  string // one of a file in another bucket
	foreign string // one of a like file of the other volume
	unused  string // a key without a record
	gone    string // a key that had a record once
	old     string // what the record was once
	other   string // a record of another kind
}

// attack is one thing that can be done to a record. It returns false if there is nothing to do it with.
type attack struct {
	name string
	do   func(f *forger, a aim) bool
}

// attacks are all of them.
func attacks() []attack {
	edit := func(change func(value []byte) []byte) func(*forger, aim) bool {
		return func(f *forger, a aim) bool { return f.put(a.key, string(change([]byte(f.now[a.key].Value)))) }
	}
	flip := func(at func(n int) int) func(*forger, aim) bool {
		return edit(func(value []byte) []byte { value[at(len(value))] ^= 0x10; return value })
	}
	swap := func(with func(a aim) string) func(*forger, aim) bool {
		return func(f *forger, a aim) bool {
			other := with(a)
			return other != "" && f.put(a.key, f.now[other].Value) && f.put(other, f.now[a.key].Value)
		}
	}
	return []attack{
		{"flip-first", flip(func(int) int { return 0 })},
		{"flip-middle", flip(func(n int) int { return n / 2 })},
		{"flip-tag", flip(func(n int) int { return n - 9 })},
		{"flip-last", flip(func(n int) int { return n - 1 })},
		{"cut-one", edit(func(value []byte) []byte { return value[:len(value)-1] })},
		{"cut-half", edit(func(value []byte) []byte { return value[:len(value)/2] })},
		{"grow", edit(func(value []byte) []byte { return append(value, value[0]) })},
		{"empty", edit(func([]byte) []byte { return nil })},
		{"zeros", edit(func(value []byte) []byte { return make([]byte, len(value)) })},
		{"remove", func(f *forger, a aim) bool { f.changes.Remove(a.key); return true }},
		{"swap-in-file", swap(func(a aim) string { return a.inFile })},
		{"swap-files", swap(func(a aim) string { return a.twin })},
		{"swap-buckets", swap(func(a aim) string { return a.across })},
		{"confuse", func(f *forger, a aim) bool { return f.put(a.key, f.now[a.other].Value) }},
		{"replay", func(f *forger, a aim) bool { return a.old != "" && a.old != f.now[a.key].Value && f.put(a.key, a.old) }},
		{"put-back", func(f *forger, a aim) bool { return a.gone != "" && f.put(a.gone, f.then[a.gone].Value) }},
		{"copy", func(f *forger, a aim) bool { return f.put(a.unused, f.now[a.key].Value) }},
		{"graft", func(f *forger, a aim) bool { return a.foreign != "" && f.put(a.key, f.other[a.foreign].Value) }},
		{"graft-new", func(f *forger, a aim) bool { return a.foreign != "" && f.put(a.unused, f.other[a.foreign].Value) }},
	}
}

// special tells whether no attack is much like this one, or everything is to be tried.
func (x attack) special() bool {
	return everything() || slices.Contains([]string{"flip-middle", "cut-half", "remove", "swap-files", "replay", "put-back", "copy", "graft"}, x.name)
}

// put notes that a record is to have a value.
func (f *forger) put(key, value string) bool {
	if key == "" {
		return false
	}
	f.changes.Put(key, value)
	return true
}

// keyOf returns the start of the keys of a kind and an inode, or bucket.
func keyOf(kind record.Kind, id uint64) string { return string(record.Prefix(kind, id)) }

// unusedKey returns a key like this one that no record has and that was not returned before.
func unusedKey(used map[string]bool, key string) string {
	b := []byte(key)
	for {
		last := b[len(b)-8:]
		binary.BigEndian.PutUint64(last, binary.BigEndian.Uint64(last)+7)
		if !used[string(b)] {
			used[string(b)] = true
			return string(b)
		}
	}
}

// pick returns the key of the i-th record of a kind and inode, nothing if there are not as many.
func pick(records raw.Records, kind record.Kind, id uint64, i int) string {
	keys := records.Keys(keyOf(kind, id))
	if i >= len(keys) {
		return ""
	}
	return keys[i]
}

// ownKinds are the kinds of the records that an inode has to itself.
func ownKinds() []record.Kind {
	return []record.Kind{record.KindInode, record.KindMap, record.KindData, record.KindPack, record.KindXattr}
}

// owned returns the keys of an inode's records, those of its entries among them if it is a directory.
func owned(records raw.Records, ino uint64) []string {
	var keys []string
	for _, kind := range append(ownKinds(), record.KindEntry) {
		keys = append(keys, records.Keys(keyOf(kind, ino))...)
	}
	return keys
}

// rollBack puts all records of inodes back as they were once, and removes those that came since.
func (f *forger) rollBack(inodes ...uint64) {
	for _, ino := range inodes {
		for _, key := range owned(f.now, ino) {
			f.changes.Remove(key)
		}
		for _, key := range owned(f.then, ino) {
			f.changes.Put(key, f.then[key].Value)
		}
	}
}

// remove removes all records of inodes.
func (f *forger) remove(inodes ...uint64) {
	for _, ino := range inodes {
		for _, key := range owned(f.now, ino) {
			f.changes.Remove(key)
		}
	}
}

// kindName is how the campaign calls a kind.
func kindName(kind record.Kind) string { return strings.ReplaceAll(kind.String(), " ", "-") }
