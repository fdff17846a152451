package record_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"ssefs/fs/record"
)

// sampleKey is a key and what it says.
type sampleKey struct {
	bytes []byte
	key   record.Key
}

func sampleKeys() []sampleKey {
	h := record.NameHash{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	return []sampleKey{
		{record.HeadKey(), record.Key{Kind: record.KindHead}},
		{record.SettingsKey(), record.Key{Kind: record.KindSettings}},
		{record.BucketKey(7), record.Key{Kind: record.KindBucket, ID: 7}},
		{record.InodeKey(8), record.Key{Kind: record.KindInode, ID: 8}},
		{record.EntryKey(9, h), record.Key{Kind: record.KindEntry, ID: 9, Hash: h}},
		{record.MapKey(10, 3, 11), record.Key{Kind: record.KindMap, ID: 10, Level: 3, Sub: 11}},
		{record.XattrKey(12), record.Key{Kind: record.KindXattr, ID: 12}},
		{record.PackKey(13, 14), record.Key{Kind: record.KindPack, ID: 13, Sub: 14}},
		{record.DataKey(15, 16), record.Key{Kind: record.KindData, ID: 15, Sub: 16}},
		{record.PendingKey(17), record.Key{Kind: record.KindPending, ID: 17}},
		{record.OrphanKey(1<<64 - 1), record.Key{Kind: record.KindOrphan, ID: 1<<64 - 1}},
	}
}

// buildKey is the inverse of ParseKey.
func buildKey(t testing.TB, k record.Key) []byte {
	t.Helper()
	switch k.Kind {
	case record.KindHead:
		return record.HeadKey()
	case record.KindSettings:
		return record.SettingsKey()
	case record.KindBucket:
		return record.BucketKey(k.ID)
	case record.KindInode:
		return record.InodeKey(k.ID)
	case record.KindEntry:
		return record.EntryKey(k.ID, k.Hash)
	case record.KindMap:
		return record.MapKey(k.ID, k.Level, k.Sub)
	case record.KindXattr:
		return record.XattrKey(k.ID)
	case record.KindPack:
		return record.PackKey(k.ID, k.Sub)
	case record.KindData:
		return record.DataKey(k.ID, k.Sub)
	case record.KindPending:
		return record.PendingKey(k.ID)
	case record.KindOrphan:
		return record.OrphanKey(k.ID)
	}
	t.Fatalf("key of unknown kind %d", k.Kind)
	return nil
}

func TestKeys(t *testing.T) {
	seen := map[record.Kind]bool{}
	for _, s := range sampleKeys() {
		got, err := record.ParseKey(s.bytes)
		if err != nil || got != s.key {
			t.Errorf("%x: %+v, %v, want %+v", s.bytes, got, err, s.key)
		}
		if got.Kind.String() == "unknown" {
			t.Errorf("kind %c has no name", got.Kind)
		}
		seen[got.Kind] = true
		for n := range s.bytes {
			if _, err := record.ParseKey(s.bytes[:n]); !errors.Is(err, record.ErrFormat) {
				t.Errorf("%x: %d bytes of it: %v, want ErrFormat", s.bytes, n, err)
			}
		}
		if _, err := record.ParseKey(append(bytes.Clone(s.bytes), 0)); !errors.Is(err, record.ErrFormat) {
			t.Errorf("%x: with a byte more: %v, want ErrFormat", s.bytes, err)
		}
	}
	// Every first byte and length that is not a key's is refused.
	long := make([]byte, 30)
	for kind := range 256 {
		long[0] = byte(kind)
		for n := 1; n < len(long); n++ {
			_, err := record.ParseKey(long[:n])
			if err == nil != (seen[record.Kind(kind)] && n == len(buildKey(t, record.Key{Kind: record.Kind(kind)}))) {
				t.Errorf("kind %#x in %d bytes: %v", kind, n, err)
			}
		}
	}
}

func TestUnknownKindHasNoName(t *testing.T) {
	if s := record.Kind(0).String(); s != "unknown" {
		t.Error(s)
	}
}

func TestKeyRoundTrip(t *testing.T) {
	kinds := []record.Kind{}
	for _, s := range sampleKeys() {
		kinds = append(kinds, s.key.Kind)
	}
	rapid.Check(t, func(rt *rapid.T) {
		k := record.Key{Kind: rapid.SampledFrom(kinds).Draw(rt, "kind")}
		if k.Kind != record.KindHead && k.Kind != record.KindSettings {
			k.ID = rapid.Uint64().Draw(rt, "id")
		}
		switch k.Kind {
		case record.KindMap:
			k.Level, k.Sub = rapid.Uint8().Draw(rt, "level"), rapid.Uint64().Draw(rt, "index")
		case record.KindPack, record.KindData:
			k.Sub = rapid.Uint64().Draw(rt, "record")
		case record.KindEntry:
			k.Hash = drawHash(rt, "hash")
		}
		if got, err := record.ParseKey(buildKey(t, k)); err != nil || got != k {
			rt.Fatalf("%+v came back as %+v, %v", k, got, err)
		}
	})
}

// TestKeyOrder: the order of keys is that of the numbers in them, and all that
// belongs to an inode, bucket or directory lies together.
func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := drawID(rt, "a"), drawID(rt, "b")
		c, d := drawID(rt, "c"), drawID(rt, "d")
		for name, pair := range map[string][2][]byte{
			"bucket":  {record.BucketKey(a), record.BucketKey(b)},
			"inode":   {record.InodeKey(a), record.InodeKey(b)},
			"pending": {record.PendingKey(a), record.PendingKey(b)},
			"orphan":  {record.OrphanKey(a), record.OrphanKey(b)},
			"data":    {record.DataKey(a, c), record.DataKey(b, d)},
			"pack":    {record.PackKey(a, c), record.PackKey(b, d)},
			"map":     {record.MapKey(a, 1, c), record.MapKey(b, 1, d)},
		} {
			want := compare(a, b)
			if len(pair[0]) > 9 && want == 0 {
				want = compare(c, d)
			}
			if got := bytes.Compare(pair[0], pair[1]); got != want {
				rt.Fatalf("%s keys of %d/%d and %d/%d compare as %d", name, a, c, b, d, got)
			}
		}
		for _, k := range [][]byte{record.DataKey(a, c), record.MapKey(a, 2, c), record.EntryKey(a, record.NameHash{})} {
			p := record.Prefix(record.Kind(k[0]), a)
			if !bytes.HasPrefix(k, p) || bytes.HasPrefix(k, record.Prefix(record.Kind(k[0]), b)) != (a == b) {
				rt.Fatalf("prefixes of %d and %d and the key %x", a, b, k)
			}
		}
	})
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func drawID(t *rapid.T, name string) uint64 {
	return rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64()).Draw(t, name)
}

