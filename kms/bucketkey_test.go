package kms

import (
	"errors"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
)

// calls sums up the usage counts of a key.
func calls(t testing.TB, s *Service, key string) (uses, calls uint64) {
	t.Helper()
	all, err := s.Usage(ctx, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		if u.KeyID == key {
			uses += u.Uses
			calls += u.Calls
		}
	}
	return uses, calls
}

// TestBucketKeysSaveCalls makes ten thousand files, closes, and opens them all.
func TestBucketKeysSaveCalls(t *testing.T) {
	const files = 10000
	for _, c := range []struct {
		via          Wrapping
		create, open uint64
	}{{ByBucketKey, 1, 1}, {Direct, files, files}} {
		st := newStore(t)
		s := st.create(t)
		id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
		envelopes := make([]crypto.Envelope, files)
		for i := range envelopes {
			k, e, err := s.NewDataKeyVia(ctx, c.via, kmsPolicy(id), st.file(uint64(i)), alice)
			if err != nil {
				t.Fatal(err)
			}
			k.Wipe()
			envelopes[i] = e
		}
		if u, n := calls(t, s, id); u != files || n != c.create {
			t.Errorf("creating: %d uses, %d calls, want %d", u, n, c.create)
		}
		s.Close()
		s = st.open(t)
		for i, e := range envelopes {
			k, err := s.OpenEnvelope(ctx, e, st.file(uint64(i)), alice)
			if err != nil {
				t.Fatal(err)
			}
			k.Wipe()
		}
		if u, n := calls(t, s, id); u != files || n != c.open {
			t.Errorf("opening: %d uses, %d calls, want %d", u, n, c.open)
		}
	}
}

// TestBucketKeysChange checks when a new bucket key is made.
func TestBucketKeysChange(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	other := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	make1 := func(key string, bucket uint64) crypto.Envelope {
		t.Helper()
		_, e := makeFile(t, s, kmsPolicy(key), crypto.FileContext{Volume: st.volume, Bucket: bucket, Inode: 1}, alice)
		return e
	}
	first := make1(id, 7)
	same := make1(id, 7)
	if first.BucketKey != same.BucketKey || first.BucketKey == [16]byte{} {
		t.Errorf("bucket keys %x and %x", first.BucketKey, same.BucketKey)
	}
	seen := map[[16]byte]string{first.BucketKey: "the first"}
	for _, c := range []struct {
		what string
		make func() crypto.Envelope
	}{
		{"another bucket", func() crypto.Envelope { return make1(id, 8) }},
		{"another key", func() crypto.Envelope { return make1(other, 7) }},
		{"another version", func() crypto.Envelope {
			if _, err := s.Rotate(ctx, root, id); err != nil {
				t.Fatal(err)
			}
			return make1(id, 7)
		}},
		{"an hour later", func() crypto.Envelope { st.clock.advance(bucketKeyLife); return make1(id, 7) }},
		{"the clock set back", func() crypto.Envelope { st.clock.advance(-time.Minute); return make1(id, 7) }},
	} {
		e := c.make()
		if was, ok := seen[e.BucketKey]; ok {
			t.Errorf("%s: the bucket key of %s", c.what, was)
		}
		seen[e.BucketKey] = c.what
	}
	dek, err := s.OpenEnvelope(ctx, first, st.file(1), alice)
	if err != nil {
		t.Errorf("file under an old version and bucket key: %v", err)
	}
	dek.Wipe()
}

// TestBucketKeyDoesNotOutliveItsCMK has the bucket key cached while its CMK is
// disabled, deleted, or not granted.
func TestBucketKeyDoesNotOutliveItsCMK(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	dek, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	_, err := s.OpenEnvelope(ctx, e, st.file(1), bob)
	wantErr(t, "no grant", err, ErrDenied)
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "disabled", err, ErrKeyRevoked)
	if n := s.bucketKeys.recent.Len(); n != 0 || len(s.bucketKeys.current) != 0 || len(s.bucketKeys.byID) != 0 {
		t.Errorf("%d bucket keys of a disabled CMK in memory", n)
	}
	if err := s.Enable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	opens(t, s, e, st.file(1), alice, dek)
	s.Close()
	if n := s.bucketKeys.recent.Len(); n != 0 {
		t.Errorf("%d bucket keys in memory after Close", n)
	}
}

