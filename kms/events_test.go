package kms

import (
	"errors"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
)

// eventLog keeps the events it gets.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) want(t *testing.T, want ...Event) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := len(l.events) == len(want)
	for i := range min(len(l.events), len(want)) {
		e, w := l.events[i], want[i]
		ok = ok && e.KeyID == w.KeyID && (e.Err == nil) == (w.Err == nil) && (w.Err == nil || errors.Is(e.Err, w.Err))
	}
	if !ok {
		t.Errorf("events %v, want %v", l.events, want)
	}
}

func TestEvents(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	var log eventLog
	cancel := s.Subscribe(log.add)
	steps := []func() error{
		func() error { return s.Enable(ctx, root, id) },
		func() error { return s.Disable(ctx, root, id) },
		func() error { return s.Disable(ctx, root, id) },
		func() error { _, err := s.ScheduleDeletion(ctx, root, id, 7); return err },
		func() error { return s.CancelDeletion(ctx, root, id) },
		func() error { return s.Enable(ctx, root, id) },
		func() error { return s.SetDescription(ctx, root, id, "x") },
		func() error { _, err := s.ScheduleDeletion(ctx, root, id, 7); return err },
		func() error { st.clock.advance(7 * dayLong); return s.Maintain(ctx) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	log.want(t, Event{id, ErrKeyRevoked}, Event{id, nil}, Event{id, ErrKeyRevoked})
	cancel()
	other := createKey(t, s, root, CreateOptions{}).ID
	if err := s.Disable(ctx, root, other); err != nil {
		t.Fatal(err)
	}
	if len(log.events) != 3 {
		t.Error("an event after the subscription was cancelled")
	}
}

// TestSubscriberSeesTheChange checks the order that revoking needs: when the
// subscriber runs, the change is on disk and in effect, and no lock is held.
func TestSubscriberSeesTheChange(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	dek, e := makeFile(t, s, kmsPolicy(id), st.file(1), alice)
	ran := false
	s.Subscribe(func(ev Event) {
		ran = true
		wantErr(t, "Allowed in the subscriber", s.Allowed(e, st.file(1), OpDecrypt, alice), ErrKeyRevoked)
		if dek.Bytes() == nil {
			t.Error("a data key that was handed out is gone")
		}
		// Using other keys works, even where that creates the default key.
		k, _, err := s.NewDataKey(ctx, kmsPolicy(""), st.file(2), alice)
		if err != nil {
			t.Errorf("NewDataKey in the subscriber: %v", err)
		}
		k.Wipe()
		reopened, err := Open(st.options())
		if err != nil {
			t.Errorf("reopening in the subscriber: %v", err)
			return
		}
		defer reopened.Close()
		wantErr(t, "Allowed after a crash now", reopened.Allowed(e, st.file(1), OpDecrypt, alice), ErrKeyRevoked)
	})
	if err := s.Disable(ctx, root, id); err != nil {
		t.Fatal(err)
	}
	if !ran {
		t.Error("Disable returned before the subscriber ran")
	}
}

// TestEventOrder disables and enables from many sides; the events alternate, and
// whoever is told that a key is disabled was told after the flush.
func TestEventOrder(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	var mu sync.Mutex
	var seen []bool
	running := false
	s.Subscribe(func(e Event) {
		mu.Lock()
		if running {
			t.Error("two events at once")
		}
		running = true
		mu.Unlock()
		time.Sleep(100 * time.Microsecond)
		mu.Lock()
		seen = append(seen, e.Err == nil)
		running = false
		mu.Unlock()
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				var err error
				if i%2 == 0 {
					err = s.Disable(ctx, root, id)
				} else {
					err = s.Enable(ctx, root, id)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, usable := range seen {
		if usable != (i%2 == 1) {
			t.Fatalf("events out of order: %v", seen)
		}
	}
	if len(seen) == 0 {
		t.Error("no events")
	}
}

// TestUseDuringChanges uses keys while they rotate, go and come; run it with -race.
func TestUseDuringChanges(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, By{UID: alice.UID}, CreateOptions{}).ID
	gone := createKey(t, s, By{UID: alice.UID}, CreateOptions{Origin: OriginExternal}).ID
	importMaterial(t, s, gone, material(1), time.Time{})
	p := importParameters(t, s, gone)
	stop := make(chan struct{})
	var users sync.WaitGroup
	for i := range 4 {
		users.Go(func() {
			for n := uint64(0); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				for _, p := range []crypto.Policy{kmsPolicy(id), kmsPolicy(gone), {Algorithm: crypto.AlgorithmAES256}} {
					fc := st.file(n<<8 | uint64(i))
					k, e, err := s.NewDataKey(ctx, p, fc, alice)
					if errors.Is(err, ErrKeyRevoked) || errors.Is(err, ErrNoKey) || errors.Is(err, ErrClosed) {
						continue
					}
					if err != nil {
						t.Errorf("NewDataKey: %v", err)
						return
					}
					o, err := s.OpenEnvelope(ctx, e, fc, alice)
					switch {
					case errors.Is(err, ErrKeyRevoked), errors.Is(err, ErrNoKey), errors.Is(err, ErrClosed):
					case err != nil:
						t.Errorf("OpenEnvelope: %v", err)
					case !o.Equal(k):
						t.Error("another key")
					}
					k.Wipe()
					o.Wipe()
				}
			}
		})
	}
	wrapped := wrapMaterial(t, p, newSHA256(), material(1))
	for i := range 30 {
		for _, err := range []error{
			s.Disable(ctx, root, id),
			s.Enable(ctx, root, id),
			second(s.Rotate(ctx, root, id)),
			second(s.RotateMasterKey(ctx, root)),
			s.DeleteMaterial(ctx, root, gone),
			s.Import(ctx, root, gone, p.Token, wrapped, time.Time{}),
		} {
			if err != nil {
				t.Fatalf("round %d: %v", i, err)
			}
		}
	}
	s.Close()
	close(stop)
	users.Wait()
	consistent(t, st)
}

// TestSubscriberPanics checks that a subscriber's panic does not block later changes.
func TestSubscriberPanics(t *testing.T) {
	st := newStore(t)
	s := st.create(t)
	id := createKey(t, s, root, CreateOptions{}).ID
	cancel := s.Subscribe(func(Event) { panic("subscriber") })
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.Disable(ctx, root, id)
	}()
	cancel()
	done := make(chan error, 1)
	go func() { done <- s.Enable(ctx, root, id) }()
	select {
	case err := <-done:
		wantErr(t, "Enable", err, nil)
	case <-time.After(time.Minute):
		t.Fatal("the next change waits for ever")
	}
}
