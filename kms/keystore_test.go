package kms

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"ssefs/crypto"
)

// faults fails chosen steps of writing the keystore: the writes of the copies and
// the recording of the generation, in the order in which they come.
type faults struct {
	st *store
	// fails decides, for the step counted from 1, whether it fails and whether it
	// takes effect all the same.
	fails func(step int) (fail, applied bool)
	step  int
}

func (f *faults) next() (fail, applied bool) {
	f.step++
	return f.fails(f.step)
}

// ReadFile implements Files.
func (f *faults) ReadFile(name string) ([]byte, error) { return f.st.ReadFile(name) }

// WriteFile implements Files.
func (f *faults) WriteFile(name string, data []byte) error {
	fail, applied := f.next()
	if !fail || applied {
		if err := f.st.WriteFile(name, data); err != nil {
			return err
		}
	}
	if fail {
		return errWrite
	}
	return nil
}

// install returns options whose writes go through f.
func (f *faults) install(st *store) Options {
	f.st = st
	o := st.options()
	record := o.RecordGeneration
	o.Files = f
	o.RecordGeneration = func(g uint64) error {
		fail, applied := f.next()
		if !fail || applied {
			if err := record(g); err != nil {
				return err
			}
		}
		if fail {
			return errWrite
		}
		return nil
	}
	return o
}

// consistent checks what must hold on disk whenever a service has settled.
func consistent(t *testing.T, st *store) {
	t.Helper()
	aead, err := crypto.NewAEAD(st.key)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(st.files[FileA], st.files[FileB]) {
		t.Error("the copies differ")
	}
	m, err := unseal(st.files[FileA], aead, st.volume)
	if err != nil {
		t.Fatalf("copy a: %v", err)
	}
	defer m.wipe()
	if m.generation != st.head {
		t.Errorf("keystore has generation %d, the head names %d", m.generation, st.head)
	}
}

// TestOneFault fails each single step of each kind of change, with and without
// taking effect, and with the process dying there or going on.
func TestOneFault(t *testing.T) {
	changes := map[string]func(s *Service, key string) error{
		"disable":  func(s *Service, key string) error { return s.Disable(ctx, root, key) },
		"schedule": func(s *Service, key string) error { _, err := s.ScheduleDeletion(ctx, root, key, 7); return err },
		"rotate":   func(s *Service, key string) error { _, err := s.Rotate(ctx, root, key); return err },
		"alias":    func(s *Service, key string) error { return s.CreateAlias(ctx, root, "alias/x", key) },
		"default":  func(s *Service, _ string) error { return s.CheckPolicy(kmsPolicy("")) },
	}
	look := func(t *testing.T, s *Service) string {
		t.Helper()
		keys, err := s.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		aliases, err := s.Aliases(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%+v %+v", keys, aliases)
	}
	for name, change := range changes {
		for step := 1; step <= 3; step++ {
			for _, applied := range []bool{false, true} {
				for _, dies := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/step %d/applied %v/dies %v", name, step, applied, dies), func(t *testing.T) {
						st := newStore(t)
						key := createKey(t, st.create(t), root, CreateOptions{}).ID
						f := &faults{fails: func(n int) (bool, bool) {
							return n == step || dies && n > step, n == step && applied
						}}
						s, err := Open(f.install(st))
						if err != nil {
							t.Fatal(err)
						}
						defer s.Close()
						before := look(t, s)
						err = change(s, key)
						after := look(t, s)
						done := after != before
						switch {
						case step == 3 && !done:
							t.Error("not in effect although it was recorded")
						case step == 3 && name != "default":
							wantErr(t, "second copy not written", err, ErrOneCopy)
						case step < 3 && (err == nil || errors.Is(err, ErrOneCopy)):
							t.Errorf("error %v for a change that was not recorded", err)
						case step < 3 && done:
							t.Error("failed, and in effect all the same")
						}
						if !dies {
							if _, err := s.CreateKey(ctx, root, CreateOptions{}); err != nil {
								t.Errorf("next change: %v", err)
							}
							consistent(t, st)
							after = look(t, s)
						}
						s.Close()
						again := st.open(t)
						switch now := look(t, again); {
						case now == after:
						case dies && step < 3 && now != before:
							// Written, not recorded, not reported: done or not done are both right.
						default:
							t.Errorf("after reopening:\n%s\nwant\n%s", now, after)
						}
						consistent(t, st)
					})
				}
			}
		}
	}
}