// TestBucketKeyEnvelopesAreBound changes every byte of an envelope, with the
// bucket key cached and not.
func TestBucketKeyEnvelopesAreBound(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	dek, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	_, e2 := makeFile(t, s, kmsPolicy(id), crypto.FileContext{Volume: st.volume, Bucket: 8, Inode: 1}, alice)
	check := func(what string, changed crypto.Envelope, fc crypto.FileContext) {
		t.Helper()
		for _, cached := range []bool{true, false} {
			if !cached {
				s.bucketKeys.keep(func(string) bool { return false })
			}
			k, err := s.OpenEnvelope(ctx, changed, fc, alice)
			k.Wipe()
			wantErr(t, what, err, crypto.ErrAuth)
			opens(t, s, e, st.file(1), alice, dek)
		}
	}
	for i := range e.Wrapped {
		c := e
		c.Wrapped = append([]byte(nil), e.Wrapped...)
		c.Wrapped[i] ^= 1
		check("a changed byte", c, st.file(1))
	}
	for n := range len(e.Wrapped) {
		c := e
		c.Wrapped = e.Wrapped[:n]
		check("cut", c, st.file(1))
	}
	c := e
	c.BucketKey = e2.BucketKey
	check("another bucket key's ID", c, st.file(1))
	c.BucketKey = [16]byte{}
	check("no bucket key's ID", c, st.file(1))
	c = e
	c.Wrapped = append(append([]byte(nil), e2.Wrapped[:len(e2.Wrapped)-crypto.WrappedKeySize]...), e.Wrapped[len(e.Wrapped)-crypto.WrappedKeySize:]...)
	check("another bucket key", c, st.file(1))
	check("another bucket", e, crypto.FileContext{Volume: st.volume, Bucket: 8, Inode: 1})
	check("another file", e, st.file(2))
}

func TestBucketKeyCacheIsBounded(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(maxBucketKeys) {
				fc := crypto.FileContext{Volume: st.volume, Bucket: g*maxBucketKeys + i, Inode: 1}
				k, e, err := s.NewDataKey(ctx, kmsPolicy(id), fc, alice)
				if err != nil {
					t.Error(err)
					return
				}
				o, err := s.OpenEnvelope(ctx, e, fc, alice)
				if err != nil || !o.Equal(k) {
					t.Errorf("OpenEnvelope: %v", err)
				}
				k.Wipe()
				o.Wipe()
			}
		})
	}
	wg.Wait()
	b := s.bucketKeys
	// One that was pushed out before its envelope was opened is in memory again, but is not the one to wrap with.
	if b.recent.Len() != maxBucketKeys || len(b.byID) != maxBucketKeys || len(b.current) > maxBucketKeys {
		t.Errorf("%d, %d and %d bucket keys in memory", b.recent.Len(), len(b.byID), len(b.current))
	}
}

func TestRewrap(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	other := createKey(t, s, By{UID: bob.UID}, CreateOptions{}).ID
	fc := st.file(1)
	dek, e := makeFile(t, s, kmsPolicy(id), fc, alice)
	if _, err := s.Rotate(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	e2, err := s.Rewrap(ctx, e, kmsPolicy(id), fc, alice)
	if err != nil || e2.KeyVersion != 2 {
		t.Fatalf("version %d, %v", e2.KeyVersion, err)
	}
	opens(t, s, e, fc, alice, dek)
	opens(t, s, e2, fc, alice, dek)
	e3, err := s.Rewrap(ctx, e2, crypto.Policy{Algorithm: crypto.AlgorithmAES256}, fc, alice)
	if err != nil || e3.Algorithm != crypto.AlgorithmAES256 || e3.KeyID != "" {
		t.Fatalf("%+v, %v", e3, err)
	}
	opens(t, s, e3, fc, Caller{}, dek)
	_, err = s.Rewrap(ctx, e3, kmsPolicy(other), fc, alice)
	wantErr(t, "without generate on the new key", err, ErrDenied)
	_, err = s.Rewrap(ctx, e, kmsPolicy(other), fc, bob)
	wantErr(t, "without decrypt on the old key", err, ErrDenied)
	_, err = s.Rewrap(ctx, e, kmsPolicy(other), st.file(2), Drive())
	wantErr(t, "another file", err, crypto.ErrAuth)
	_, err = s.Rewrap(ctx, e, crypto.Policy{Algorithm: crypto.AlgorithmNone}, fc, alice)
	wantErr(t, "to none", err, ErrArgument)
	_, direct, err := s.NewDataKeyVia(ctx, Direct, kmsPolicy(id), fc, alice)
	if err != nil || direct.BucketKey != [16]byte{} {
		t.Fatalf("direct: %+v, %v", direct, err)
	}
	direct, err = s.Rewrap(ctx, direct, kmsPolicy(id), fc, alice)
	if err != nil || direct.BucketKey != [16]byte{} {
		t.Errorf("direct, wrapped anew: %+v, %v", direct, err)
	}
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Rewrap(ctx, e, kmsPolicy(other), fc, Drive()); !errors.Is(err, ErrKeyRevoked) {
		t.Errorf("from a disabled key: %v", err)
	}
}
