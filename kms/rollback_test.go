package kms

import (
	"bytes"
	"fmt"
	"testing"
)

// TestRollback puts older copies back in all combinations.
func TestRollback(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	key := createKey(t, s, root, CreateOptions{}).ID
	var states []map[string][]byte
	states = append(states, st.snapshot())
	for i := range 3 {
		if i == 0 {
			if err := s.Disable(ctx, root, key); err != nil {
				t.Fatal(err)
			}
		} else if err := s.SetDescription(ctx, root, key, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		states = append(states, st.snapshot())
	}
	s.Close()
	last := len(states) - 1
	head := st.head
	for a := -1; a <= last; a++ {
		for b := -1; b <= last; b++ {
			for lag := range uint64(3) {
				st.files = map[string][]byte{}
				if a >= 0 {
					st.files[FileA] = states[a][FileA]
				}
				if b >= 0 {
					st.files[FileB] = states[b][FileB]
				}
				st.head = head - lag
				current := last - int(lag)
				s, err := Open(st.options())
				switch {
				case a < 0 && b < 0:
					wantErr(t, "no copies", err, ErrKeystoreDamaged)
				case a == current+1 && b <= current:
					// As after a crash between copy a and the head.
					wantErr(t, fmt.Sprintf("a %d b %d head %d", a, b, current), err, nil)
				case max(a, b) > current, max(a, b) < current:
					wantErr(t, fmt.Sprintf("a %d b %d head %d", a, b, current), err, ErrRollback)
				default:
					wantErr(t, fmt.Sprintf("a %d b %d head %d", a, b, current), err, nil)
				}
				if err == nil {
					if info, err := s.Describe(ctx, key); err != nil || info.State != Disabled && current > 0 {
						t.Errorf("a %d b %d head %d: state %v, %v", a, b, current, info.State, err)
					}
					s.Close()
					consistent(t, st)
				}
			}
		}
	}
}

func TestOpenAnyway(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	key := createKey(t, s, root, CreateOptions{}).ID
	old := st.snapshot()
	if err := s.Disable(ctx, root, key); err != nil {
		t.Fatal(err)
	}
	s.Close()
	st.files = old
	st.damage(FileA, damages["tag"])
	head := st.head
	_, err := Open(st.options())
	wantErr(t, "Open", err, ErrRollback)
	if st.head != head {
		t.Error("a refused Open changed the head")
	}
	s, err = OpenAnyway(st.options(), root)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := s.Describe(ctx, key); err != nil || info.State != Enabled {
		t.Errorf("state %v, %v", info.State, err)
	}
	s.Close()
	consistent(t, st)
	if st.head <= head {
		t.Errorf("head went from %d to %d", head, st.head)
	}
	st.open(t)
}

// TestFailedChangeCannotBePutBack keeps a copy of what a failed change wrote, and
// puts it back after the failure was taken back: it is of an old generation.
func TestFailedChangeCannotBePutBack(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	key := createKey(t, s, root, CreateOptions{}).ID
	if err := s.Disable(ctx, root, key); err != nil {
		t.Fatal(err)
	}
	s.Close()
	var kept []byte
	f := &faults{}
	f.fails = func(step int) (bool, bool) {
		if step == 2 {
			kept = bytes.Clone(st.files[FileA])
		}
		return step == 2, true
	}
	s, err := Open(f.install(st))
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Enable", s.Enable(ctx, root, key), errWrite)
	s.Close()
	consistent(t, st)
	for _, both := range []bool{true, false} {
		good := st.snapshot()
		st.files[FileA] = kept
		if both {
			st.files[FileB] = kept
		}
		s, err := Open(st.options())
		if both {
			wantErr(t, "both copies put back", err, ErrRollback)
		} else {
			wantErr(t, "one copy put back", err, nil)
		}
		if err == nil {
			if info, err := s.Describe(ctx, key); err != nil || info.State != Disabled {
				t.Errorf("state %v, %v", info.State, err)
			}
			s.Close()
		}
		st.files = good
	}
}
