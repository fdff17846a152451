package check

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// View is a consistent snapshot of a store; *store.View is one.
type View interface {
	Version() uint64
	Get(key []byte, fn func(value []byte) error) error
	Iterate(prefix, from []byte, fn func(key, value []byte) error) error
	IterateKeys(prefix, from []byte, fn func(key []byte, size int64) error) error
}

// KeyService unwraps data keys; *kms.Service is one.
type KeyService interface {
	OpenEnvelope(ctx context.Context, e crypto.Envelope, fc crypto.FileContext, c kms.Caller) (*crypto.Key, error)
}

// ContentsMode says what is done about the contents of files.
type ContentsMode int

// What is done about contents.
const (
	// SkipContents checks that the data records are there.
	SkipContents ContentsMode = iota
	// VerifyContents also opens every block. It needs a KeyService.
	VerifyContents
)

// DefaultMaxProblems is how many problems a Report lists unless told otherwise.
const DefaultMaxProblems = 10_000

// Options are what a check needs.
type Options struct {
	// View is the snapshot to check. Space that is freed while the check runs
	// comes back when it is released.
	View View
	Keys *crypto.VolumeKeys
	ID   crypto.VolumeID
	// KMS unwraps the data keys. Without one envelopes are only parsed.
	KMS      KeyService
	Contents ContentsMode
	// HeadCopy is the copy of the sealed head that the last clean unmount left
	// beside the database; nil if there is none.
	HeadCopy []byte
	// MaxProblems bounds the problems that are listed; further ones are
	// counted. 0 means DefaultMaxProblems.
	MaxProblems int
	// Progress is told, a few times a second, of inodes, entries or bytes of
	// contents; nil tells nobody.
	Progress store.Progress
	// Logger gets every problem that is listed. Nil means nothing is logged.
	Logger *slog.Logger

	windowWeight int // see window; 0 means the default
}

// ErrNoKeyService is returned for VerifyContents without a KeyService.
var ErrNoKeyService = errors.New("contents cannot be verified without a key service")

// Run checks a volume. The error is not nil if the check could not be done, or
// was cut short by ctx; what is wrong with the volume is in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Contents == VerifyContents && o.KMS == nil {
		return nil, ErrNoKeyService
	}
	if o.MaxProblems == 0 {
		o.MaxProblems = DefaultMaxProblems
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.windowWeight == 0 {
		o.windowWeight = defaultWindowWeight
	}
	records, err := crypto.NewRecordSealer(o.Keys.Metadata, o.ID)
	if err != nil {
		return nil, err
	}
	o.Progress = o.Progress.Paced()
	c := &checker{
		Options: o, ctx: ctx, records: records,
		names: crypto.NewNameHasher(o.Keys.Names), sets: crypto.NewSetHasher(o.Keys.SetHash),
		buckets: make(map[uint64]*bucket), locked: make(map[lockedKey]int64),
		report: &Report{Version: o.View.Version(), Problems: []Problem{}},
	}
	c.report.Counts.Records = make(map[string]int64)
	for _, step := range []func() error{
		c.checkHead, c.checkKeys, c.loadDeletions, c.loadBuckets,
		c.checkInodes, c.checkEntries, c.checkNames, c.checkBuckets, c.checkTotals,
		c.resolvePaths,
	} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := step(); err != nil {
			return nil, err
		}
		if c.fatal != nil {
			return nil, c.fatal
		}
	}
	c.finish()
	return c.report, nil
}

// checker is one run of a check. It is used by one goroutine, and by the
// streams that this one waits for.
type checker struct {
	Options
	ctx     context.Context
	records *crypto.RecordSealer
	names   *crypto.NameHasher
	sets    *crypto.SetHasher

	head     *record.Head // nil if it cannot be read
	pending  []pendingData
	orphans  []orphan
	buckets  map[uint64]*bucket
	inodes   table
	totals   totals
	file     fileCheck // the file being checked, kept for its buffers
	plain    []byte    // plaintext of the record at hand
	locked   map[lockedKey]int64
	findings []finding
	report   *Report

	fatal error // why the check cannot go on
	ticks uint
}

// totals is what the head's counters are compared with.
type totals struct {
	inodes uint64
	blocks uint64
}

// tick is called for every record. It reports progress now and then, and
// returns an error once the check is to end.
func (c *checker) tick(done, total int64, what string) error {
	if c.fatal != nil {
		return c.fatal
	}
	c.ticks++
	if c.ticks%64 != 0 {
		return nil
	}
	if err := c.ctx.Err(); err != nil {
		c.fatal = err
		return err
	}
	c.Progress(done, total, what)
	return nil
}

// add notes a problem.
func (c *checker) add(f finding) {
	if len(c.findings) >= c.MaxProblems {
		c.report.Omitted++
		return
	}
	c.findings = append(c.findings, f)
}

// problem notes a problem of an inode, or of the volume if ino is 0.
func (c *checker) problem(kind Kind, s Severity, ino uint64, format string, a ...any) {
	c.add(finding{Problem: Problem{Kind: kind, Severity: s, Inode: ino, Message: fmt.Sprintf(format, a...)}})
}

// open opens and returns the plaintext of a sealed record, which is valid until
// the next call.
func (c *checker) open(key, sealed []byte) (err error) {
	c.plain, err = c.records.Open(c.plain[:0], key, sealed)
	return err
}

// get reads and opens a record into c.plain. Its errors are store.ErrNotFound,
// or say why the record is unusable; what ends the check is in c.fatal.
func (c *checker) get(key []byte) error {
	err := c.View.Get(key, func(b []byte) error { return c.open(key, b) })
	if errors.Is(err, store.ErrClosed) {
		c.fatal = err
	}
	return err
}

// count counts a record that was read. total is how many of its kind there
// should be, 0 if that is not known.
func (c *checker) count(k record.Kind, total uint64) error {
	n := c.report.Counts.Records[k.String()] + 1
	c.report.Counts.Records[k.String()] = n
	return c.tick(n, int64(total), stepName(k))
}

// notNewer notes a record whose version is above that of the last epoch, or of
// the head for what is stored ahead of an epoch: data, with what belongs to it.
func (c *checker) notNewer(version uint64, k record.Key) {
	if c.head == nil {
		return
	}
	limit := c.head.Epoch
	if k.Kind == record.KindPack || k.Kind == record.KindPending {
		limit = c.head.Version
	}
	if version > limit {
		c.problem(TooNew, Error, inodeOf(k), "%s record is of version %d, the volume at %d", describe(k), version, limit)
	}
}

// unreadable notes a record that does not open or decode.
func (c *checker) unreadable(k record.Key, err error) {
	c.problem(Unreadable, Error, inodeOf(k), "%s record: %v", describe(k), err)
}

// describe names a record within its inode.
func describe(k record.Key) string {
	switch k.Kind {
	case record.KindMap:
		return fmt.Sprintf("%s node %d/%d", k.Kind, k.Level, k.Sub)
	case record.KindData, record.KindPack:
		return fmt.Sprintf("%s %d", k.Kind, k.Sub)
	case record.KindEntry:
		return fmt.Sprintf("%s %x", k.Kind, k.Hash)
	case record.KindPending:
		return fmt.Sprintf("%s %d", k.Kind, k.ID)
	}
	return k.Kind.String()
}
