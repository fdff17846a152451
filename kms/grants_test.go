package kms

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// member is a caller with supplementary groups.
func member(uid uint32, groups ...uint32) Caller {
	return Caller{UID: uid, GID: uid, Groups: func() ([]uint32, error) { return groups, nil }}
}

func TestGrants(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	dek, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	unreadable := Caller{UID: 1001, GID: 1001, Groups: func() ([]uint32, error) { return nil, errors.New("gone") }}
	check := func(what string, c Caller, decrypt, generate error) {
		t.Helper()
		_, err := s.OpenEnvelope(ctx, e, st.file(1), c)
		wantErr(t, what+": OpenEnvelope", err, decrypt)
		wantErr(t, what+": Allowed decrypt", s.Allowed(e, st.file(1), OpDecrypt, c), decrypt)
		wantErr(t, what+": Allowed generate", s.Allowed(e, st.file(1), OpGenerate, c), generate)
		k, _, err := s.NewDataKey(ctx, kmsPolicy(id), st.file(2), c)
		k.Wipe()
		wantErr(t, what+": NewDataKey", err, generate)
	}
	grant := func(g Grant) {
		t.Helper()
		if err := s.Grant(ctx, root, id, g); err != nil {
			t.Fatal(err)
		}
	}
	revoke := func(g Grant) {
		t.Helper()
		if err := s.Revoke(ctx, root, id, g); err != nil {
			t.Fatal(err)
		}
	}
	check("creator", alice, nil, nil)
	check("root", Caller{}, ErrDenied, ErrDenied)
	check("other", bob, ErrDenied, ErrDenied)
	check("drive", Drive(), nil, nil)
	check("other user in a group of the creator's number", member(1001, 1000), ErrDenied, ErrDenied)

	grant(Grant{GrantUser, bob.UID, OpDecrypt})
	check("decrypt only", bob, nil, ErrDenied)
	grant(Grant{GrantUser, bob.UID, OpGenerate})
	check("both", bob, nil, nil)
	revoke(Grant{GrantUser, bob.UID, OpDecrypt})
	check("generate only", bob, ErrDenied, nil)
	revoke(Grant{GrantUser, bob.UID, opAll})
	check("revoked", bob, ErrDenied, ErrDenied)
	wantErr(t, "revoke again", s.Revoke(ctx, root, id, Grant{GrantUser, bob.UID, opAll}), ErrNoGrant)

	grant(Grant{GrantGroup, 500, OpDecrypt})
	check("own group", Caller{UID: 7, GID: 500}, nil, ErrDenied)
	check("supplementary group", member(7, 400, 500), nil, ErrDenied)
	check("other groups", member(7, 400), ErrDenied, ErrDenied)
	check("uid of the group's number", Caller{UID: 500, GID: 7}, ErrDenied, ErrDenied)
	check("groups unknown", unreadable, ErrDenied, ErrDenied)
	grant(Grant{GrantUser, unreadable.UID, OpDecrypt})
	check("groups unknown, own grant", unreadable, nil, ErrDenied)
	grant(Grant{GrantUser, 0, opAll})
	check("root with a grant", Caller{}, nil, nil)

	s.Close()
	s = st.open(t)
	check("reopened: group", member(7, 500), nil, ErrDenied)
	check("reopened: creator", alice, nil, nil)
	opens(t, s, e, st.file(1), alice, dek)
	info, err := s.Describe(ctx, id)
	want := []Grant{{GrantUser, 0, opAll}, {GrantUser, 1000, opAll}, {GrantUser, 1001, OpDecrypt}, {GrantGroup, 500, OpDecrypt}}
	if err != nil || !slices.Equal(info.Grants, want) {
		t.Errorf("grants %v, %v; want %v", info.Grants, err, want)
	}
	for _, g := range []Grant{{}, {GrantUser, 1, 0}, {GrantUser, 1, 4}, {0, 1, OpDecrypt}, {3, 1, OpDecrypt}} {
		wantErr(t, fmt.Sprintf("grant %v", g), s.Grant(ctx, root, id, g), ErrArgument)
		wantErr(t, fmt.Sprintf("revoke %v", g), s.Revoke(ctx, root, id, g), ErrArgument)
	}
}

// TestGroupsAreAskedForOnce checks that supplementary groups are looked up only
// when they decide, once, and without a lock: the lookup here changes a key.
func TestGroupsAreAskedForOnce(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	_, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	asked := 0
	c := Caller{UID: 5, GID: 5, Groups: func() ([]uint32, error) {
		asked++
		return []uint32{500}, s.SetDescription(ctx, root, id, fmt.Sprint(asked))
	}}
	wantErr(t, "no group grants", s.Allowed(e, st.file(1), OpDecrypt, c), ErrDenied)
	if asked != 0 {
		t.Errorf("asked %d times although no group has a grant", asked)
	}
	for i := range uint32(3) {
		if err := s.Grant(ctx, root, id, Grant{GrantGroup, 499 + i, OpDecrypt}); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "group grant", s.Allowed(e, st.file(1), OpDecrypt, c), nil)
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	wantErr(t, "creator", s.Allowed(e, st.file(1), OpDecrypt, Caller{UID: 1000, Groups: c.Groups}), nil)
	if asked != 1 {
		t.Error("asked for the groups of a user with a grant of its own")
	}
}

func TestGrantLimit(t *testing.T) {
	k := &cmk{id: newID()}
	for i := range uint32(maxGrants) {
		k.grants = append(k.grants, Grant{GrantUser, i, opAll})
	}
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, root, CreateOptions{}).ID
	s.state.keys[id].grants = k.grants
	wantErr(t, "one too many", s.Grant(ctx, root, id, Grant{GrantUser, maxGrants, opAll}), ErrState)
	if err := s.SetDescription(ctx, root, id, "written with all of them"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if info, err := st.open(t).Describe(ctx, id); err != nil || len(info.Grants) != maxGrants {
		t.Errorf("%d grants, %v", len(info.Grants), err)
	}
}
