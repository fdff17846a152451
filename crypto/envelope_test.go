package crypto

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func testEnvelopes() []Envelope {
	return []Envelope{
		{Algorithm: AlgorithmNone, Wrapped: []byte{1}},
		{Algorithm: AlgorithmAES256, KeyID: "service", KeyVersion: 7, Wrapped: bytes.Repeat([]byte{2}, WrappedKeySize)},
		{
			Algorithm: AlgorithmKMS, KeyID: "0f8fad5b-d9cb-469f-a165-70867728950e", KeyVersion: 1<<32 - 1,
			BucketKey: [16]byte{1, 15: 9}, Wrapped: bytes.Repeat([]byte{3}, WrappedKeySize),
		},
		{Algorithm: AlgorithmKMS, KeyID: strings.Repeat("~", maxEnvelopeKey), Wrapped: make([]byte, maxWrapped)},
	}
}

func sameEnvelope(a, b Envelope) bool {
	return a.Algorithm == b.Algorithm && a.KeyID == b.KeyID && a.KeyVersion == b.KeyVersion && a.BucketKey == b.BucketKey &&
		bytes.Equal(a.Wrapped, b.Wrapped)
}

func TestEnvelope(t *testing.T) {
	for i, e := range testEnvelopes() {
		b := e.Marshal()
		got, err := ParseEnvelope(b)
		if err != nil || !sameEnvelope(got, e) {
			t.Errorf("envelope %d: %+v, %v", i, got, err)
		}
		clear(b)
		if !sameEnvelope(got, e) {
			t.Errorf("envelope %d shares memory with its encoding", i)
		}
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	b := testEnvelopes()[1].Marshal()
	for n := range b {
		if _, err := ParseEnvelope(b[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("truncated to %d: %v", n, err)
		}
	}
	if _, err := ParseEnvelope(append(bytes.Clone(b), 0)); !errors.Is(err, ErrFormat) {
		t.Errorf("extended: %v", err)
	}
	for what, change := range map[string]func(b []byte){
		"version 0":          func(b []byte) { b[0] = 0 },
		"version 2":          func(b []byte) { b[0] = 2 },
		"algorithm 0":        func(b []byte) { b[1] = 0 },
		"algorithm 4":        func(b []byte) { b[1] = 4 },
		"space in key ID":    func(b []byte) { b[3] = ' ' },
		"NUL in key ID":      func(b []byte) { b[3] = 0 },
		"non-ASCII key ID":   func(b []byte) { b[3] = 0x80 },
		"longer key ID":      func(b []byte) { b[2]++ },
		"shorter key ID":     func(b []byte) { b[2]-- },
		"longer wrapped key": func(b []byte) { b[3+7+4+16+1]++ },
	} {
		changed := bytes.Clone(b)
		change(changed)
		if e, err := ParseEnvelope(changed); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
	for what, e := range map[string]Envelope{
		"no algorithm":    {Wrapped: []byte{1}},
		"no wrapped key":  {Algorithm: AlgorithmKMS},
		"long wrapped":    {Algorithm: AlgorithmKMS, Wrapped: make([]byte, maxWrapped+1)},
		"long key ID":     {Algorithm: AlgorithmKMS, KeyID: strings.Repeat("x", 256), Wrapped: []byte{1}},
		"newline in name": {Algorithm: AlgorithmKMS, KeyID: "x\n", Wrapped: []byte{1}},
	} {
		if err := e.Validate(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
		if !panics(func() { e.Marshal() }) {
			t.Errorf("%s: encoded", what)
		}
	}
}

// TestEnvelopeAAD changes every field and expects other associated data each time.
func TestEnvelopeAAD(t *testing.T) {
	base := Envelope{Algorithm: AlgorithmKMS, KeyID: "key", KeyVersion: 1, Wrapped: []byte{1}}
	fc := FileContext{VolumeID{1}, 2, 3}
	seen := map[string]string{string(base.AAD(fc)): "base"}
	expectNew := func(what string, aad []byte) {
		if other, ok := seen[string(aad)]; ok {
			t.Errorf("%s and %s have the same associated data", what, other)
		}
		seen[string(aad)] = what
	}
	for what, change := range map[string]func(e *Envelope, fc *FileContext){
		"volume":     func(_ *Envelope, fc *FileContext) { fc.Volume[15] = 1 },
		"bucket":     func(_ *Envelope, fc *FileContext) { fc.Bucket = 9 },
		"inode":      func(_ *Envelope, fc *FileContext) { fc.Inode = 9 },
		"algorithm":  func(e *Envelope, _ *FileContext) { e.Algorithm = AlgorithmAES256 },
		"key":        func(e *Envelope, _ *FileContext) { e.KeyID = "kez" },
		"longer key": func(e *Envelope, _ *FileContext) { e.KeyID = "key1" },
		"no key":     func(e *Envelope, _ *FileContext) { e.KeyID = "" },
		"version":    func(e *Envelope, _ *FileContext) { e.KeyVersion = 2 },
		"bucket key": func(e *Envelope, _ *FileContext) { e.BucketKey[15] = 1 },
	} {
		e, c := base, fc
		change(&e, &c)
		expectNew(what, e.AAD(c))
	}
	rewrapped := base
	rewrapped.Wrapped = []byte{2}
	if !bytes.Equal(rewrapped.AAD(fc), base.AAD(fc)) {
		t.Error("associated data depends on the wrapped key, which it exists to make")
	}
}

// FuzzParseEnvelope: what parses encodes to the same bytes.
func FuzzParseEnvelope(f *testing.F) {
	for _, e := range testEnvelopes() {
		f.Add(e.Marshal())
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnvelope(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Error(err)
			}
			return
		}
		if out := e.Marshal(); !bytes.Equal(out, b) {
			t.Errorf("%x became %x", b, out)
		}
	})
}
