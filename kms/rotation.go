package kms

import (
	"context"
	"errors"
	"fmt"
	"time"
)

func checkInterval(every time.Duration) error {
	if every != 0 && (every < MinRotation || every > MaxRotation) {
		return fmt.Errorf("%w: a rotation interval is %v to %v, or 0 for none", ErrArgument, MinRotation, MaxRotation)
	}
	return nil
}

// Rotate adds a version to an Enabled key. What is wrapped from now on is wrapped
// under it; older versions go on unwrapping. Keys with imported material are
// refused with ErrState. It returns the new version's number.
func (s *Service) Rotate(ctx context.Context, by By, ref string) (uint32, error) {
	var number uint32
	err := s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if err := k.checkRotates(ch.now); err != nil {
			return err
		}
		if err := ch.generate(&k.ring, ch.now); err != nil {
			return err
		}
		number = k.newest().number
		ch.note(by, "rotate", k.id, fmt.Sprintf("version %d", number))
		return nil
	})
	return number, err
}

// SetRotation sets the interval of a key's automatic rotation, 0 to end it. The
// next rotation is due that long after the last one: at once, if that is over.
func (s *Service) SetRotation(ctx context.Context, by By, ref string, every time.Duration) error {
	if err := checkInterval(every); err != nil {
		return err
	}
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if err := k.checkRotates(ch.now); err != nil {
			return err
		}
		if k.every == every {
			return errUnchanged
		}
		k.every = every
		ch.note(by, "set-rotation", k.id, every.String())
		return nil
	})
}

func (k *cmk) checkRotates(now time.Time) error {
	if k.origin == OriginExternal {
		return fmt.Errorf("%w: key %s has imported material and does not rotate; create another key and import new material", ErrState, k.id)
	}
	if k.state(now) != Enabled {
		return stateError(k, now)
	}
	return nil
}

// MasterKeyInfo describes the service master key, which wraps the data keys of
// AES256 files.
type MasterKeyInfo struct {
	Current      uint32        `json:"current_version"`
	Versions     []VersionInfo `json:"versions"`
	RotateEvery  time.Duration `json:"rotate_every_ns"`
	NextRotation time.Time     `json:"next_rotation,omitzero"`
}

// MasterKey describes the service master key.
func (s *Service) MasterKey(ctx context.Context) (info MasterKeyInfo, err error) {
	err = s.read(ctx, func(m *model) error {
		r := &m.service
		info = MasterKeyInfo{Current: r.newest().number, Versions: r.describeVersions(), RotateEvery: r.every, NextRotation: r.due()}
		return nil
	})
	return info, err
}

// RotateMasterKey adds a version to the service master key and returns its number.
func (s *Service) RotateMasterKey(ctx context.Context, by By) (uint32, error) {
	var number uint32
	err := s.change(ctx, func(ch *change) error {
		if err := ch.generate(&ch.service, ch.now); err != nil {
			return err
		}
		number = ch.service.newest().number
		ch.note(by, "rotate-master-key", "", fmt.Sprintf("version %d", number))
		return nil
	})
	return number, err
}

// SetMasterKeyRotation sets the interval of the service master key's automatic
// rotation, 0 to end it.
func (s *Service) SetMasterKeyRotation(ctx context.Context, by By, every time.Duration) error {
	if err := checkInterval(every); err != nil {
		return err
	}
	err := s.change(ctx, func(ch *change) error {
		if ch.service.every == every {
			return errUnchanged
		}
		ch.service.every = every
		ch.note(by, "set-master-key-rotation", "", every.String())
		return nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}
