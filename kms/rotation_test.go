package kms

import (
	"context"
	"errors"
	"testing"
	"time"

	"ssefs/crypto"
)

func versionOf(t *testing.T, s *Service, p crypto.Policy) uint32 {
	t.Helper()
	k, e, err := s.NewDataKey(ctx, p, crypto.FileContext{Volume: s.volume}, alice)
	if err != nil {
		t.Fatal(err)
	}
	k.Wipe()
	return e.KeyVersion
}

// TestOldVersionsUnwrap rotates all kinds of keys and opens old files.
func TestOldVersionsUnwrap(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	type file struct {
		e   crypto.Envelope
		dek *crypto.Key
	}
	var files []file
	for want := uint32(1); want <= 4; want++ {
		for _, p := range []crypto.Policy{{Algorithm: crypto.AlgorithmAES256}, kmsPolicy(id)} {
			dek, e := makeFile(t, s, p, st.file(1), alice)
			if e.KeyVersion != want {
				t.Errorf("%v: version %d, want %d", p, e.KeyVersion, want)
			}
			files = append(files, file{e, dek})
		}
		n, err := s.Rotate(ctx, root, id)
		if err != nil || n != want+1 {
			t.Errorf("Rotate: %d, %v", n, err)
		}
		n, err = s.RotateMasterKey(ctx, root)
		if err != nil || n != want+1 {
			t.Errorf("RotateMasterKey: %d, %v", n, err)
		}
	}
	for range 2 {
		for _, f := range files {
			opens(t, s, f.e, st.file(1), alice, f.dek)
			wrong := f.e
			wrong.KeyVersion++
			_, err := s.OpenEnvelope(ctx, wrong, st.file(1), alice)
			wantErr(t, "another version", err, crypto.ErrAuth)
		}
		s.Close()
		s = st.open(t)
	}
	if info, err := s.MasterKey(ctx); err != nil || info.Current != 5 || len(info.Versions) != 5 {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestAutomaticRotation(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	if err := s.SetMasterKeyRotation(ctx, root, 0); err != nil {
		t.Fatal(err)
	}
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{RotateEvery: 30 * dayLong}).ID
	still := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	p := kmsPolicy(id)
	after := func(d time.Duration, want uint32) {
		t.Helper()
		st.clock.advance(d)
		if err := s.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if got := versionOf(t, s, p); got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
	after(0, 1)
	after(30*dayLong-time.Second, 1)
	if next := s.NextDue(); !next.Equal(st.clock.Now().Add(time.Second)) {
		t.Errorf("NextDue %v", next)
	}
	after(time.Second, 2)
	after(29*dayLong, 2)
	// A manual rotation counts.
	if _, err := s.Rotate(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	after(29*dayLong, 3)
	after(dayLong, 4)
	// Overdue rotates once, at once, when next opened.
	s.Close()
	st.clock.advance(400 * dayLong)
	s = st.open(t)
	after(0, 5)
	after(0, 5)
	// Suspended while not enabled, made up for when enabled.
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	st.clock.advance(31 * dayLong)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	info, err := s.Describe(ctx, id)
	if err != nil || info.Current != 5 || !info.NextRotation.IsZero() {
		t.Errorf("disabled: %+v, %v", info, err)
	}
	if next := s.NextDue(); !next.IsZero() {
		t.Errorf("NextDue %v of suspended rotations", next)
	}
	if err := s.Enable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	after(0, 6)
	// A new interval counts from the last rotation.
	if err := s.SetRotation(ctx, root, id, 10*dayLong); err != nil {
		t.Fatal(err)
	}
	after(10*dayLong, 7)
	if err := s.SetRotation(ctx, root, id, 0); err != nil {
		t.Fatal(err)
	}
	after(1000*dayLong, 7)
	if info, err := s.Describe(ctx, still); err != nil || info.Current != 1 {
		t.Errorf("key without rotation: %+v, %v", info, err)
	}
	wantErr(t, "interval", s.SetRotation(ctx, root, id, time.Second), ErrArgument)
	wantErr(t, "interval", s.SetMasterKeyRotation(ctx, root, MaxRotation+1), ErrArgument)
}

func TestMasterKeyRotates(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	p := crypto.Policy{Algorithm: crypto.AlgorithmAES256}
	st.clock.advance(DefaultRotation)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if got := versionOf(t, s, p); got != 2 {
		t.Errorf("after the default interval: version %d", got)
	}
	if err := s.SetMasterKeyRotation(ctx, root, dayLong); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = st.open(t)
	st.clock.advance(dayLong)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if got := versionOf(t, s, p); got != 3 {
		t.Errorf("after the interval that was set: version %d", got)
	}
	writes := st.writes
	if err := s.SetMasterKeyRotation(ctx, root, dayLong); err != nil || st.writes != writes {
		t.Errorf("setting the same interval: %v, %d writes", err, st.writes-writes)
	}
}

func TestVersionLimit(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{RotateEvery: dayLong}).ID
	k := s.state.keys[id]
	for len(k.versions) < maxVersions {
		v := *k.newest()
		v.number++
		k.versions = append(k.versions, &v)
	}
	_, err := s.Rotate(ctx, root, id)
	wantErr(t, "one too many", err, ErrState)
	s.state.service.versions = k.versions
	st.clock.advance(DefaultRotation)
	if err := s.Maintain(ctx); err != nil {
		t.Errorf("Maintain: %v", err)
	}
	if next := s.NextDue(); !next.IsZero() {
		t.Errorf("NextDue %v although nothing can rotate", next)
	}
}

// TestRun lets Run do the work by its timer. The clock that says what is due
// stands still until the material is there, however long that takes.
func TestRun(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal}).ID
	var log eventLog
	expired := make(chan struct{})
	s.Subscribe(func(e Event) {
		log.add(e)
		if errors.Is(e.Err, ErrKeyExpired) {
			close(expired)
		}
	})
	p := importParameters(t, s, id)
	wrapped := wrapMaterial(t, p, newSHA256(), material(1))
	const life = 200 * time.Millisecond
	if err := s.Import(ctx, root, id, p.Token, wrapped, st.clock.Now().Add(life)); err != nil {
		t.Fatal(err)
	}
	st.clock.advance(life)
	select {
	case <-expired:
	case <-time.After(time.Minute):
		t.Error("the material did not expire")
	}
	log.want(t, Event{id, nil}, Event{id, ErrKeyExpired})
	cancel()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Run did not stop")
	}
}
