package record_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// recordVectors were made from FORMAT.md alone, by code that is not ours, and
// are frozen with version 1 of the format.
const recordVectors = "../../testdata/format/records_v1.json"

type vectors struct {
	Plain     map[string]string
	NameHash  string `json:"name_hash"`
	Cookie    uint64
	EntryKey  string `json:"entry_key"`
	EntrySet  string `json:"entry_set"`
	InodeSet  string `json:"inode_set"`
	BucketSet string `json:"bucket_set"`
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	b, err := os.ReadFile(recordVectors)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFrozenRecords: what version 1 wrote decodes for ever, and is what is
// written now.
func TestFrozenRecords(t *testing.T) {
	v := loadVectors(t)
	seen := map[string]bool{}
	for _, s := range samples() {
		want, ok := v.Plain[s.codec+"/"+s.name]
		if !ok {
			continue
		}
		seen[s.codec+"/"+s.name] = true
		b := unhex(t, want)
		if !bytes.Equal(s.plain, b) {
			t.Errorf("%s/%s is\n%x\nwant\n%x", s.codec, s.name, s.plain, b)
		}
		if again, err := codecOf(t, s.codec).recode(b); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s/%s decodes with %v, and is then encoded as\n%x", s.codec, s.name, err, again)
		}
	}
	for name := range v.Plain {
		if !seen[name] {
			t.Errorf("no sample is the vector %s", name)
		}
	}
	for _, c := range codecs() {
		if !seen[c.name+"/"+c.name] && c.name != "inode" && c.name != "orphan" {
			t.Errorf("no vector of %s", c.name)
		}
	}
}

func TestFrozenHashes(t *testing.T) {
	v, keys := loadVectors(t), exampleKeys(t)
	hash := record.NameHash(crypto.NewNameHasher(keys.Names).Hash(2, []byte("report.txt")))
	if hash != record.NameHash(unhex(t, v.NameHash)) || hash.Cookie() != v.Cookie {
		t.Errorf("name hash %x, cookie %d, want %s and %d", hash, hash.Cookie(), v.NameHash, v.Cookie)
	}
	if k := record.EntryKey(2, hash); !bytes.Equal(k, unhex(t, v.EntryKey)) {
		t.Errorf("entry key %x, want %s", k, v.EntryKey)
	}
	hasher := crypto.NewSetHasher(keys.SetHash)
	for _, s := range []struct {
		name     string
		domain   byte
		elements [][]byte
		want     string
	}{
		{"entries", record.EntrySet, [][]byte{record.EntryElement(2, hash, *sampleEntry())}, v.EntrySet},
		{"inodes", record.InodeSet, [][]byte{record.VersionElement(16, 0x1234), record.VersionElement(17, 9)}, v.InodeSet},
		{"buckets", record.BucketSet, [][]byte{record.VersionElement(0, 1), record.VersionElement(2, 0x1234)}, v.BucketSet},
	} {
		var set crypto.SetHash
		for _, e := range s.elements {
			hasher.Add(&set, s.domain, e)
		}
		if set != crypto.SetHash(unhex(t, s.want)) {
			t.Errorf("set hash of %s is %x, want %s", s.name, set, s.want)
		}
	}
}

// TestEntryElement: everything that an entry says but its version counts.
func TestEntryElement(t *testing.T) {
	base, hash := *sampleEntry(), record.NameHash{1, 2, 3}
	same := base
	same.Version++
	if !bytes.Equal(record.EntryElement(2, hash, base), record.EntryElement(2, hash, same)) {
		t.Error("the version changes the element")
	}
	inode, typ := base, base
	inode.Inode++
	typ.Type = record.TypeDir
	for name, other := range map[string][]byte{
		"inode": record.EntryElement(2, hash, inode), "type": record.EntryElement(2, hash, typ),
		"directory": record.EntryElement(3, hash, base), "name": record.EntryElement(2, record.NameHash{1, 2, 4}, base),
	} {
		if bytes.Equal(record.EntryElement(2, hash, base), other) {
			t.Errorf("another %s gives the same element", name)
		}
	}
}
