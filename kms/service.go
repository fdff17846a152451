package kms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ssefs/crypto"
)

// DefaultRotation is how often the service master key rotates unless told otherwise.
const DefaultRotation = 90 * 24 * time.Hour

// Options is what a Service needs.
type Options struct {
	// Files keeps the keystore's two copies.
	Files Files
	// Key seals the keystore. The service keeps no reference to it.
	Key *crypto.Key
	// Volume is the volume that the keystore belongs to.
	Volume crypto.VolumeID
	// Region is the volume's region, "" for DefaultRegion.
	Region string
	// Mode says whether KMS policies may be used.
	Mode Mode
	// Clock tells the time; nil for time.Now.
	Clock func() time.Time
	// Logger takes what the operator must know; nil for slog.Default().
	Logger *slog.Logger
	// Logs keeps the usage counts and the audit log, in the files FileUsage,
	// AuditKeys.NNN and AuditUse.NNN, with NNN below 064. With nil, usage is counted
	// in memory and there is no audit log. It may be Files.
	Logs Files
	// Generation is the keystore generation that the store's sealed head names, 0
	// when the store is being created.
	Generation uint64
	// RecordGeneration makes the head name a generation, durably. It is called
	// once per change of the keystore, and by Open after a crash. The service's
	// change lock is held meanwhile: it must not call back. NewDataKey can lead
	// here, at the first use of the default CMK; so the drive must not hold a lock
	// over NewDataKey that committing the head needs.
	RecordGeneration func(generation uint64) error
}

// Mode switches the use of KMS policies.
type Mode uint8

// The modes of a Service. With Off, policies and files that need a CMK are
// refused with ErrKMSOff; all else works, the management of keys included.
const (
	On Mode = iota
	Off
)

