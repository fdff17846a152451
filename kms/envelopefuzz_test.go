package kms

import (
	"bytes"
	"testing"

	"ssefs/crypto"
)

// FuzzOpenEnvelope: the wrapped keys of an envelope that somebody made up do not open, through a bucket key or without.
func FuzzOpenEnvelope(f *testing.F) {
	st := newStore(f)
	s := st.create(f)
	f.Cleanup(s.Close)
	key := createKey(f, s, root, CreateOptions{}).ID
	fc := st.file(7)
	var envelopes []crypto.Envelope
	for _, via := range []Wrapping{ByBucketKey, Direct} {
		dek, e, err := s.NewDataKeyVia(ctx, via, crypto.Policy{Algorithm: crypto.AlgorithmKMS, Key: key}, fc, Drive())
		if err != nil {
			f.Fatal(err)
		}
		dek.Wipe()
		envelopes = append(envelopes, e)
		f.Add(e.Wrapped)
		f.Add(e.Wrapped[:len(e.Wrapped)/2])
	}
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, wrapped []byte) {
		for _, e := range envelopes {
			same := bytes.Equal(wrapped, e.Wrapped)
			e.Wrapped = wrapped
			dek, err := s.OpenEnvelope(ctx, e, fc, Drive())
			if (err == nil) != same {
				t.Errorf("%x: %v", wrapped, err)
			}
			if err == nil {
				dek.Wipe()
			}
		}
	})
}
