package kms

import (
	"testing"

	"ssefs/crypto"
)

func benchPolicies(b *testing.B, fn func(b *testing.B, s *Service, st *store, p crypto.Policy)) {
	for _, p := range []crypto.Policy{{Algorithm: crypto.AlgorithmAES256}, kmsPolicy("")} {
		b.Run(p.String(), func(b *testing.B) {
			st := newStore(b)
			s := st.create(b)
			if err := s.CheckPolicy(p); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			fn(b, s, st, p)
		})
	}
}

func BenchmarkNewDataKey(b *testing.B) {
	benchPolicies(b, func(b *testing.B, s *Service, st *store, p crypto.Policy) {
		for b.Loop() {
			k, _, err := s.NewDataKey(ctx, p, st.file(1), alice)
			if err != nil {
				b.Fatal(err)
			}
			k.Wipe()
		}
	})
}

func BenchmarkOpenEnvelope(b *testing.B) {
	benchPolicies(b, func(b *testing.B, s *Service, st *store, p crypto.Policy) {
		_, e := makeFile(b, s, p, st.file(1), alice)
		for b.Loop() {
			k, err := s.OpenEnvelope(ctx, e, st.file(1), alice)
			if err != nil {
				b.Fatal(err)
			}
			k.Wipe()
		}
	})
}

func BenchmarkAllowed(b *testing.B) {
	benchPolicies(b, func(b *testing.B, s *Service, st *store, p crypto.Policy) {
		_, e := makeFile(b, s, p, st.file(1), alice)
		for b.Loop() {
			if err := s.Allowed(e, st.file(1), OpDecrypt, alice); err != nil {
				b.Fatal(err)
			}
		}
	})
}
