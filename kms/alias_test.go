package kms

import (
	"slices"
	"strings"
	"testing"
)

func TestAliases(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	one := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	two := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	long := "alias/" + strings.Repeat("x", maxAlias)
	for _, name := range []string{"alias/a", "ALIAS/B", "alias/acsx", "alias/0/-_", long} {
		wantErr(t, name, s.CreateAlias(ctx, root, name, one), nil)
	}
	for _, name := range []string{
		"", "a", "alias/", "alias", "alias/é", "alias/a b", "alias/a\n", long + "x", "alias/a:b", "alias/.", "alias/\x00",
		"alias/acs/oss", "alias/acs/x", "alias/acs/", "alias/acs", "alias/ACS/oss", "ALIAS/aCs/x",
	} {
		wantErr(t, "create "+name, s.CreateAlias(ctx, root, name, one), ErrAlias)
		wantErr(t, "update "+name, s.UpdateAlias(ctx, root, name, one), ErrAlias)
		wantErr(t, "delete "+name, s.DeleteAlias(ctx, root, name), ErrAlias)
	}
	wantErr(t, "taken", s.CreateAlias(ctx, root, "alias/a", two), ErrAliasExists)
	wantErr(t, "taken, prefix in another case", s.CreateAlias(ctx, root, "Alias/B", two), ErrAliasExists)
	wantErr(t, "of no key", s.CreateAlias(ctx, root, "alias/c", newID()), ErrNoKey)
	wantErr(t, "of no alias", s.CreateAlias(ctx, root, "alias/c", "alias/d"), ErrNoAlias)
	wantErr(t, "update none", s.UpdateAlias(ctx, root, "alias/c", one), ErrNoAlias)
	wantErr(t, "delete none", s.DeleteAlias(ctx, root, "alias/c"), ErrNoAlias)

	// A file keeps its key when the alias moves on.
	dek, e := makeFile(t, s, kmsPolicy("alias/a"), st.file(1), alice)
	if err := s.UpdateAlias(ctx, root, "alias/a", two); err != nil {
		t.Fatal(err)
	}
	_, e2 := makeFile(t, s, kmsPolicy("alias/a"), st.file(2), alice)
	if e.KeyID != one || e2.KeyID != two {
		t.Errorf("keys %s and %s, want %s and %s", e.KeyID, e2.KeyID, one, two)
	}
	if err := s.DeleteAlias(ctx, root, "ALIAS/a"); err != nil {
		t.Fatal(err)
	}
	opens(t, s, e, st.file(1), alice, dek)
	wantErr(t, "policy with a deleted alias", s.CheckPolicy(kmsPolicy("alias/a")), ErrNoKey)
	s.Close()
	s = st.open(t)
	all, err := s.Aliases(ctx)
	want := []Alias{{"alias/0/-_", one}, {"alias/B", one}, {"alias/acsx", one}, {long, one}}
	if err != nil || !slices.Equal(all, want) {
		t.Errorf("aliases %v, %v", all, err)
	}
	if info, err := s.Describe(ctx, "alias/B"); err != nil || info.ID != one || len(info.Aliases) != 4 {
		t.Errorf("%+v, %v", info, err)
	}
	if info, err := s.Describe(ctx, strings.ToUpper(one)); err != nil || info.ID != one {
		t.Errorf("key ID in upper case: %+v, %v", info, err)
	}
}
