package crypto

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzOpenBlock: only what was sealed as that block opens, in both modes.
func FuzzOpenBlock(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(key.Wipe)
	plain := []byte("contents of a block")
	var ciphers []*RecordCipher
	var sealed [][]byte
	for _, mode := range []ContentMode{Encrypted, Clear} {
		c, err := NewFileCipher(key, mode, FileContext{Volume: VolumeID{1}, Bucket: 2, Inode: 3})
		if err != nil {
			f.Fatal(err)
		}
		r, err := c.Record([SaltSize]byte{9})
		if err != nil {
			f.Fatal(err)
		}
		ciphers, sealed = append(ciphers, r), append(sealed, r.SealBlock(nil, 1, 7, plain))
		f.Add(uint32(1), uint64(7), sealed[len(sealed)-1])
		f.Add(uint32(2), uint64(7), sealed[len(sealed)-1])
	}
	f.Fuzz(func(t *testing.T, index uint32, logical uint64, b []byte) {
		for i, r := range ciphers {
			out, err := r.OpenBlock(nil, index, logical, b)
			same := index == 1 && logical == 7 && bytes.Equal(b, sealed[i])
			switch {
			case same && (err != nil || !bytes.Equal(out, plain)):
				t.Errorf("what was sealed opens to %q, %v", out, err)
			case !same && !errors.Is(err, ErrAuth) && !errors.Is(err, ErrFormat):
				t.Errorf("%x as block %d, %d: %v", b, index, logical, err)
			}
		}
	})
}

// FuzzOpenRecord: likewise for records of metadata.
func FuzzOpenRecord(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(key.Wipe)
	s, err := NewRecordSealer(key, VolumeID{1})
	if err != nil {
		f.Fatal(err)
	}
	place := []byte("I\x00\x00\x00\x00\x00\x00\x00\x07")
	sealed := s.Seal(nil, place, []byte("an inode"))
	f.Add(place, sealed)
	f.Add(append(place, 0), sealed)
	f.Add(place, sealed[:20])
	f.Fuzz(func(t *testing.T, at, b []byte) {
		_, err := s.Open(nil, at, b)
		if same := bytes.Equal(at, place) && bytes.Equal(b, sealed); same != (err == nil) {
			t.Errorf("%x at %q: %v", b, at, err)
		} else if err != nil && !errors.Is(err, ErrAuth) {
			t.Error(err)
		}
	})
}