// TestManyFaults makes changes under random faults and crashes. Whatever happens,
// the store opens, and shows the last change that was reported done or the one
// attempt that failed after it.
func TestManyFaults(t *testing.T) {
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		st := newStore(t)
		key := createKey(t, st.create(t), root, CreateOptions{Description: "0"}).ID
		rate := rng.Float64() * 0.7
		f := &faults{fails: func(int) (bool, bool) { return rng.Float64() < rate, rng.IntN(2) == 0 }}
		possible := []string{"0"}
		var s *Service
		for n := 1; n < 40; n++ {
			if s == nil || rng.IntN(5) == 0 {
				var err error
				if s != nil {
					s.Close() // as good as a crash: it writes nothing
				}
				if s, err = Open(f.install(st)); err != nil {
					t.Fatalf("seed %d, step %d: %v\n%s", seed, n, err, st.log)
				}
				info, err := s.Describe(ctx, key)
				if err != nil {
					t.Fatal(err)
				}
				ok := false
				for _, p := range possible {
					ok = ok || info.Description == p
				}
				if !ok {
					t.Fatalf("seed %d, step %d: state %q, want one of %q", seed, n, info.Description, possible)
				}
				possible = []string{info.Description}
			}
			attempt := fmt.Sprint(n)
			switch err := s.SetDescription(ctx, root, key, attempt); {
			case err == nil, errors.Is(err, ErrOneCopy):
				possible = []string{attempt}
			default:
				possible = append(possible, attempt)
			}
			info, err := s.Describe(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if info.Description != possible[0] {
				t.Fatalf("seed %d, step %d: memory shows %q, want %q", seed, n, info.Description, possible[0])
			}
		}
		s.Close()
		if strings.Contains(st.log.String(), "damaged") {
			t.Fatalf("seed %d: a copy was found damaged", seed)
		}
	}
}

func TestCreateFaults(t *testing.T) {
	for step := 1; step <= 3; step++ {
		for _, applied := range []bool{false, true} {
			st := newStore(t)
			f := &faults{fails: func(n int) (bool, bool) { return n == step, applied }}
			s, err := Create(f.install(st))
			if err == nil {
				s.Close()
				t.Errorf("step %d: no error", step)
			}
		}
	}
	st := newStore(t)
	st.create(t)
	_, err := Create(st.options())
	wantErr(t, "Create over a keystore", err, ErrKeystoreExists)
	st.files[FileA] = nil
	delete(st.files, FileB)
	_, err = Create(st.options())
	wantErr(t, "Create over a damaged keystore", err, ErrKeystoreExists)
}

// damages are ways to damage a copy.
var damages = map[string]func(b []byte) []byte{
	"missing":   func([]byte) []byte { return nil },
	"empty":     func([]byte) []byte { return []byte{} },
	"truncated": func(b []byte) []byte { return b[:len(b)-1] },
	"longer":    func(b []byte) []byte { return append(b, 0) },
	"magic":     func(b []byte) []byte { b[0] ^= 1; return b },
	"version":   func(b []byte) []byte { b[len(magic)+1] ^= 2; return b },
	"nonce":     func(b []byte) []byte { b[headerSize] ^= 1; return b },
	"tag":       func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
}

func (st *store) damage(name string, how func([]byte) []byte) {
	if b := how(bytes.Clone(st.files[name])); b == nil {
		delete(st.files, name)
	} else {
		st.files[name] = b
	}
}

