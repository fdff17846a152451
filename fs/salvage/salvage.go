package salvage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// View is a snapshot of a store; *store.View is one.
type View interface {
	Version() uint64
	Get(key []byte, fn func(value []byte) error) error
	IterateKeys(prefix, from []byte, fn func(key []byte, size int64) error) error
}

// KeyService unwraps data keys; *kms.Service is one.
type KeyService interface {
	OpenEnvelope(ctx context.Context, e crypto.Envelope, fc crypto.FileContext, c kms.Caller) (*crypto.Key, error)
}

// Options are what a salvage needs.
type Options struct {
	View View
	Keys *crypto.VolumeKeys
	ID   crypto.VolumeID
	// KMS unwraps the data keys. Without one there are no contents.
	KMS KeyService
	// HeadCopy is the copy of the sealed head that the last clean unmount left
	// beside the database; nil if there is none.
	HeadCopy []byte
	// Dir is the empty directory that the copy goes to.
	Dir *os.File
	// Progress is told a few times a second; nil tells nobody.
	Progress store.Progress
}

// Run copies all that can be read into o.Dir. The error is not nil if the copy
// could not be made, or was cut short by ctx; the report, of what was done until
// then, is never nil. What could not be read is no error.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Progress = o.Progress.Paced()
	s := &salvager{
		Options: o, ctx: ctx, report: &Report{Version: o.View.Version(), Losses: []Loss{}},
		buckets: make(map[uint64]*bucket), notSet: make(map[string]int), root: os.Geteuid() == 0,
	}
	var err error
	if s.records, err = crypto.NewRecordSealer(o.Keys.Metadata, o.ID); err != nil {
		return s.report, err
	}
	s.names, s.sets = crypto.NewNameHasher(o.Keys.Names), crypto.NewSetHasher(o.Keys.SetHash)
	s.out = directory{fd: int(o.Dir.Fd())}
	err = s.run()
	s.report.Notes = append(s.report.Notes, s.notSetNotes()...)
	return s.report, err
}

// salvager is one run of a salvage, by one goroutine.
type salvager struct {
	Options
	ctx     context.Context
	records *crypto.RecordSealer
	names   *crypto.NameHasher
	sets    *crypto.SetHasher
	report  *Report

	head    *record.Head // nil if it cannot be read
	inodes  table
	buckets map[uint64]*bucket
	out     directory // the copy
	links   directory // holds inodes that have more names
	root    bool      // this process may give files away
	notSet  map[string]int

	plain []byte // plaintext of the record at hand
	block []byte
	done  int64
}

func (s *salvager) run() error {
	s.readHead()
	if err := s.readBuckets(); err != nil {
		return err
	}
	if err := s.readInodes(); err != nil {
		return err
	}
	s.judgeBuckets()
	if err := s.makeLinks(); err != nil {
		return err
	}
	err := s.copyTree()
	if err == nil {
		err = s.copyUnreached()
	}
	return errors.Join(err, s.removeLinks())
}

// tick is called for every record. It reports progress now and then, and returns
// an error once the salvage is to end.
func (s *salvager) tick(done, total int64, what string) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.Progress(done, total, what)
	return nil
}

// get reads and opens a record into s.plain. Its errors say why the record cannot
// be used.
func (s *salvager) get(key []byte) error {
	return s.View.Get(key, func(sealed []byte) (err error) {
		s.plain, err = s.records.Open(s.plain[:0], key, sealed)
		return err
	})
}

// keys calls fn for the keys under a prefix. Where the store fails to go on, the
// report says so and the rest is passed over.
func (s *salvager) keys(prefix []byte, fn func(record.Key, []byte) error) error {
	var inner error
	err := s.View.IterateKeys(prefix, nil, func(raw []byte, _ int64) error {
		k, err := record.ParseKey(raw)
		if err != nil {
			return nil // no record of ours
		}
		if inner = fn(k, append([]byte(nil), raw...)); inner != nil {
			return store.ErrStop
		}
		return nil
	})
	if inner != nil {
		return inner
	}
	if err != nil && (errors.Is(err, store.ErrDamaged) || errors.Is(err, store.ErrIO)) {
		s.lose(Loss{Kind: Records, Message: fmt.Sprintf("the store fails to list its %s records: %v", record.Kind(prefix[0]), err)})
		return nil
	}
	return err
}

// readHead reads the head, of which only what it tells about the rest is used.
func (s *salvager) readHead() {
	err := s.get(record.HeadKey())
	if err == nil {
		s.head, err = record.DecodeHead(s.plain)
	}
	if err != nil {
		s.lose(Loss{Kind: State, Message: fmt.Sprintf("the head record cannot be read (%v): it cannot be told whether this is the newest state", err)})
		return
	}
	if v := s.View.Version(); v != s.head.Version {
		s.lose(Loss{Kind: State, Message: fmt.Sprintf("the head is of version %d, the store at %d: part of the store was put back or lost, and some files may be older than others", s.head.Version, v)})
	}
	if s.HeadCopy == nil {
		return
	}
	plain, err := s.records.Open(nil, record.HeadKey(), s.HeadCopy)
	if err != nil {
		return
	}
	if saved, err := record.DecodeHead(plain); err == nil && saved.Version > s.head.Version {
		s.lose(Loss{Kind: State, Message: fmt.Sprintf("the store is at version %d, but was at %d when it was last unmounted: newer changes are lost", s.head.Version, saved.Version)})
	}
}
