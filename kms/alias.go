package kms

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// Alias is a name for a key.
type Alias struct {
	Name  string `json:"name"`
	KeyID string `json:"key_id"`
}

// CreateAlias gives a key, named by ID or alias, a new name. ErrAlias for a
// malformed or reserved name, ErrAliasExists if it is taken, ErrState for a key
// that is pending deletion or deleted.
func (s *Service) CreateAlias(ctx context.Context, by By, name, ref string) error {
	name, err := checkAlias(name)
	if err != nil {
		return err
	}
	return s.change(ctx, func(ch *change) error {
		if id, taken := ch.aliases[name]; taken {
			return fmt.Errorf("%w: %s names key %s", ErrAliasExists, name, id)
		}
		return ch.point(by, "create-alias", name, ref)
	})
}

// UpdateAlias makes an alias name another key. Files keep the key that they were
// created with. ErrNoAlias if there is none.
func (s *Service) UpdateAlias(ctx context.Context, by By, name, ref string) error {
	name, err := checkAlias(name)
	if err != nil {
		return err
	}
	return s.change(ctx, func(ch *change) error {
		if _, ok := ch.aliases[name]; !ok {
			return fmt.Errorf("%w %q", ErrNoAlias, name)
		}
		return ch.point(by, "update-alias", name, ref)
	})
}

// DeleteAlias removes an alias. Policies that name it then fail with ErrNoKey;
// files are not concerned. ErrNoAlias if there is none.
func (s *Service) DeleteAlias(ctx context.Context, by By, name string) error {
	name, err := checkAlias(name)
	if err != nil {
		return err
	}
	return s.change(ctx, func(ch *change) error {
		id, ok := ch.aliases[name]
		if !ok {
			return fmt.Errorf("%w %q", ErrNoAlias, name)
		}
		ch.note(by, "delete-alias", id, name)
		delete(ch.aliases, name)
		return nil
	})
}

// Aliases returns all aliases in the order of their names, the reserved one of
// the default key included once it exists.
func (s *Service) Aliases(ctx context.Context) (all []Alias, err error) {
	err = s.read(ctx, func(m *model) error {
		all = make([]Alias, 0, len(m.aliases))
		for _, name := range slices.Sorted(maps.Keys(m.aliases)) {
			all = append(all, Alias{Name: name, KeyID: m.aliases[name]})
		}
		return nil
	})
	return all, err
}

// point makes name an alias of the key ref.
func (ch *change) point(by By, event, name, ref string) error {
	k, err := ch.find(ref)
	if err != nil {
		return err
	}
	switch k.state(ch.now) {
	case PendingDeletion, Deleted:
		return stateError(k, ch.now)
	}
	ch.note(by, event, k.id, name)
	ch.aliases[name] = k.id
	return nil
}
