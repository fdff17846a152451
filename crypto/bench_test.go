package crypto

import (
	"fmt"
	"testing"
)

func BenchmarkBlock(b *testing.B) {
	for name, mode := range map[string]ContentMode{"encrypted": Encrypted, "clear": Clear} {
		c, err := NewFileCipher(testKey(b, 1), mode, FileContext{Inode: 1})
		if err != nil {
			b.Fatal(err)
		}
		plain := make([]byte, BlockSize)
		dst := make([]byte, 0, MaxRecordBlocks*sealedBlockSize)
		b.Run(name+"/seal", func(b *testing.B) {
			b.SetBytes(BlockSize)
			b.ReportAllocs()
			var r *RecordCipher
			for i := 0; b.Loop(); i++ {
				index := uint32(i % MaxRecordBlocks)
				if index == 0 {
					dst = dst[:0]
					if r, err = c.Record(NewSalt()); err != nil {
						b.Fatal(err)
					}
				}
				dst = r.SealBlock(dst, index, uint64(i), plain)
			}
		})
		r, err := c.Record(NewSalt())
		if err != nil {
			b.Fatal(err)
		}
		sealed := r.SealBlock(nil, 1, 1, plain)
		b.Run(name+"/open", func(b *testing.B) {
			b.SetBytes(BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.OpenBlock(plain[:0], 1, 1, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRecordCipher(b *testing.B) {
	c, err := NewFileCipher(testKey(b, 1), Encrypted, FileContext{Inode: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		var salts [recordCacheSize]Salt
		for i := range salts {
			salts[i] = NewSalt()
		}
		for i := 0; b.Loop(); i++ {
			if _, err := c.Record(salts[i%len(salts)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		var salt Salt
		for i := 0; b.Loop(); i++ {
			salt[0], salt[1], salt[2] = byte(i), byte(i>>8), byte(i>>16)
			if _, err := c.Record(salt); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("salt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewSalt()
		}
	})
}

func BenchmarkFileCipher(b *testing.B) {
	k := testKey(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewFileCipher(k, Encrypted, FileContext{Inode: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMetadata(b *testing.B) {
	s, err := NewRecordSealer(testKey(b, 1), VolumeID{})
	if err != nil {
		b.Fatal(err)
	}
	key := make([]byte, 17)
	for _, size := range []int{150, 1000} {
		plain := make([]byte, size)
		sealed := s.Seal(nil, key, plain)
		b.Run(fmt.Sprintf("seal/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			dst := make([]byte, 0, len(sealed))
			for b.Loop() {
				s.Seal(dst, key, plain)
			}
		})
		b.Run(fmt.Sprintf("open/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Open(plain[:0], key, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	k := testKey(b, 1)
	b.Run("name", func(b *testing.B) {
		h, name := NewNameHasher(k), []byte("some-file-name.txt")
		b.ReportAllocs()
		for b.Loop() {
			h.Hash(1, name)
		}
	})
	b.Run("set", func(b *testing.B) {
		h, element := NewSetHasher(k), make([]byte, 40)
		var s SetHash
		b.ReportAllocs()
		for b.Loop() {
			h.Add(&s, 1, element)
		}
	})
}

// BenchmarkPassphrase is how long a passphrase takes at default costs.
func BenchmarkPassphrase(b *testing.B) {
	s := slot{kind: SlotPassphrase, params: DefaultArgon2()}
	for b.Loop() {
		k, err := s.key([]byte("passphrase"))
		if err != nil {
			b.Fatal(err)
		}
		k.Wipe()
	}
}
