package volume

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzParseACL: what parses encodes to the same bytes, and can be changed.
func FuzzParseACL(f *testing.F) {
	entry := func(tag, perm byte, id ...byte) []byte { return append([]byte{tag, 0, perm, 0}, id...) }
	minimal := bytes.Join([][]byte{{2, 0, 0, 0}, entry(1, 6, 255, 255, 255, 255), entry(4, 4, 255, 255, 255, 255), entry(0x20, 4, 255, 255, 255, 255)}, nil)
	f.Add(minimal)
	f.Add(bytes.Join([][]byte{minimal, entry(2, 7, 1, 0, 0, 0), entry(0x10, 7, 255, 255, 255, 255)}, nil))
	f.Add([]byte{2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseACL(b)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
			return
		}
		if out := a.marshal(); !bytes.Equal(out, b) {
			t.Errorf("%x became %x", b, out)
		}
		mode := a.mode()
		a.chmod(mode)
		if a.mode() != mode {
			t.Errorf("%x: mode %o became %o", b, mode, a.mode())
		}
	})
}