// drawHash draws hashes of which many are close to one another or to an end.
func drawHash(t *rapid.T, name string) record.NameHash {
	b := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 16, 16),
		rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0xfe, 0xff}), 16, 16),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 9, 9), func(b []byte) []byte { return slices.Concat(make([]byte, 7), b) }),
		rapid.Map(rapid.ByteRange(0, 12), func(b byte) []byte { return slices.Concat(make([]byte, 7), []byte{b}, make([]byte, 8)) }),
	).Draw(t, name)
	return record.NameHash(b)
}

func TestCookies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawHash(t, "a"), drawHash(t, "b")
		if c := a.Cookie(); c < 3 || c > 1<<63-1 {
			t.Fatalf("cookie of %x is %d", a, c)
		}
		if bytes.Compare(a[:], b[:]) < 0 && a.Cookie() > b.Cookie() {
			t.Fatalf("cookies of %x and %x are out of order", a, b)
		}
	})
}

// TestHashAfter: from HashAfter(cookie) on lie exactly the entries whose cookie
// is greater.
func TestHashAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawHash(t, "hash")
		cookie := rapid.OneOf(
			rapid.Just(g.Cookie()), rapid.Just(g.Cookie()-1), rapid.Just(g.Cookie()+1),
			rapid.Uint64Range(0, 10), rapid.Uint64Range(1<<63-4, 1<<63+4), rapid.Uint64(),
		).Draw(t, "cookie")
		from, ok := record.HashAfter(cookie)
		switch later := g.Cookie() > cookie; {
		case !ok && later:
			t.Fatalf("nothing after cookie %d, but %x has %d", cookie, g, g.Cookie())
		case ok && later != (bytes.Compare(g[:], from[:]) >= 0):
			t.Fatalf("after cookie %d comes %x, but %x has cookie %d", cookie, from, g, g.Cookie())
		case ok && from.Cookie() <= cookie:
			t.Fatalf("hash %x after cookie %d has cookie %d", from, cookie, from.Cookie())
		case !ok && cookie < 1<<63-1:
			t.Fatalf("no hash after cookie %d", cookie)
		}
	})
}

func TestCookieOfCollidingHashes(t *testing.T) {
	a := record.NameHash{0x40, 0, 0, 0, 0, 0, 0, 2, 1}
	b := record.NameHash{0x40, 0, 0, 0, 0, 0, 0, 3, 0}
	if a.Cookie() != b.Cookie() {
		t.Errorf("cookies %d and %d of hashes that agree in 63 bits", a.Cookie(), b.Cookie())
	}
	for _, low := range []byte{0, 1, 2, 5, 6, 7} {
		if c := (record.NameHash{7: low}).Cookie(); c != 3 {
			t.Errorf("cookie of a hash with first half %d is %d, want 3", low, c)
		}
	}
	if c := (record.NameHash{7: 8}).Cookie(); c != 4 {
		t.Errorf("cookie %d, want 4", c)
	}
}
