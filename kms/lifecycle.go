package kms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The bounds of ScheduleDeletion, in days.
const (
	MinDeletionDays     = 7
	MaxDeletionDays     = 30
	DefaultDeletionDays = 30
)

// The bounds of an automatic rotation's interval. The lower one only keeps a
// mistyped unit from filling the keystore with versions.
const (
	MinRotation = time.Minute
	MaxRotation = 10 * 365 * 24 * time.Hour
)

// CreateOptions describes a key to create.
type CreateOptions struct {
	Description string
	// Origin is OriginKMS if zero. A key of external origin is PendingImport
	// until material is imported.
	Origin Origin
	// Region is the volume's if empty. Policies of this volume can use only keys
	// of its region.
	Region string
	// RotateEvery is the interval of automatic rotation; 0 for none. External
	// keys do not rotate.
	RotateEvery time.Duration
}

// CreateKey makes a CMK and grants all its uses to the uid that asks.
func (s *Service) CreateKey(ctx context.Context, by By, o CreateOptions) (KeyInfo, error) {
	if o.Origin == 0 {
		o.Origin = OriginKMS
	}
	if o.Region == "" {
		o.Region = s.region
	}
	if err := o.check(); err != nil {
		return KeyInfo{}, err
	}
	var info KeyInfo
	err := s.change(ctx, func(ch *change) error {
		k := &cmk{
			description: o.Description,
			origin:      o.Origin,
			region:      o.Region,
			creator:     by.UID,
			grants:      []Grant{{Kind: GrantUser, ID: by.UID, Ops: opAll}},
		}
		k.every = o.RotateEvery
		if err := ch.addKey(k); err != nil {
			return err
		}
		info = ch.describe(k, ch.now)
		ch.note(by, "create", k.id, fmt.Sprintf("origin %v, region %s", k.origin, k.region))
		return nil
	})
	return info, err
}

func (o CreateOptions) check() error {
	if o.Origin != OriginKMS && o.Origin != OriginExternal {
		return fmt.Errorf("%w: origin %v", ErrArgument, o.Origin)
	}
	if err := checkDescription(o.Description); err != nil {
		return err
	}
	if err := checkRegion(o.Region); err != nil {
		return err
	}
	if o.RotateEvery != 0 && o.Origin == OriginExternal {
		return fmt.Errorf("%w: a key with imported material does not rotate", ErrArgument)
	}
	return checkInterval(o.RotateEvery)
}

// addKey enters a new key under a new ID, with material unless that is external.
func (ch *change) addKey(k *cmk) error {
	k.id = newID()
	if _, taken := ch.keys[k.id]; taken {
		return errors.New("kms: the system's random numbers repeat")
	}
	k.created = ch.now
	ch.keys[k.id] = k
	if k.origin == OriginExternal {
		return nil
	}
	return ch.generate(&k.ring, ch.now)
}

// ensureDefault creates the managed default CMK and its alias, unless somebody
// else just did.
func (s *Service) ensureDefault(ctx context.Context, uid uint32) error {
	err := s.change(ctx, func(ch *change) error {
		if _, there := ch.aliases[DefaultAlias]; there {
			return errUnchanged
		}
		k := &cmk{
			description: "default key of KMS policies",
			origin:      OriginKMS,
			region:      s.region,
			managed:     true,
			creator:     uid,
		}
		k.every = DefaultRotation
		if err := ch.addKey(k); err != nil {
			return err
		}
		ch.aliases[DefaultAlias] = k.id
		ch.note(By{UID: uid}, "create-default", k.id, DefaultAlias)
		s.log.Info("creating the default key", "key", k.id, "alias", DefaultAlias)
		return nil
	})
	// With ErrOneCopy the key is there, and the failure was logged.
	if errors.Is(err, errUnchanged) || errors.Is(err, ErrOneCopy) {
		return nil
	}
	return err
}

// changeKey changes one key, named by ID or alias. It finds by itself whether
// that ends or restores the key's use, and tells the subscribers. Finding nothing
// to do is success.
func (s *Service) changeKey(ctx context.Context, ref string, fn func(k *cmk, ch *change) error) error {
	err := s.change(ctx, func(ch *change) error {
		k, err := ch.find(ref)
		if err != nil {
			return err
		}
		return ch.on(k, fn)
	})
	if errors.Is(err, errUnchanged) {
		// Somebody else's change may have done it, and be at telling subscribers.
		s.changing.Lock()
		turn := s.turn
		s.changing.Unlock()
		<-turn
		return nil
	}
	return err
}

