package kms

import (
	"context"
	"fmt"
	"slices"
)

func (g Grant) check() error {
	if g.Kind != GrantUser && g.Kind != GrantGroup || g.Ops == 0 || g.Ops&^opAll != 0 {
		return fmt.Errorf("%w: a grant is for a user or a group, to decrypt, generate or both", ErrArgument)
	}
	return nil
}

// allows returns nil when c holds a grant for op, and otherwise ErrDenied, or
// errNeedGroups when the caller's supplementary groups decide.
func (k *cmk) allows(op Op, c *Caller) error {
	if k.managed || c.drive {
		return nil
	}
	for _, g := range k.grants {
		switch {
		case g.Ops&op != op:
		case g.Kind == GrantUser:
			if g.ID == c.UID {
				return nil
			}
		case g.ID == c.GID, slices.Contains(c.groups, g.ID):
			return nil
		case c.Groups != nil && !c.resolved:
			return errNeedGroups
		case c.groupsErr != nil:
			return fmt.Errorf("%w %s to %s for uid %d: the caller's groups are not known: %w", ErrDenied, k.id, op, c.UID, c.groupsErr)
		}
	}
	return fmt.Errorf("%w %s to %s for uid %d; `ssefs kms grant` gives one", ErrDenied, k.id, op, c.UID)
}

// Grant allows a user or group to use a key, in addition to what it may already.
// Refused with ErrState for a deleted key.
func (s *Service) Grant(ctx context.Context, by By, ref string, g Grant) error {
	if err := g.check(); err != nil {
		return err
	}
	return s.changeGrants(ctx, by, "grant", ref, g, func(k *cmk) error {
		i, found := slices.BinarySearchFunc(k.grants, g, compareGrants)
		switch {
		case !found && len(k.grants) >= maxGrants:
			return fmt.Errorf("%w: a key has at most %d grants; use groups", ErrState, maxGrants)
		case !found:
			k.grants = slices.Insert(k.grants, i, g)
		case k.grants[i].Ops&g.Ops == g.Ops:
			return errUnchanged
		default:
			k.grants[i].Ops |= g.Ops
		}
		return nil
	})
}

// Revoke takes operations away from a user's or group's grant; the grant goes
// with its last one. It acts at the next open. ErrNoGrant when there is nothing
// to take.
func (s *Service) Revoke(ctx context.Context, by By, ref string, g Grant) error {
	if err := g.check(); err != nil {
		return err
	}
	return s.changeGrants(ctx, by, "revoke", ref, g, func(k *cmk) error {
		i, found := slices.BinarySearchFunc(k.grants, g, compareGrants)
		if !found || k.grants[i].Ops&g.Ops == 0 {
			return fmt.Errorf("%w: %s %d on key %s", ErrNoGrant, g.Kind, g.ID, k.id)
		}
		if k.grants[i].Ops &^= g.Ops; k.grants[i].Ops == 0 {
			k.grants = slices.Delete(k.grants, i, i+1)
		}
		return nil
	})
}

func (s *Service) changeGrants(ctx context.Context, by By, event, ref string, g Grant, fn func(*cmk) error) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if !k.deleted.IsZero() {
			return fmt.Errorf("%w: key %s is deleted", ErrState, k.id)
		}
		if k.managed {
			return fmt.Errorf("%w: %s needs no grants, file permissions decide", ErrManaged, DefaultAlias)
		}
		ch.note(by, event, k.id, fmt.Sprintf("%s %d, %s", g.Kind, g.ID, g.Ops))
		return fn(k)
	})
}
