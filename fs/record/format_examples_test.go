package record_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// headerVectors are the vectors of the crypto package, made by code that is not
// ours. The example of volume.json is theirs.
const headerVectors = "../../crypto/testdata/vectors_v1.json"

// exampleRoot and exampleVolume are those of the vectors, too.
func exampleVolume() (id crypto.VolumeID) {
	copy(id[:], counting(16, 1))
	return id
}

func exampleRoot(t *testing.T) *crypto.Key { return exampleKey(t, 2) }

// exampleKey is the key of the bytes start, start+7, start+14...
func exampleKey(t *testing.T, start byte) *crypto.Key {
	t.Helper()
	k, err := crypto.KeyFromBytes(counting(crypto.KeySize, start))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}

func counting(n int, start byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = start + 7*byte(i)
	}
	return b
}

func exampleKeys(t *testing.T) *crypto.VolumeKeys {
	t.Helper()
	keys, err := crypto.DeriveVolumeKeys(exampleRoot(t), exampleVolume())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Wipe)
	return keys
}

func exampleContext() crypto.FileContext {
	return crypto.FileContext{Volume: exampleVolume(), Bucket: 2, Inode: 16}
}

// examples are all the worked examples of FORMAT.md.
func examples() []example {
	e := []example{
		fixed("header", headerExample),
		fixed("derived-keys", derivedKeysExample),
		fixed("keys", keysExample),
		{"sealed-record", sealedRecordExample},
		fixed("name-hash", nameHashExample),
		fixed("set-elements", setElementsExample),
		fixed("envelope", envelopeExample),
		fixed("blocks", blocksExample),
	}
	return append(e, recordExamples()...)
}

// recordExamples are the plaintexts of the metadata records.
func recordExamples() []example {
	inodes := sampleInodes()
	inode := func(name string, rest ...field) example {
		mode := inodes[name].Mode
		common := []field{
			{1, "bucket 2"}, {1, "no flags"}, {len(binary.AppendUvarint(nil, uint64(mode))), fmt.Sprintf("mode %#o (octal)", mode)}, {2, "uid 1000"}, {1, "gid 100"}, {1, "link count"},
			{5, "atime 1700000000 s"}, {1, "  1 ns"}, {5, "mtime 1700000001 s"}, {5, "  999999999 ns"},
			{5, "ctime 1700000002 s"}, {1, "  0 ns"}, {1, "btime -1 s"}, {1, "  5 ns"}, {1, "no xattr record"},
		}
		return plain("inode-"+strings.ReplaceAll(name, " ", "-"), inodes[name].Append(nil), "0x1234", append(common, rest...)...)
	}
	leafFields := []field{
		{1, "2 data records"},
		{1, "data record 21"}, {20, "  salt"}, {2, "  200 blocks, not shared: 200<<1"},
		{2, "data record 290"}, {20, "  salt"}, {1, "  4 blocks, shared: 4<<1|1"},
		{1, "4 runs"},
		{1, "from block 0 of the leaf"}, {1, "  3 blocks"}, {1, "  in the first record"}, {1, "  from its block 0"},
		{1, "from block 3: 0 after the run before"}, {1, "  1 block"}, {1, "  in the second record"}, {1, "  from its block 0"},
		{1, "from block 4"}, {2, "  196 blocks"}, {1, "  in the first record"}, {1, "  from its block 4"},
		{1, "from block 255: 55 after the run before"}, {1, "  1 block"}, {1, "  in the second record"}, {1, "  from its block 1"},
	}
	refFields := []field{
		{1, "3 children"},
		{1, "child 0"}, {2, "  version 0x1200"}, {2, "  256 blocks"},
		{1, "child 1: 1 after the one before"}, {2, "  version 0x1234"}, {1, "  1 block"},
		{2, "child 300: 299 after the one before"}, {1, "  version 9"}, {2, "  200 blocks"},
	}
	return []example{
		plain("head", sampleHead().Append(nil), "0x1234",
			field{16, "lineage"}, field{2, "epoch of version 0x1234"},
			field{1, "next inode number 17"}, field{2, "next record number 300"}, field{1, "12 inodes"}, field{3, "70000 blocks"},
			field{1, "keystore generation 3"}, field{1, "header generation 2"}, field{1, "settings of version 1"}, field{32, "set hash of the buckets"}),
		plain("settings", sampleSettings().Append(nil), "1",
			field{1, "6 bytes"}, field{6, `default policy "AES256"`}, field{1, "5 bytes"}, field{5, `region "local"`}),
		plain("bucket", sampleBucket().Append(nil), "0x1234",
			field{1, "no flags"}, field{1, "5 inodes"}, field{2, "457 blocks"}, field{32, "set hash of the inodes"}, field{1, "17 bytes"}, field{17, `policy "KMS:alias/acs/oss"`}),
		inode("directory", field{1, "parent 1"}, field{1, "4 entries"}, field{1, "1 of them directories"}, field{32, "set hash of the entries"}),
		inode("link", field{1, "8 bytes"}, field{8, `target "../other"`}),
		inode("device", field{2, "device number 0x0103"}),
		inode("small file", field{2, "size 5000"}, field{1, "2 blocks"}, field{1, "11 bytes"}, field{11, "envelope (here a stand-in)"},
			field{1, "map of height 0"}, field{1, "1 leaf"}, field{1, "leaf 0"},
			field{1, "1 data record"}, field{1, "data record 40"}, field{20, "  salt"}, field{1, "  2 blocks, not shared: 2<<1"},
			field{1, "1 run"}, field{1, "from block 0 of the leaf"}, field{1, "  2 blocks"}, field{1, "  in the first record"}, field{1, "  from its block 0"}),
		inode("large file", append([]field{{6, "size 1 TiB"}, {2, "457 blocks"}, {1, "11 bytes"}, {11, "envelope (here a stand-in)"}, {1, "map of height 1"}}, refFields...)...),
		plain("entry", sampleEntry().Append(nil), "0x1233",
			field{1, "inode 16"}, field{1, "type 8: regular file"}, field{1, "10 bytes"}, field{10, `name "report.txt"`}),
		plain("xattrs", record.AppendXattrs(nil, 9, sampleXattrs()), "9",
			field{1, "3 attributes"},
			field{1, "19 bytes"}, field{19, `name "security.capability"`}, field{1, "3 bytes"}, field{3, "value"},
			field{1, "10 bytes"}, field{10, `name "user.empty"`}, field{1, "no value"},
			field{1, "9 bytes"}, field{9, `name "user.note"`}, field{1, "2 bytes"}, field{2, `value "hi"`}),
		plain("leaf", record.AppendLeaf(nil, 9, sampleLeaf()), "9", leafFields...),
		plain("node", record.AppendNode(nil, 9, sampleRefs()), "9", refFields...),
		plain("pack", samplePack().Append(nil), "0x1200",
			field{1, "2 live blocks"}, field{1, "of 4 blocks"}, field{1, "logical block 3"}, field{2, "255: 252 after the one before"},
			field{1, "256: 1 after the one before"}, field{3, "70000: 69744 after the one before"}),
		plain("pending", samplePending().Append(nil), "0x1230",
			field{1, "2 data records"}, field{1, "inode 16"}, field{2, "  record 298"}, field{1, "inode 16"}, field{2, "  record 299"}),
		plain("orphan-whole", (&record.Orphan{Version: 78}).Append(nil), "78", field{1, "the whole inode"}),
		plain("orphan-sweep", (&record.Orphan{Version: 77, Below: 300}).Append(nil), "77", field{2, "data records below 300 that the map does not name"}),
	}
}