// on makes a change to a copy of k.
func (ch *change) on(k *cmk, fn func(k *cmk, ch *change) error) error {
	// Until the material is taken away, subscribers do not know that it expired:
	// the time is not counted here.
	uncounted := func() time.Time { return time.Time{} }
	before := k.usable(uncounted)
	k = ch.edit(k.id)
	if err := fn(k, ch); err != nil {
		return err
	}
	if after := k.usable(uncounted); (before == nil) != (after == nil) {
		ch.events = append(ch.events, Event{KeyID: k.id, Err: after})
	}
	return nil
}

// stateError refuses a change in the key's present state.
func stateError(k *cmk, now time.Time) error {
	return fmt.Errorf("%w: key %s is %v", ErrState, k.id, k.state(now))
}

func (k *cmk) checkManaged(by By) error {
	if k.managed && !by.Managed {
		return fmt.Errorf("%w: %s is %s, every KMS policy without a key uses it; confirm to change it all the same", ErrManaged, k.id, DefaultAlias)
	}
	return nil
}

// Enable makes a Disabled key usable. Enabling an Enabled key does nothing; other
// states give ErrState.
func (s *Service) Enable(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		switch k.state(ch.now) {
		case Enabled:
			return errUnchanged
		case Disabled:
			k.disabled = false
			ch.note(by, "enable", k.id, "")
			return nil
		}
		return stateError(k, ch.now)
	})
}

// Disable refuses all further uses of a key. When it returns, that is durable and
// the subscribers have finished. Disabling a Disabled key does nothing; states
// other than Enabled give ErrState.
func (s *Service) Disable(ctx context.Context, by By, ref string) error {
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		if err := k.checkManaged(by); err != nil {
			return err
		}
		switch k.state(ch.now) {
		case Disabled:
			return errUnchanged
		case Enabled:
			k.disabled = true
			ch.note(by, "disable", k.id, "")
			return nil
		}
		return stateError(k, ch.now)
	})
}

// SetDescription changes a key's description.
func (s *Service) SetDescription(ctx context.Context, by By, ref, description string) error {
	if err := checkDescription(description); err != nil {
		return err
	}
	return s.changeKey(ctx, ref, func(k *cmk, ch *change) error {
		switch k.state(ch.now) {
		case PendingDeletion, Deleted:
			return stateError(k, ch.now)
		}
		if k.description == description {
			return errUnchanged
		}
		k.description = description
		ch.note(by, "set-description", k.id, description)
		return nil
	})
}

// List describes all keys, tombstones included, oldest first.
func (s *Service) List(ctx context.Context) (infos []KeyInfo, err error) {
	err = s.read(ctx, func(m *model) error {
		now := s.now()
		infos = make([]KeyInfo, 0, len(m.keys))
		for _, k := range m.keys {
			infos = append(infos, m.describe(k, now))
		}
		slices.SortFunc(infos, func(a, b KeyInfo) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
		return nil
	})
	return infos, err
}

// Describe describes a key, named by ID or alias.
func (s *Service) Describe(ctx context.Context, ref string) (info KeyInfo, err error) {
	err = s.read(ctx, func(m *model) error {
		k, err := m.find(ref)
		if err == nil {
			info = m.describe(k, s.now())
		}
		return err
	})
	return info, err
}

// describe returns what is to be known of k.
func (m *model) describe(k *cmk, now time.Time) KeyInfo {
	info := KeyInfo{
		ID:              k.id,
		Description:     k.description,
		Region:          k.region,
		State:           k.state(now),
		Origin:          k.origin,
		Managed:         k.managed,
		Protected:       k.protected,
		Creator:         k.creator,
		Created:         k.created,
		Aliases:         []string{},
		Grants:          append([]Grant{}, k.grants...),
		Versions:        k.describeVersions(),
		RotateEvery:     k.every,
		DeletionDate:    k.deletion,
		DeletedAt:       k.deleted,
		MaterialExpires: k.imported.expires,
		MaterialExpired: k.expiredAt(now),
	}
	if v := k.newest(); v != nil {
		info.Current = v.number
	}
	if info.State == Enabled {
		info.NextRotation = k.due()
	}
	for _, name := range slices.Sorted(maps.Keys(m.aliases)) {
		if m.aliases[name] == k.id {
			info.Aliases = append(info.Aliases, name)
		}
	}
	return info
}

func (r *ring) describeVersions() []VersionInfo {
	infos := make([]VersionInfo, len(r.versions))
	for i, v := range r.versions {
		infos[i] = VersionInfo{Number: v.number, Created: v.created}
	}
	return infos
}
