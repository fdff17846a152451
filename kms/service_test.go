package kms

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
)

// memFiles is Files in memory. It can fail a write, before or after it has taken
// effect: an error does not tell which.
type memFiles struct {
	mu      sync.Mutex
	files   map[string][]byte
	writes  int
	failAt  int  // the write to fail, counted from 1; 0 for none
	applied bool // whether the failing write takes effect all the same
	broken  bool // whether every write fails
}

var errWrite = errors.New("injected write failure")

func (f *memFiles) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return append([]byte(nil), b...), nil
}

func (f *memFiles) WriteFile(name string, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes++
	fails := f.broken || f.writes == f.failAt
	if !fails || f.applied {
		f.files[name] = append([]byte(nil), data...)
	}
	if fails {
		return errWrite
	}
	return nil
}

// store is what survives a crash: files and the head's generation.
type store struct {
	memFiles
	key    *crypto.Key
	volume crypto.VolumeID
	head   uint64
	clock  *fakeClock
	log    *logBuffer
	logs   *memFiles // nil: no audit log and no usage file
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

var epoch = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

func newStore(t testing.TB) *store {
	t.Helper()
	key, err := crypto.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(key.Wipe)
	return &store{
		memFiles: memFiles{files: map[string][]byte{}},
		key:      key,
		volume:   crypto.VolumeID{1, 2, 3},
		clock:    &fakeClock{now: epoch},
		log:      &logBuffer{},
	}
}

func (st *store) options() Options {
	o := Options{
		Files: &st.memFiles, Key: st.key, Volume: st.volume, Clock: st.clock.Now, Generation: st.head,
		Logger: slog.New(slog.NewTextHandler(st.log, nil)),
		RecordGeneration: func(g uint64) error {
			st.head = g
			return nil
		},
	}
	if st.logs != nil {
		o.Logs = st.logs
	}
	return o
}

func (st *store) create(t testing.TB) *Service {
	t.Helper()
	s, err := Create(st.options())
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func (st *store) open(t testing.TB) *Service {
	t.Helper()
	s, err := Open(st.options())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// snapshot and restore copy what is on disk, as a thief or a backup would.
func (st *store) snapshot() map[string][]byte { return maps.Clone(st.files) }

func (st *store) file(inode uint64) crypto.FileContext {
	return crypto.FileContext{Volume: st.volume, Bucket: 7, Inode: inode}
}

var ctx = context.Background()

var (
	root  = By{UID: 0}
	alice = Caller{UID: 1000, GID: 1000}
	bob   = Caller{UID: 1001, GID: 1001}
)

func kmsPolicy(key string) crypto.Policy {
	return crypto.Policy{Algorithm: crypto.AlgorithmKMS, Key: key}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func createKey(t testing.TB, s *Service, by By, o CreateOptions) KeyInfo {
	t.Helper()
	k, err := s.CreateKey(ctx, by, o)
	if err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	return k
}

// makeFile makes a data key and returns it with its envelope.
func makeFile(t testing.TB, s *Service, p crypto.Policy, fc crypto.FileContext, c Caller) (*crypto.Key, crypto.Envelope) {
	t.Helper()
	k, e, err := s.NewDataKey(ctx, p, fc, c)
	if err != nil {
		t.Fatalf("NewDataKey(%v): %v", p, err)
	}
	t.Cleanup(k.Wipe)
	return k, e
}

// opens checks that e yields dek.
func opens(t testing.TB, s *Service, e crypto.Envelope, fc crypto.FileContext, c Caller, dek *crypto.Key) {
	t.Helper()
	k, err := s.OpenEnvelope(ctx, e, fc, c)
	if err != nil {
		t.Errorf("OpenEnvelope: %v", err)
		return
	}
	defer k.Wipe()
	if !k.Equal(dek) {
		t.Error("OpenEnvelope returned another key")
	}
}

func TestEveryPolicyRoundTrips(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	own := createKey(t, s, By{UID: alice.UID}, CreateOptions{Description: "own"})
	if err := s.CreateAlias(ctx, root, "alias/own", own.ID); err != nil {
		t.Fatal(err)
	}
	type file struct {
		e   crypto.Envelope
		dek *crypto.Key
		fc  crypto.FileContext
	}
	var files []file
	for i, p := range []crypto.Policy{
		{Algorithm: crypto.AlgorithmNone}, {Algorithm: crypto.AlgorithmAES256},
		kmsPolicy(""), kmsPolicy(own.ID), kmsPolicy("alias/own"), kmsPolicy(DefaultAlias),
	} {
		if err := s.CheckPolicy(p); err != nil {
			t.Fatalf("CheckPolicy(%v): %v", p, err)
		}
		fc := st.file(uint64(i + 1))
		dek, e := makeFile(t, s, p, fc, alice)
		parsed, err := crypto.ParseEnvelope(e.Marshal())
		if err != nil {
			t.Fatalf("envelope of %v: %v", p, err)
		}
		opens(t, s, parsed, fc, alice, dek)
		if p.Algorithm == crypto.AlgorithmKMS && e.KeyID == "" {
			t.Errorf("%v: no key ID recorded", p)
		}
		other := fc
		other.Inode++
		_, err = s.OpenEnvelope(ctx, e, other, alice)
		wantErr(t, "envelope moved to another file", err, crypto.ErrAuth)
		files = append(files, file{e, dek, fc})
	}
	s.Close()
	_, _, err := s.NewDataKey(ctx, kmsPolicy(""), st.file(9), alice)
	wantErr(t, "after Close", err, ErrClosed)
	s = st.open(t)
	for _, f := range files {
		opens(t, s, f.e, f.fc, alice, f.dek)
	}
}

func second[T any](_ T, err error) error { return err }

func newSHA256() hash.Hash { return sha256.New() }

func second2[T any](v T, _ error) T { return v }