func (o *Options) setDefaults() error {
	if o.Files == nil || o.Key == nil || o.RecordGeneration == nil {
		return fmt.Errorf("%w: kms needs Files, Key and RecordGeneration", ErrArgument)
	}
	if o.Region == "" {
		o.Region = DefaultRegion
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return checkRegion(o.Region)
}

// Service is a volume's key management service. Its methods are safe for
// concurrent use.
type Service struct {
	volume crypto.VolumeID
	region string
	mode   Mode
	clock  func() time.Time
	log    *slog.Logger

	bucketKeys *bucketKeys
	meter      *meter
	logs       Files // nil if nothing is recorded
	auditKeys  *auditLog
	auditUse   *auditLog
	noted      chan struct{} // wakes Run after a refusal
	recordMu   sync.Mutex    // serialises record, and guards recorded
	recorded   time.Time     // when uses were last summed up in the audit log

	// changing serialises changes of the keystore. It is taken before mu.
	changing sync.Mutex
	ks       keystore
	// changed wakes Run after a change.
	changed chan struct{}
	closed  chan struct{} // closed by Close
	// turn is closed when the events of the last change were delivered.
	turn chan struct{}

	// mu guards state and, through it, all key material: it is held for reading
	// while a key is used. state is replaced with changing held too, so holders
	// of changing may read it without mu.
	mu    sync.RWMutex
	state *model // nil when closed

	subMu sync.Mutex
	subs  map[int]func(Event)
	subID int
}

// Create makes a new keystore, of generation 1, with its first master keys. It
// refuses to replace one with ErrKeystoreExists.
func Create(o Options) (*Service, error) {
	s, err := newService(&o)
	if err != nil {
		return nil, err
	}
	if s.ks.exists() {
		return nil, fmt.Errorf("%w: %s or %s is there", ErrKeystoreExists, FileA, FileB)
	}
	now := s.now()
	m := &model{generation: o.Generation + 1, created: now, keys: map[string]*cmk{}, aliases: map[string]string{}}
	m.service.every = DefaultRotation
	err = m.generate(&m.service, now)
	if err == nil {
		err = m.generate(&m.clear, now)
	}
	if err == nil {
		ch := &change{model: m}
		ch.note(By{UID: DriveUID}, "create-keystore", "", "")
		err = s.writeAhead(ch)
	}
	if err == nil {
		err = s.ks.write(m)
	}
	if err != nil {
		wipeKeys(m.fresh)
		return nil, fmt.Errorf("kms: creating the keystore: %w", err)
	}
	m.fresh = nil
	s.state = m
	return s, nil
}

// Open reads the keystore, mending a bad copy from the other and completing a
// change that a crash interrupted. Errors wrap ErrKeystoreDamaged, ErrRollback or
// crypto.ErrVersion.
func Open(o Options) (*Service, error) {
	return open(o, (*keystore).load)
}

// OpenAnyway opens a keystore that Open refuses with ErrRollback: it takes the
// newest copy that can be authenticated and makes it the current generation. If
// that is older than the store, keys that were disabled or deleted since may be
// usable again, and files made with keys created since are lost. It is recorded
// in the audit log as asked for by by, and for an explicit command only.
func OpenAnyway(o Options, by By) (*Service, error) {
	s, err := open(o, (*keystore).loadAny)
	if err != nil {
		return nil, err
	}
	// Not mended silently later: this is on record or it is not done.
	err = s.change(context.Background(), func(ch *change) error {
		ch.note(by, "open-anyway", "", "a keystore of another generation was accepted on explicit request")
		return nil
	})
	if err != nil && !errors.Is(err, ErrOneCopy) {
		s.Close()
		return nil, fmt.Errorf("kms: accepting the keystore: %w", err)
	}
	return s, nil
}

func open(o Options, load func(*keystore, uint64) (*model, error)) (*Service, error) {
	s, err := newService(&o)
	if err != nil {
		return nil, err
	}
	if s.state, err = load(&s.ks, o.Generation); err != nil {
		return nil, err
	}
	s.auditKeys.resume(s.state.audit[0])
	s.auditUse.resume(s.state.audit[1])
	if s.logs != nil {
		// Losing counts must not lose files.
		if err := s.meter.load(s.logs, s.ks.aead, s.volume); err != nil {
			s.log.Error("the usage counts of keys cannot be read; counting starts anew", "err", err)
		}
	}
	// A store that cannot be written, full or read-only, is still to be read.
	if err := s.settle(); err != nil {
		s.log.Error("the keystore is in use but could not be completed", "err", err)
	}
	return s, nil
}

func newService(o *Options) (*Service, error) {
	if err := o.setDefaults(); err != nil {
		return nil, err
	}
	aead, err := crypto.NewAEAD(o.Key)
	if err != nil {
		return nil, fmt.Errorf("kms: keystore key: %w", err)
	}
	turn := make(chan struct{})
	close(turn)
	chain := func(prefix string, index int) *auditLog {
		return &auditLog{files: o.Logs, prefix: prefix, index: index, aead: aead, volume: o.Volume, clock: o.Clock, log: o.Logger}
	}
	return &Service{
		bucketKeys: newBucketKeys(o.Volume, o.Clock),
		meter:      newMeter(o.Clock),
		logs:       o.Logs,
		auditKeys:  chain(AuditKeys, 0),
		auditUse:   chain(AuditUse, 1),
		noted:      make(chan struct{}, 1),
		recorded:   o.Clock(),
		volume:     o.Volume,
		region:     o.Region,
		mode:       o.Mode,
		clock:      o.Clock,
		log:        o.Logger,
		ks:         keystore{files: o.Files, aead: aead, volume: o.Volume, record: o.RecordGeneration, log: o.Logger},
		changed:    make(chan struct{}, 1),
		closed:     make(chan struct{}),
		turn:       turn,
		subs:       map[int]func(Event){},
	}, nil
}

// Close waits for a change in progress, writes down what was counted and audited
// since the last time, and erases all key material. Data keys that were handed out
// stay valid. Everything fails with ErrClosed afterwards.
func (s *Service) Close() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	open := s.state != nil
	if open {
		s.state.wipe()
		s.state = nil
	}
	s.mu.Unlock()
	if !open {
		return
	}
	close(s.closed)
	s.bucketKeys.keep(func(string) bool { return false })
	s.recordMu.Lock()
	s.recordUses(s.now())
	s.recordMu.Unlock()
	if err := s.record(s.now()); err != nil {
		s.log.Error("the last uses of keys could not be recorded", "err", err)
	}
}

// Generation returns the keystore's current generation.
func (s *Service) Generation() uint64 {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.state == nil {
		return 0
	}
	return s.state.generation
}

// now is the time with the precision that is kept.
func (s *Service) now() time.Time { return s.clock().UTC().Round(0) }

