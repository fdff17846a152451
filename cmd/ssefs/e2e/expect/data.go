package expect

import "math/rand/v2"

// Random returns n bytes that are the same for the same seed and do not compress.
func Random(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	_, _ = rand.NewChaCha8(key).Read(b) // documented never to fail
	return b
}
