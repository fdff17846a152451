package kms

import (
	"context"
	"fmt"
	"time"
)

// ScheduleDeletion makes a key unusable now and has its material destroyed in
// that many days; it returns when. CancelDeletion keeps the key until then. A key
// that is pending deletion already gives ErrState, a protected one ErrProtected.
func (s *Service) ScheduleDeletion(ctx context.Context, by By, ref string, days int) (time.Time, error) {
	if days < MinDeletionDays || days > MaxDeletionDays {
		return time.Time{}, fmt.Errorf("%w: a key is deleted %d to %d days ahead", ErrArgument, MinDeletionDays, MaxDeletionDays)
	}
	var when time.Time
	err := s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if err := k.checkManaged(by); err != nil {
			return err
		}
		switch k.state(ch.now) {
		case PendingDeletion, Deleted:
			return stateError(k, ch.now)
		}
		if k.protected {
			return fmt.Errorf("%w: key %s", ErrProtected, k.id)
		}
		when = ch.now.AddDate(0, 0, days)
		k.deletion = when
		ch.note(by, "schedule-deletion", k.id, day(when))
		return nil
	})
	return when, err
}

// CancelDeletion keeps a key that is pending deletion. It has the state again
// that it had before, so a key that was disabled stays disabled.
func (s *Service) CancelDeletion(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		// A key whose day has come is gone, even if Maintain has not run yet.
		if k.state(ch.now) != PendingDeletion || !ch.now.Before(k.deletion) {
			return stateError(k, ch.now)
		}
		k.deletion = time.Time{}
		ch.note(by, "cancel-deletion", k.id, "")
		return nil
	})
}

// Protect turns a key's deletion protection on: ScheduleDeletion is refused.
func (s *Service) Protect(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		switch k.state(ch.now) {
		case PendingDeletion, Deleted:
			return stateError(k, ch.now)
		}
		if k.protected {
			return errUnchanged
		}
		k.protected = true
		ch.note(by, "protect", k.id, "")
		return nil
	})
}

// Unprotect turns a key's deletion protection off.
func (s *Service) Unprotect(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if !k.deleted.IsZero() {
			return stateError(k, ch.now)
		}
		if !k.protected {
			return errUnchanged
		}
		k.protected = false
		ch.note(by, "unprotect", k.id, "")
		return nil
	})
}

// bury turns a key into its tombstone: material, grants and aliases go, the ID
// stays taken for ever.
func (ch *change) bury(k *cmk) {
	ch.note(By{UID: DriveUID}, "delete", k.id, "its day has come")
	ch.dropMaterial(&k.ring)
	ch.endImport(k)
	for name, id := range ch.aliases {
		if id == k.id {
			delete(ch.aliases, name)
		}
	}
	k.versions, k.every, k.grants, k.imported = nil, 0, nil, imported{}
	k.deleted = ch.now
}
