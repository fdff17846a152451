package crypto

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// hexBytes is bytes in hexadecimal JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// vectors is testdata/vectors_v1.json, made by testdata/vectors.py: other code, on other libraries.
type vectors struct {
	Volume, Root hexBytes
	Keys         map[string]hexBytes

	DEK           hexBytes
	Bucket, Inode uint64
	RecordKey     hexBytes `json:"record_key"`
	Record        string
	SealedRecord  hexBytes `json:"sealed_record"`

	Salt   hexBytes
	Blocks []struct {
		Index            uint32
		Logical          uint64
		Length           int
		Encrypted, Clear hexBytes // the last 32 bytes; the tag
	}

	NameParent  uint64 `json:"name_parent"`
	Name        string
	NameHash    hexBytes   `json:"name_hash"`
	SetDomain   byte       `json:"set_domain"`
	SetElements []hexBytes `json:"set_elements"`
	SetHash     hexBytes   `json:"set_hash"`

	KEK         hexBytes
	KeyID       string   `json:"key_id"`
	KeyVersion  uint32   `json:"key_version"`
	BucketKey   hexBytes `json:"bucket_key"`
	Wrapped     hexBytes
	EnvelopeAAD hexBytes `json:"envelope_aad"`
	Envelope    hexBytes

	BackupStatement hexBytes `json:"backup_statement"`
	BackupTag       hexBytes `json:"backup_tag"`

	Passphrase string
	KeyFile    hexBytes `json:"key_file"`
	Header     string
}

func key(t *testing.T, b []byte) *Key {
	t.Helper()
	k, err := KeyFromBytes(bytes.Clone(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Wipe)
	return k
}

// pattern is the test contents of vectors.py.
func pattern(n, start int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(start + 7*i)
	}
	return b
}

// TestFormatVectors freezes format version 1: what is on disk must open for ever.
func TestFormatVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/vectors_v1.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	id := VolumeID(v.Volume)
	root := key(t, v.Root)
	keys, err := DeriveVolumeKeys(root, id)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Wipe()
	for name, k := range map[string]*Key{
		"metadata": keys.Metadata, "names": keys.Names, "set hash": keys.SetHash, "keystore": keys.Keystore, "header": keys.Header,
		"backup": keys.Backup,
	} {
		if !bytes.Equal(k.Bytes(), v.Keys[name]) {
			t.Errorf("%s key is %x, want %x", name, k.Bytes(), v.Keys[name])
		}
	}
	t.Run("record", func(t *testing.T) {
		out, err := testSealer(t, keys.Metadata, id).Open(nil, v.RecordKey, v.SealedRecord)
		if err != nil || string(out) != v.Record {
			t.Errorf("%q: %v", out, err)
		}
	})
	t.Run("hashes", func(t *testing.T) {
		if h := NewNameHasher(keys.Names).Hash(v.NameParent, []byte(v.Name)); !bytes.Equal(h[:], v.NameHash) {
			t.Errorf("name hash is %x", h)
		}
		var s SetHash
		for _, e := range v.SetElements {
			NewSetHasher(keys.SetHash).Add(&s, v.SetDomain, e)
		}
		if !bytes.Equal(s[:], v.SetHash) || len(v.SetElements) == 0 {
			t.Errorf("set hash is %x", s)
		}
	})
	t.Run("backup", func(t *testing.T) {
		if tag, err := TagBackup(keys.Backup, v.BackupStatement); err != nil || !bytes.Equal(tag[:], v.BackupTag) {
			t.Errorf("tag is %x: %v", tag, err)
		}
	})
	fc := FileContext{Volume: id, Bucket: v.Bucket, Inode: v.Inode}
	t.Run("blocks", func(t *testing.T) { v.checkBlocks(t, fc) })
	t.Run("envelope", func(t *testing.T) { v.checkEnvelope(t, fc) })
	t.Run("header", func(t *testing.T) {
		h := parse(t, []byte(v.Header))
		for slot, secret := range map[int]Secret{1: passphrase(v.Passphrase), 4: KeyFileSecret(v.KeyFile)} {
			got, id, err := h.Unlock(secret)
			if err != nil || id != slot || !got.Equal(root) {
				t.Errorf("slot %d, want %d: %v", id, slot, err)
			}
			got.Wipe()
		}
		if out, err := h.Marshal(keys); err != nil || string(out) != v.Header {
			t.Errorf("encoded as %s: %v", out, err)
		}
	})
}

func (v *vectors) checkBlocks(t *testing.T, fc FileContext) {
	if len(v.Blocks) == 0 {
		t.Fatal("no blocks")
	}
	encrypted := testRecord(t, testFileCipher(t, key(t, v.DEK), Encrypted, fc), Salt(v.Salt))
	inClear := testRecord(t, testFileCipher(t, key(t, v.DEK), Clear, fc), Salt(v.Salt))
	for _, b := range v.Blocks {
		contents := pattern(b.Length, int(b.Index))
		if out := encrypted.SealBlock(nil, b.Index, b.Logical, contents); !bytes.Equal(out[len(out)-32:], b.Encrypted) {
			t.Errorf("block %d ends in %x, want %x", b.Index, out[len(out)-32:], b.Encrypted)
		}
		want := append(bytes.Clone(contents), b.Clear...)
		if out := inClear.SealBlock(nil, b.Index, b.Logical, contents); !bytes.Equal(out, want) {
			t.Errorf("clear block %d ends in %x, want %x", b.Index, out[len(out)-16:], b.Clear)
		}
	}
}

func (v *vectors) checkEnvelope(t *testing.T, fc FileContext) {
	e, err := ParseEnvelope(v.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	want := Envelope{AlgorithmKMS, v.KeyID, v.KeyVersion, [16]byte(v.BucketKey), v.Wrapped}
	if !sameEnvelope(e, want) || !bytes.Equal(want.Marshal(), v.Envelope) {
		t.Errorf("envelope is %+v, want %+v", e, want)
	}
	if !bytes.Equal(e.AAD(fc), v.EnvelopeAAD) {
		t.Errorf("associated data is %x", e.AAD(fc))
	}
	dek, err := testAEAD(t, key(t, v.KEK)).UnwrapKey(e.Wrapped, e.AAD(fc))
	if err != nil || !dek.Equal(key(t, v.DEK)) {
		t.Errorf("unwrapped another key: %v", err)
	}
	dek.Wipe()
}
