package kms

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long Run waits at most before it looks again, so that a step of the wall
// clock, or a failure, is noticed; and at least.
const (
	maxNap = time.Minute
	minNap = 100 * time.Millisecond
	// batchTime is how long a refused use may wait to be written to the audit log.
	batchTime = time.Second
)

// Maintain does everything that has become due: it rotates keys, overdue ones at
// once, ends imported material and open imports that have expired, and destroys
// the material of keys whose day of deletion has come. It also writes a copy of
// the keystore again that could not be written before, and writes down what was
// counted and audited. When nothing is due, nothing is written. After an error
// what was due is still due.
func (s *Service) Maintain(ctx context.Context) error {
	err := s.change(ctx, func(ch *change) error {
		done := s.ks.single
		for _, step := range []func(*change) (bool, error){s.rotateDue, s.expireDue, s.deleteDue} {
			did, err := step(ch)
			if err != nil {
				return err
			}
			done = done || did
		}
		if !done {
			return errUnchanged
		}
		return nil
	})
	if errors.Is(err, errUnchanged) {
		err = nil
	}
	if errors.Is(err, ErrClosed) {
		return err
	}
	return errors.Join(err, s.record(s.now()))
}

// Run calls Maintain at once and then whenever something is due, until ctx is
// done or the service closed. Failures are logged and tried again. It is not for
// volumes that are mounted read-only.
func (s *Service) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.closed:
			return
		case <-timer.C:
		case <-s.changed:
		case <-s.noted:
			// Refusals are written in batches, but soon.
			if !soon {
				soon = true
				timer.Reset(batchTime)
			}
			continue
		}
		soon = false
		nap := maxNap
		if err := s.Maintain(ctx); errors.Is(err, ErrClosed) {
			return
		} else if err != nil && ctx.Err() == nil {
			s.log.Error("key maintenance failed and will be tried again", "err", err)
		} else if next := s.NextDue(); !next.IsZero() {
			nap = min(maxNap, max(minNap, next.Sub(s.clock())))
		}
		timer.Reset(nap)
	}
}

// NextDue returns when Maintain has something to do next; zero if nothing is
// planned.
func (s *Service) NextDue() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var next time.Time
	add := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if s.state == nil {
		return next
	}
	if len(s.state.service.versions) < maxVersions {
		add(s.state.service.due())
	}
	now := s.now()
	for _, k := range s.state.keys {
		if !k.deleted.IsZero() {
			continue
		}
		add(k.deletion)
		if k.hasMaterial() {
			add(k.imported.expires)
		}
		add(k.imported.tokenEnds)
		if k.rotatesAt(now) {
			add(k.due())
		}
	}
	return next
}

// rotatesAt reports whether automatic rotation is not suspended.
func (k *cmk) rotatesAt(now time.Time) bool {
	return k.origin == OriginKMS && k.state(now) == Enabled && len(k.versions) < maxVersions
}

func reached(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

func (s *Service) rotateDue(ch *change) (did bool, err error) {
	by := By{UID: DriveUID}
	if reached(ch.service.due(), ch.now) && len(ch.service.versions) < maxVersions {
		if err := ch.generate(&ch.service, ch.now); err != nil {
			return did, err
		}
		ch.note(by, "rotate-master-key", "", fmt.Sprintf("version %d, as due", ch.service.newest().number))
		did = true
	}
	for id, k := range ch.keys {
		if !k.rotatesAt(ch.now) || !reached(k.due(), ch.now) {
			continue
		}
		k = ch.edit(id)
		if err := ch.generate(&k.ring, ch.now); err != nil {
			return did, err
		}
		ch.note(by, "rotate", id, fmt.Sprintf("version %d, as due", k.newest().number))
		did = true
	}
	return did, nil
}

func (s *Service) expireDue(ch *change) (did bool, err error) {
	for _, k := range ch.keys {
		material := k.hasMaterial() && reached(k.imported.expires, ch.now)
		token := reached(k.imported.tokenEnds, ch.now)
		if !material && !token {
			continue
		}
		did = true
		err := ch.on(k, func(k *cmk, ch *change) error {
			if token {
				ch.endImport(k)
			}
			if material {
				s.log.Warn("imported key material has expired; import it again to open the files under this key", "key", k.id)
				ch.note(By{UID: DriveUID}, "expire", k.id, "")
				ch.dropMaterial(&k.ring)
				k.imported.expired = true
			}
			return nil
		})
		if err != nil {
			return did, err
		}
	}
	return did, nil
}

func (s *Service) deleteDue(ch *change) (did bool, err error) {
	for _, k := range ch.keys {
		if !k.deleted.IsZero() || !reached(k.deletion, ch.now) {
			continue
		}
		did = true
		s.log.Warn("deleting a key's material for good, as scheduled", "key", k.id)
		err := ch.on(k, func(k *cmk, ch *change) error {
			ch.bury(k)
			return nil
		})
		if err != nil {
			return did, err
		}
	}
	return did, nil
}
