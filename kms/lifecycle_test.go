package kms

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
)

const dayLong = 24 * time.Hour

// inState makes a key in a state; one of external origin where that is wanted.
func inState(t *testing.T, st *store, s *Service, state State, origin Origin) string {
	t.Helper()
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: origin}).ID
	if origin == OriginExternal && state != PendingImport {
		importMaterial(t, s, id, material(1), time.Time{})
	}
	var err error
	switch state {
	case Disabled:
		err = s.Disable(ctx, root, id)
	case PendingDeletion:
		_, err = s.ScheduleDeletion(ctx, root, id, 7)
	case Deleted:
		if _, err = s.ScheduleDeletion(ctx, root, id, 7); err == nil {
			st.clock.advance(7 * dayLong)
			err = s.Maintain(ctx)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := s.Describe(ctx, id); err != nil || info.State != state {
		t.Fatalf("state %v, %v; want %v", info.State, err, state)
	}
	return id
}

// TestStates tries each operation in each state, for both origins.
func TestStates(t *testing.T) {
	states := []State{Enabled, Disabled, PendingDeletion, PendingImport, Deleted}
	// Deleted comes first, it lets a week pass.
	st := newStore(t)
	s := st.create(t)
	ids := map[State]map[Origin]string{}
	for _, state := range []State{Deleted, Enabled, Disabled, PendingDeletion, PendingImport} {
		ids[state] = map[Origin]string{OriginExternal: inState(t, st, s, state, OriginExternal)}
		if state != PendingImport {
			ids[state][OriginKMS] = inState(t, st, s, state, OriginKMS)
		}
	}
	s.Close()
	all, head := st.snapshot(), st.head
	ok := error(nil)
	for _, op := range []struct {
		name string
		do   func(s *Service, id string) error
		want [5]error // in the order of states
	}{
		{"generate", func(s *Service, id string) error {
			k, _, err := s.NewDataKey(ctx, kmsPolicy(id), crypto.FileContext{Volume: s.volume}, alice)
			k.Wipe()
			return err
		}, [5]error{ok, ErrKeyRevoked, ErrKeyRevoked, ErrNoKey, ErrKeyRevoked}},
		{"policy", func(s *Service, id string) error { return s.CheckPolicy(kmsPolicy(id)) },
			[5]error{ok, ErrKeyRevoked, ErrKeyRevoked, ErrNoKey, ErrKeyRevoked}},
		{"allowed", func(s *Service, id string) error {
			return s.Allowed(crypto.Envelope{Algorithm: crypto.AlgorithmKMS, KeyID: id, KeyVersion: 1}, st.file(1), OpDecrypt, alice)
		}, [5]error{ok, ErrKeyRevoked, ErrKeyRevoked, ErrNoKey, ErrKeyRevoked}},
		{"enable", func(s *Service, id string) error { return s.Enable(ctx, root, id) },
			[5]error{ok, ok, ErrState, ErrState, ErrState}},
		{"disable", func(s *Service, id string) error { return s.Disable(ctx, root, id) },
			[5]error{ok, ok, ErrState, ErrState, ErrState}},
		{"schedule", func(s *Service, id string) error { _, err := s.ScheduleDeletion(ctx, root, id, 30); return err },
			[5]error{ok, ok, ErrState, ok, ErrState}},
		{"cancel", func(s *Service, id string) error { return s.CancelDeletion(ctx, root, id) },
			[5]error{ErrState, ErrState, ok, ErrState, ErrState}},
		{"describe", func(s *Service, id string) error { _, err := s.Describe(ctx, id); return err },
			[5]error{ok, ok, ok, ok, ok}},
		{"set description", func(s *Service, id string) error { return s.SetDescription(ctx, root, id, "new") },
			[5]error{ok, ok, ErrState, ok, ErrState}},
		{"create alias", func(s *Service, id string) error { return s.CreateAlias(ctx, root, "alias/"+id, id) },
			[5]error{ok, ok, ErrState, ok, ErrState}},
		{"protect", func(s *Service, id string) error { return s.Protect(ctx, root, id) },
			[5]error{ok, ok, ErrState, ok, ErrState}},
		{"grant", func(s *Service, id string) error {
			return s.Grant(ctx, root, id, Grant{Kind: GrantUser, ID: 7, Ops: OpDecrypt})
		}, [5]error{ok, ok, ok, ok, ErrState}},
	} {
		for i, state := range states {
			for _, origin := range []Origin{OriginKMS, OriginExternal} {
				id, ok := ids[state][origin]
				if !ok {
					continue
				}
				st.files, st.head = maps.Clone(all), head
				s := st.open(t)
				wantErr(t, fmt.Sprintf("%s, %v, %v", op.name, state, origin), op.do(s, id), op.want[i])
				s.Close()
				again := st.open(t)
				if _, err := again.Describe(ctx, id); err != nil {
					t.Errorf("%s, %v, %v: after reopening: %v", op.name, state, origin, err)
				}
				again.Close()
			}
		}
		for _, ref := range []string{"", "no-such-key", newID(), "alias/none"} {
			if op.name == "allowed" || op.name == "create alias" || op.name == "policy" || op.name == "generate" {
				continue
			}
			st := newStore(t)
			wantErr(t, op.name+" of no key", op.do(st.create(t), ref), ErrNoKey)
		}
	}
}

func TestRotateOnlyEnabled(t *testing.T) {
	for _, c := range []struct {
		state  State
		origin Origin
		want   error
	}{
		{Enabled, OriginKMS, nil}, {Disabled, OriginKMS, ErrState}, {PendingDeletion, OriginKMS, ErrState},
		{Deleted, OriginKMS, ErrState}, {Enabled, OriginExternal, ErrState}, {PendingImport, OriginExternal, ErrState},
	} {
		st := newStore(t)
		s := st.create(t)
		id := inState(t, st, s, c.state, c.origin)
		_, err := s.Rotate(ctx, root, id)
		wantErr(t, fmt.Sprintf("Rotate, %v, %v", c.state, c.origin), err, c.want)
		err = s.SetRotation(ctx, root, id, 90*dayLong)
		wantErr(t, fmt.Sprintf("SetRotation, %v, %v", c.state, c.origin), err, c.want)
	}
}

// TestDisableCutsOffAndEnableRestores follows a file through the states.
func TestDisableCutsOffAndEnableRestores(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	fc := st.file(1)
	dek, e := makeFile(t, s, kmsPolicy(id), fc, alice)
	closed := func(what string, want error) {
		t.Helper()
		_, err := s.OpenEnvelope(ctx, e, fc, alice)
		wantErr(t, what+": OpenEnvelope", err, want)
		_, err = s.OpenEnvelope(ctx, e, fc, Drive())
		wantErr(t, what+": OpenEnvelope by the drive", err, want)
		wantErr(t, what+": Allowed", s.Allowed(e, st.file(1), OpDecrypt, alice), want)
	}
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	closed("disabled", ErrKeyRevoked)
	s.Close()
	closed("closed", ErrClosed)
	s = st.open(t)
	closed("disabled, reopened", ErrKeyRevoked)

	// Pending deletion and back leaves a disabled key disabled.
	if _, err := s.ScheduleDeletion(ctx, root, id, 7); err != nil {
		t.Fatal(err)
	}
	closed("pending deletion", ErrKeyRevoked)
	if err := s.CancelDeletion(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	closed("disabled again", ErrKeyRevoked)
	if err := s.Enable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	opens(t, s, e, fc, alice, dek)
}

func TestDeletionDay(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{Description: "goes"}).ID
	if err := s.CreateAlias(ctx, root, "alias/goes", id); err != nil {
		t.Fatal(err)
	}
	_, e := makeFile(t, s, kmsPolicy("alias/goes"), st.file(1), alice)
	for _, days := range []int{-1, 0, 6, 31} {
		_, err := s.ScheduleDeletion(ctx, root, id, days)
		wantErr(t, fmt.Sprintf("%d days", days), err, ErrArgument)
	}
	if err := s.Protect(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	_, err := s.ScheduleDeletion(ctx, root, id, 7)
	wantErr(t, "protected", err, ErrProtected)
	if err := s.Unprotect(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	when, err := s.ScheduleDeletion(ctx, root, id, 7)
	if err != nil || !when.Equal(epoch.Add(7*dayLong)) {
		t.Fatalf("ScheduleDeletion: %v, %v", when, err)
	}
	if next := s.NextDue(); !next.Equal(when) {
		t.Errorf("NextDue: %v, want %v", next, when)
	}
	st.clock.advance(7*dayLong - time.Second)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.CancelDeletion(ctx, root, id); err != nil {
		t.Fatalf("a second before: %v", err)
	}
	if _, err := s.ScheduleDeletion(ctx, root, id, 7); err != nil {
		t.Fatal(err)
	}
	st.clock.advance(7 * dayLong)
	wantErr(t, "cancel on the day", s.CancelDeletion(ctx, root, id), ErrState)
	material := s.state.keys[id].newest().key
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if material.Bytes() != nil {
		t.Error("the material was not wiped")
	}
	consistent(t, st)
	s.Close()
	s = st.open(t)
	info, err := s.Describe(ctx, id)
	if err != nil || info.State != Deleted || info.DeletedAt.IsZero() || info.Current != 0 || len(info.Grants) != 0 || info.Description != "goes" {
		t.Errorf("tombstone: %+v, %v", info, err)
	}
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "file of a deleted key", err, ErrKeyRevoked)
	wantErr(t, "policy with its alias", s.CheckPolicy(kmsPolicy("alias/goes")), ErrNoAlias)
	wantErr(t, "policy with its ID", s.CheckPolicy(kmsPolicy(id)), ErrKeyRevoked)
}

// TestDeletionReachesEveryCopy holds a deletion whose second copy fails to its
// word: it is no success, and is completed later.
func TestDeletionReachesEveryCopy(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := inState(t, st, s, PendingDeletion, OriginKMS)
	st.clock.advance(7 * dayLong)
	st.failAt = st.writes + 2
	wantErr(t, "Maintain", s.Maintain(ctx), ErrOneCopy)
	if info, err := s.Describe(ctx, id); err != nil || info.State != Deleted {
		t.Errorf("state %v, %v", info.State, err)
	}
	if err := s.Maintain(ctx); err != nil {
		t.Errorf("Maintain again: %v", err)
	}
	consistent(t, st)
	writes := st.writes
	if err := s.Maintain(ctx); err != nil || st.writes != writes {
		t.Errorf("Maintain with nothing to do: %v, %d writes", err, st.writes-writes)
	}
}

func TestManagedKey(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	if _, err := s.Describe(ctx, DefaultAlias); !errors.Is(err, ErrNoAlias) {
		t.Errorf("before the first use: %v", err)
	}
	if err := s.CheckPolicy(kmsPolicy("")); err != nil {
		t.Fatal(err)
	}
	info, err := s.Describe(ctx, DefaultAlias)
	if err != nil || !info.Managed || len(info.Aliases) != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	dek, e := makeFile(t, s, kmsPolicy(""), st.file(1), bob)
	opens(t, s, e, st.file(1), alice, dek)
	wantErr(t, "disable", s.Disable(ctx, root, DefaultAlias), ErrManaged)
	_, err = s.ScheduleDeletion(ctx, root, info.ID, 7)
	wantErr(t, "schedule", err, ErrManaged)
	wantErr(t, "grant", s.Grant(ctx, root, info.ID, Grant{Kind: GrantUser, ID: 1, Ops: OpDecrypt}), ErrManaged)
	wantErr(t, "delete alias", s.DeleteAlias(ctx, root, DefaultAlias), ErrAlias)
	sure := By{Managed: true}
	if err := s.Disable(ctx, sure, DefaultAlias); err != nil {
		t.Errorf("confirmed: %v", err)
	}
	wantErr(t, "disabled default key", s.CheckPolicy(kmsPolicy("")), ErrKeyRevoked)
	if _, err := s.ScheduleDeletion(ctx, sure, info.ID, 7); err != nil {
		t.Fatal(err)
	}
	st.clock.advance(7 * dayLong)
	if err := s.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	_, e2 := makeFile(t, s, kmsPolicy(""), st.file(2), bob)
	if e2.KeyID == info.ID {
		t.Error("the default key came back under its old ID")
	}
	_, err = s.OpenEnvelope(ctx, e, st.file(1), bob)
	wantErr(t, "file of the deleted default key", err, ErrKeyRevoked)
}

// TestDefaultKeyIsMadeOnce has many callers use it first.
func TestDefaultKeyIsMadeOnce(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	var wg sync.WaitGroup
	ids := make([]string, 32)
	for i := range ids {
		wg.Go(func() {
			if i%4 == 0 {
				if err := s.CheckPolicy(kmsPolicy("")); err != nil {
					t.Errorf("CheckPolicy: %v", err)
				}
			}
			k, e, err := s.NewDataKey(ctx, kmsPolicy(""), st.file(uint64(i)), alice)
			if err != nil {
				t.Errorf("NewDataKey: %v", err)
				return
			}
			k.Wipe()
			ids[i] = e.KeyID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("key IDs: %q", ids)
		}
	}
	if keys, err := s.List(ctx); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if st.head != 2 {
		t.Errorf("generation %d", st.head)
	}
}

func TestKMSOff(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	dekKMS, e := makeFile(t, s, kmsPolicy(""), st.file(1), alice)
	s.Close()
	o := st.options()
	o.Mode = Off
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "policy", s.CheckPolicy(kmsPolicy("")), ErrKMSOff)
	wantErr(t, "policy with an unknown key", s.CheckPolicy(kmsPolicy(newID())), ErrKMSOff)
	_, _, err = s.NewDataKey(ctx, kmsPolicy(""), st.file(2), alice)
	wantErr(t, "create", err, ErrKMSOff)
	_, err = s.OpenEnvelope(ctx, e, st.file(1), alice)
	wantErr(t, "open", err, ErrKMSOff)
	wantErr(t, "allowed", s.Allowed(e, st.file(1), OpDecrypt, alice), ErrKMSOff)
	for _, a := range []crypto.Algorithm{crypto.AlgorithmNone, crypto.AlgorithmAES256} {
		p := crypto.Policy{Algorithm: a}
		wantErr(t, p.String(), s.CheckPolicy(p), nil)
		dek, e := makeFile(t, s, p, st.file(3), alice)
		opens(t, s, e, st.file(3), alice, dek)
	}
	s.Close()
	s = st.open(t)
	opens(t, s, e, st.file(1), alice, dekKMS)
}

func TestRegion(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	far := createKey(t, s, By{UID: alice.UID}, CreateOptions{Region: "cn-hangzhou"})
	near := createKey(t, s, By{UID: alice.UID}, CreateOptions{})
	if near.Region != DefaultRegion {
		t.Errorf("region %q", near.Region)
	}
	wantErr(t, "policy", s.CheckPolicy(kmsPolicy(far.ID)), ErrRegion)
	_, _, err := s.NewDataKey(ctx, kmsPolicy(far.ID), st.file(1), alice)
	wantErr(t, "create", err, ErrRegion)
	s.Close()
	o := st.options()
	o.Region = "cn-hangzhou"
	if s, err = Open(o); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantErr(t, "in its region", s.CheckPolicy(kmsPolicy(far.ID)), nil)
	o.Region = "no region"
	_, err = Open(o)
	wantErr(t, "malformed region", err, ErrArgument)
}

func TestArguments(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	for what, o := range map[string]CreateOptions{
		"long description":   {Description: strings.Repeat("x", maxDescription+1)},
		"two lines":          {Description: "a\nb"},
		"not UTF-8":          {Description: "\xff"},
		"region":             {Region: "Cn"},
		"long region":        {Region: strings.Repeat("x", maxRegion+1)},
		"origin":             {Origin: 9},
		"short interval":     {RotateEvery: time.Second},
		"negative interval":  {RotateEvery: -time.Hour},
		"external, rotating": {Origin: OriginExternal, RotateEvery: 90 * dayLong},
	} {
		_, err := s.CreateKey(ctx, root, o)
		wantErr(t, what, err, ErrArgument)
	}
	if st.head != 1 {
		t.Errorf("refused changes were written: generation %d", st.head)
	}
	fc := st.file(1)
	fc.Volume[0]++
	_, _, err := s.NewDataKey(ctx, crypto.Policy{Algorithm: crypto.AlgorithmAES256}, fc, alice)
	wantErr(t, "another volume's file", err, ErrArgument)
	_, _, err = s.NewDataKey(ctx, crypto.Policy{}, st.file(1), alice)
	wantErr(t, "no policy", err, crypto.ErrPolicy)
	wantErr(t, "no policy", s.CheckPolicy(crypto.Policy{}), crypto.ErrPolicy)
	_, err = s.OpenEnvelope(ctx, crypto.Envelope{}, st.file(1), alice)
	wantErr(t, "no envelope", err, crypto.ErrFormat)
	_, err = s.OpenEnvelope(ctx, crypto.Envelope{Algorithm: crypto.AlgorithmKMS, KeyID: newID(), KeyVersion: 1}, st.file(1), alice)
	wantErr(t, "unknown key", err, ErrNoKey)
	_, err = s.OpenEnvelope(ctx, crypto.Envelope{Algorithm: crypto.AlgorithmAES256, KeyVersion: 2}, st.file(1), alice)
	wantErr(t, "unknown version", err, ErrNoKey)
	_, err = Open(Options{})
	wantErr(t, "no options", err, ErrArgument)
}
