package kms

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"ssefs/crypto"
)

// TestVerify damages each file that a service goes on without, and some that it does not.
func TestVerify(t *testing.T) {
	st := newStore(t)
	st.logs = &memFiles{files: map[string][]byte{}}
	s := st.create(t)
	key := createKey(t, s, root, CreateOptions{}).ID
	var older []map[string][]byte
	for i := range 3 {
		older = append(older, st.snapshot())
		if err := s.SetDescription(ctx, root, key, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	dek, _, err := s.NewDataKey(ctx, crypto.Policy{Algorithm: crypto.AlgorithmKMS, Key: key}, st.file(7), Drive())
	if err != nil {
		t.Fatal(err)
	}
	dek.Wipe()
	s.Close()
	files, logs := st.snapshot(), maps.Clone(st.logs.files)
	if problems := Verify(st.options()); len(problems) != 0 {
		t.Fatalf("of sound files: %v", problems)
	}
	flip := func(m map[string][]byte, name string) {
		m[name] = slices.Clone(m[name])
		m[name][len(m[name])-9] ^= 1
	}
	for what, c := range map[string]struct {
		change func()
		want   []error
	}{
		"copy a flipped":     {func() { flip(st.files, FileA) }, []error{ErrKeystoreDamaged}},
		"copy b flipped":     {func() { flip(st.files, FileB) }, []error{ErrKeystoreDamaged}},
		"copy b missing":     {func() { delete(st.files, FileB) }, []error{ErrKeystoreDamaged}},
		"copy a one behind":  {func() { st.files[FileA] = older[2][FileA] }, []error{ErrRollback}},
		"copy b one behind":  {func() { st.files[FileB] = older[2][FileB] }, nil},
		"copy b two behind":  {func() { st.files[FileB] = older[1][FileB] }, []error{ErrRollback}},
		"usage flipped":      {func() { flip(st.logs.files, FileUsage) }, []error{crypto.ErrAuth}},
		"audit flipped":      {func() { flip(st.logs.files, AuditKeys+".001") }, []error{ErrAudit}},
		"audit missing":      {func() { delete(st.logs.files, AuditKeys+".001") }, []error{ErrAudit}},
		"two things":         {func() { flip(st.files, FileB); flip(st.logs.files, AuditKeys+".001") }, []error{ErrKeystoreDamaged, ErrAudit}},
		"nothing in the end": {func() {}, nil},
	} {
		st.files, st.logs.files = maps.Clone(files), maps.Clone(logs)
		c.change()
		problems := Verify(st.options())
		if len(problems) != len(c.want) {
			t.Errorf("%s: found %v, want %d problems", what, problems, len(c.want))
			continue
		}
		for i, want := range c.want {
			if !errors.Is(problems[i], want) {
				t.Errorf("%s: found %v, want %v", what, problems[i], want)
			}
		}
	}
}