// read calls fn with the keystore as it is, which changes neither meanwhile nor by fn.
func (s *Service) read(ctx context.Context, fn func(*model) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.state == nil {
		return ErrClosed
	}
	return fn(s.state)
}

// change is a change of the keystore being made.
type change struct {
	*model  // a copy of the one in use, to be changed
	now     time.Time
	events  []Event       // what to tell subscribers once it is in effect
	records []AuditRecord // what to write down beforehand
}

// errUnchanged is returned by a change that finds nothing to do.
var errUnchanged = errors.New("unchanged")

// change makes a change: fn makes it in a copy, which is written and then put to
// use. Events are delivered, in the order of the changes, before it returns. When
// fn fails nothing happens. ctx counts until the write begins: giving up later
// would leave the outcome open.
func (s *Service) change(ctx context.Context, fn func(*change) error) error {
	s.changing.Lock()
	ch, err := s.changeLocked(ctx, fn)
	var before, after chan struct{}
	if ch != nil && len(ch.events) > 0 {
		before, after = s.turn, make(chan struct{})
		s.turn = after
	}
	s.changing.Unlock()
	if after != nil {
		// Also when a subscriber panics: others wait for their turn.
		defer close(after)
		<-before
		s.deliver(ch.events)
	}
	return err
}

// changeLocked is change up to the delivery of events. It returns the change if
// it is in effect, which with ErrOneCopy it is.
func (s *Service) changeLocked(ctx context.Context, fn func(*change) error) (*change, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.state == nil {
		return nil, ErrClosed
	}
	if err := s.settle(); err != nil {
		return nil, fmt.Errorf("kms: an earlier change of the keystore must be completed first: %w", err)
	}
	ch := &change{model: s.state.clone(), now: s.now()}
	ch.generation++
	if err := fn(ch); err != nil {
		wipeKeys(ch.fresh)
		return nil, err
	}
	if err := s.writeAhead(ch); err != nil {
		wipeKeys(ch.fresh)
		return nil, err
	}
	err := s.ks.write(ch.model)
	if errors.Is(err, errUncommitted) {
		wipeKeys(ch.fresh)
		s.failed(ch, err)
		// Try to take it back at once, so that "failed" means "did not happen".
		if again := s.settle(); again != nil {
			s.log.Error("a change of the keystore failed and could not be taken back; a new mount may show it done",
				"err", err, "again", again)
		}
		return nil, fmt.Errorf("kms: %w", err)
	}
	s.swap(ch.model)
	return ch, err
}

// writeAhead makes the audit records of a change durable, before the change. What
// cannot be recorded is not done.
func (s *Service) writeAhead(ch *change) error {
	for _, r := range ch.records {
		s.auditKeys.add(r)
	}
	if err := s.auditKeys.flush(); err != nil {
		s.failed(ch, err)
		return err
	}
	ch.audit = [2]anchor{s.auditKeys.position(), s.auditUse.position()}
	return nil
}

// failed records that a change was not made after all.
func (s *Service) failed(ch *change, err error) {
	for _, r := range ch.records {
		r.Error = "failed: " + err.Error()
		s.auditKeys.add(r)
	}
}

// swap puts m, which was written, to use.
func (s *Service) swap(m *model) {
	dropped, stale := m.dropped, m.stale
	m.fresh, m.dropped, m.stale = nil, nil, nil
	s.mu.Lock()
	s.state = m
	s.mu.Unlock()
	// Whoever used the old state held mu for reading, and has finished.
	wipeKeys(dropped)
	s.bucketKeys.keep(func(id string) bool {
		k, ok := m.keys[id]
		return ok && k.usable(s.clock) == nil
	})
	for _, b := range stale {
		clear(b)
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// settle writes the state in use once more if the last write stopped before its
// commit point. Whatever that write left behind is of the same generation and is
// replaced by this; it is written twice, so that a copy that somebody kept of the
// other is of an old generation. The caller holds changing.
func (s *Service) settle() error {
	if !s.ks.open {
		return nil
	}
	for range 2 {
		m := s.state.clone()
		m.generation++
		if err := s.ks.write(m); errors.Is(err, errUncommitted) {
			return err
		}
		s.swap(m)
	}
	return nil
}