func TestDamagedCopyIsMended(t *testing.T) {
	for name, how := range damages {
		for _, file := range []string{FileA, FileB} {
			st := newStore(t)
			key := createKey(t, st.create(t), root, CreateOptions{}).ID
			st.damage(file, how)
			s := st.open(t)
			if _, err := s.Describe(ctx, key); err != nil {
				t.Errorf("%s %s: %v", name, file, err)
			}
			if !strings.Contains(st.log.String(), "level=ERROR") || !strings.Contains(st.log.String(), "mended") {
				t.Errorf("%s %s: not loud: %s", name, file, st.log)
			}
			consistent(t, st)
		}
	}
}

// TestMendingFails opens a store that cannot be written, and mends it later.
func TestMendingFails(t *testing.T) {
	for _, file := range []string{FileA, FileB} {
		st := newStore(t)
		st.create(t)
		st.damage(file, damages["tag"])
		st.broken = true
		s := st.open(t)
		dek, e := makeFile(t, s, crypto.Policy{Algorithm: crypto.AlgorithmAES256}, st.file(1), alice)
		opens(t, s, e, st.file(1), alice, dek)
		if err := s.Maintain(ctx); err == nil {
			t.Error("Maintain: no error while the store cannot be written")
		}
		st.broken = false
		if err := s.Maintain(ctx); err != nil {
			t.Errorf("Maintain: %v", err)
		}
		consistent(t, st)
	}
}

func TestBothCopiesDamaged(t *testing.T) {
	for name, how := range damages {
		st := newStore(t)
		st.create(t)
		st.damage(FileA, how)
		st.damage(FileB, how)
		_, err := Open(st.options())
		want := ErrKeystoreDamaged
		if name == "version" {
			want = crypto.ErrVersion
		}
		wantErr(t, name, err, want)
		if _, err := OpenAnyway(st.options(), root); err == nil {
			t.Errorf("%s: OpenAnyway made a keystore of nothing", name)
		}
	}
}

func TestWrongVolumeOrKey(t *testing.T) {
	st := newStore(t)
	st.create(t)
	o := st.options()
	o.Volume[0]++
	_, err := Open(o)
	wantErr(t, "another volume's keystore", err, crypto.ErrAuth)
	other := newStore(t)
	o = st.options()
	o.Key = other.key
	_, err = Open(o)
	wantErr(t, "another key", err, crypto.ErrAuth)
}

// TestMaterialIsInNoFile looks for all key material in what is on disk.
func TestMaterialIsInNoFile(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	createKey(t, s, root, CreateOptions{Description: "MARKER-DESCRIPTION"})
	var secrets [][]byte
	secrets = append(secrets, []byte("MARKER-DESCRIPTION"))
	for _, r := range []*ring{&s.state.service, &s.state.clear} {
		secrets = append(secrets, r.newest().key.Bytes())
	}
	for _, k := range s.state.keys {
		secrets = append(secrets, k.newest().key.Bytes())
	}
	for name, b := range st.files {
		for i, secret := range secrets {
			if len(secret) == 0 || bytes.Contains(b, secret) {
				t.Errorf("%s contains secret %d", name, i)
			}
		}
	}
}

// TestUnreadableKeystoreIsNotWritten has a change that cannot be decoded again.
func TestUnreadableKeystoreIsNotWritten(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	key := createKey(t, s, root, CreateOptions{}).ID
	before := st.snapshot()
	for what, spoil := range map[string]func(ch *change){
		"wiped material": func(ch *change) { ch.fresh[0].Wipe() },
		"bad region":     func(ch *change) { ch.edit(key).region = "" },
		"lost key":       func(ch *change) { ch.aliases["alias/x"] = newID() },
	} {
		err := s.change(ctx, func(ch *change) error {
			if err := ch.generate(&ch.edit(key).ring, ch.now); err != nil {
				return err
			}
			spoil(ch)
			return nil
		})
		wantErr(t, what, err, crypto.ErrFormat)
		if !maps.EqualFunc(before, st.files, bytes.Equal) {
			t.Errorf("%s: the keystore was written", what)
		}
	}
	if _, err := s.Rotate(ctx, root, key); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	consistent(t, st)
}