func headerExample(t *testing.T) string {
	b, err := os.ReadFile(headerVectors)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Header  string
		KeyFile string `json:"key_file"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	h, err := crypto.ParseHeader([]byte(v.Header))
	if err != nil {
		t.Fatal(err)
	}
	keyFile, err := hex.DecodeString(v.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	root, _, err := h.Unlock(crypto.KeyFileSecret(keyFile))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Wipe()
	if !root.Equal(exampleRoot(t)) || h.Volume() != exampleVolume() {
		t.Fatal("the header is of another volume than the other examples")
	}
	return v.Header
}

func derivedKeysExample(t *testing.T) string {
	keys := exampleKeys(t)
	var out strings.Builder
	fmt.Fprintf(&out, "%-20s  %x\n", "volume ID", counting(16, 1))
	for _, k := range []struct {
		name string
		key  *crypto.Key
	}{
		{"root key", exampleRoot(t)},
		{"ssefs v1 metadata", keys.Metadata}, {"ssefs v1 names", keys.Names}, {"ssefs v1 set hash", keys.SetHash},
		{"ssefs v1 keystore", keys.Keystore}, {"ssefs v1 header", keys.Header}, {"ssefs v1 backup", keys.Backup},
	} {
		fmt.Fprintf(&out, "%-20s  %x\n", k.name, k.key.Bytes())
	}
	return out.String()
}

func keysExample(t *testing.T) string {
	hash := record.NameHash(crypto.NewNameHasher(exampleKeys(t).Names).Hash(2, []byte("report.txt")))
	var out strings.Builder
	for _, k := range []struct {
		what string
		key  []byte
	}{
		{"head", record.HeadKey()}, {"settings", record.SettingsKey()}, {"bucket 2", record.BucketKey(2)}, {"inode 16", record.InodeKey(16)},
		{`entry "report.txt" of directory 2`, record.EntryKey(2, hash)}, {"map node of inode 16, level 1, index 3", record.MapKey(16, 1, 3)},
		{"xattrs of inode 16", record.XattrKey(16)}, {"pack 290 of inode 16", record.PackKey(16, 290)},
		{"data record 290 of inode 16", record.DataKey(16, 290)}, {"pending record 301", record.PendingKey(301)}, {"orphan inode 16", record.OrphanKey(16)},
	} {
		fmt.Fprintf(&out, "%-50x  %s\n", k.key, k.what)
	}
	return out.String()
}

func sealedRecordExample(t *testing.T, old string) string {
	sealer, err := crypto.NewRecordSealer(exampleKeys(t).Metadata, exampleVolume())
	if err != nil {
		t.Fatal(err)
	}
	key, want := record.OrphanKey(16), (&record.Orphan{Version: 78}).Append(nil)
	return opening("sealed-record", want,
		func(b []byte) ([]byte, error) { return sealer.Open(nil, key, b) },
		func() []byte { return sealer.Seal(nil, key, want) },
		field{24, "nonce"}, field{len(want), "ciphertext, as long as the plaintext"}, field{16, "tag"}).text(t, old)
}

func nameHashExample(t *testing.T) string {
	hash := record.NameHash(crypto.NewNameHasher(exampleKeys(t).Names).Hash(2, []byte("report.txt")))
	return fmt.Sprintf("%-20s  %x\n%-20s  %x\n%-20s  %d\n",
		"hashed", append(binary.BigEndian.AppendUint64(nil, 2), "report.txt"...), "name hash", hash, "cookie", hash.Cookie())
}

func setElementsExample(t *testing.T) string {
	hasher := crypto.NewSetHasher(exampleKeys(t).SetHash)
	hash := record.NameHash(crypto.NewNameHasher(exampleKeys(t).Names).Hash(2, []byte("report.txt")))
	entry := record.EntryElement(2, hash, *sampleEntry())
	var out strings.Builder
	for _, s := range []struct {
		what   string
		domain byte
		parts  [][]byte
	}{
		{"entries: report.txt in directory 2", record.EntrySet, [][]byte{entry}},
		{"inodes: 16 of version 0x1234", record.InodeSet, [][]byte{record.VersionElement(16, 0x1234)}},
		{"buckets: 2 of version 0x1234", record.BucketSet, [][]byte{record.VersionElement(2, 0x1234)}},
		{"buckets: 0 of version 1 and 2 of version 0x1234", record.BucketSet, [][]byte{record.VersionElement(0, 1), record.VersionElement(2, 0x1234)}},
	} {
		var set crypto.SetHash
		fmt.Fprintf(&out, "%s\n", s.what)
		for _, p := range s.parts {
			hasher.Add(&set, s.domain, p)
			fmt.Fprintf(&out, "  domain || element  %x\n", append([]byte{s.domain}, p...))
		}
		fmt.Fprintf(&out, "  set hash           %x\n", set)
	}
	return out.String()
}

func envelopeExample(t *testing.T) string {
	e := crypto.Envelope{
		Algorithm: crypto.AlgorithmKMS, KeyID: "0f8fad5b-d9cb-469f-a165-70867728950e", KeyVersion: 9,
		Wrapped: counting(crypto.WrappedKeySize, 9),
	}
	copy(e.BucketKey[:], counting(16, 7))
	out := annotated(t, e.Marshal(), field{1, "version"}, field{1, "algorithm: KMS"}, field{1, "36 bytes"}, field{36, "key ID, in ASCII"}, field{4, "key version 9"},
		field{16, "bucket key"}, field{2, "72 bytes"}, field{72, "wrapped data key (here a stand-in)"})
	aad := e.AAD(exampleContext())
	return out + "\nassociated data for wrapping, in the file of bucket 2 and inode 16:\n" +
		annotated(t, aad, field{8, "label ssefsev1"}, field{16, "volume ID"}, field{8, "bucket"}, field{8, "inode"}, field{1, "algorithm"}, field{4, "key version"},
			field{16, "bucket key"}, field{36, "key ID"})
}

func blocksExample(t *testing.T) string {
	var out strings.Builder
	for _, m := range []struct {
		name string
		mode crypto.ContentMode
	}{{"encrypted (AES256, KMS)", crypto.Encrypted}, {"clear (none)", crypto.Clear}} {
		c, err := crypto.NewFileCipher(exampleKey(t, 3), m.mode, exampleContext())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Wipe()
		r, err := c.Record(crypto.Salt(salt(4)))
		if err != nil {
			t.Fatal(err)
		}
		sealed := r.SealBlock(nil, 1, 7, []byte("hello"))
		if m.mode == crypto.Clear && !bytes.HasPrefix(sealed, []byte("hello")) {
			t.Fatal("clear contents are not clear")
		}
		fmt.Fprintf(&out, "%s\n%s", m.name, annotated(t, sealed, field{5, "contents"}, field{16, "tag"}))
	}
	return fmt.Sprintf("data key              %x\nnonce                 %x%08x\n", counting(32, 3), salt(4), 1) + out.String()
}
