package volume

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// headCopy is the file that a copy of the head record is kept in from a clean
// unmount on, outside the database.
const headCopy = "head"

// AtimePolicy says when access times move.
type AtimePolicy int

// The access time policies, after mount(8).
const (
	AtimeRelative AtimePolicy = iota
	AtimeStrict
	AtimeNever
)

// Options are what a Volume needs.
type Options struct {
	DB   *store.DB
	Dir  *store.Dir
	Keys *crypto.VolumeKeys
	ID   crypto.VolumeID
	// Logger gets what an operator should know.
	Logger *slog.Logger
	// DirtyMemory bounds the contents that were written and are not stored
	// yet, in bytes. 0 means DefaultDirtyMemory.
	DirtyMemory int64
	// CachedInodes bounds the inodes kept in memory that nobody uses. 0 means
	// DefaultCachedInodes.
	CachedInodes int
	ReadOnly     bool
	Atime        AtimePolicy
	AtimeDirs    AtimePolicy
}

// Defaults of Options.
const (
	DefaultDirtyMemory  = 48 << 20
	DefaultCachedInodes = 16 << 10
	minDirtyMemory      = 8 << 20
)

// Settings are what commands can change about a volume.
type Settings struct {
	DefaultPolicy crypto.Policy
	Region        string
}

func (s *Settings) record() record.Settings {
	return record.Settings{DefaultPolicy: s.DefaultPolicy.String(), Region: s.Region}
}

// Volume is an open volume. Its methods may be called concurrently.
type Volume struct {
	o          Options
	db         *store.DB
	log        *slog.Logger
	records    *crypto.RecordSealer
	names      *crypto.NameHasher
	sets       *crypto.SetHasher
	keyService KeyService

	limits  epochLimits
	table   table
	arena   *arena
	space   space
	buffers sync.Pool // of *[]byte with room for the largest data record
	// processors is how many goroutines work is divided among. It is asked for when
	// the volume is opened: later GOMAXPROCS may count those that wait in the kernel.
	processors int

	renameMu sync.Mutex
	commitMu sync.Mutex
	epochMu  sync.RWMutex
	epoch    *epoch // replaced with epochMu held exclusively

	head record.Head // of the last commit; guarded by commitMu

	nextInode  atomic.Uint64
	nextRecord atomic.Uint64
	blocks     atomic.Int64  // that files have, stored or about to be
	inodes     atomic.Int64  // that are in use, stored or about to be
	keystore   atomic.Uint64 // generation that the head is to name
	header     atomic.Uint64 // likewise
	committed  atomic.Uint64 // seq of the last epoch stored
	dataWeight atomic.Int64  // weights of dirty data in all inodes
	failure    atomic.Pointer[error]
	resuming   atomic.Bool // pending records of earlier mounts are still there
	settings   atomic.Pointer[Settings]

	bucketMu sync.RWMutex
	buckets  map[uint64]*bucket

	atimes atimes

	wantMu sync.Mutex
	wanted []*Inode // fsync waits for their data; each pinned

	dirtyMu    sync.Mutex
	dirtyFiles map[*Inode]struct{} // something of them is to be flushed; each pinned
	dirtySince int64
	dirtyLast  atomic.Int64

	keyMu      sync.Mutex
	keyNumbers map[string]uint32

	reclaimMu   sync.Mutex
	reclaimJobs []reclaimJob
	reclaiming  bool // one is being worked on

	mergeMu   sync.Mutex
	mergeJobs map[mergeKey]mergeJob

	waste waste

	stop          chan struct{}
	background    sync.WaitGroup
	commitWanted  chan struct{}
	flushWanted   chan struct{}
	reclaimWanted chan struct{}
}

func newVolume(o Options) (*Volume, error) {
	if o.DirtyMemory == 0 {
		o.DirtyMemory = DefaultDirtyMemory
	}
	// All dirty data must fit the value-log part of one transaction.
	o.DirtyMemory = min(max(o.DirtyMemory, minDirtyMemory), o.DB.MaxLogBytes()*7/8)
	if o.CachedInodes == 0 {
		o.CachedInodes = DefaultCachedInodes
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	v := &Volume{
		o: o, db: o.DB, log: o.Logger,
		names: crypto.NewNameHasher(o.Keys.Names), sets: crypto.NewSetHasher(o.Keys.SetHash),
		epoch: newEpoch(1), buckets: make(map[uint64]*bucket),
		dirtyFiles: make(map[*Inode]struct{}), keyNumbers: make(map[string]uint32),
		stop: make(chan struct{}), commitWanted: make(chan struct{}, 1),
		flushWanted: make(chan struct{}, 1), reclaimWanted: make(chan struct{}, 1),
		processors: runtime.GOMAXPROCS(0),
		atimes:     atimes{set: make(map[*Inode]struct{})},
		mergeJobs:  make(map[mergeKey]mergeJob),
	}
	v.buffers.New = func() any {
		b := make([]byte, 0, crypto.SealedSize(crypto.MaxRecordBlocks, crypto.BlockSize))
		return &b
	}
	v.space = space{db: o.DB, v: v}
	transaction, _, _ := o.DB.Limits()
	v.limits = newEpochLimits(transaction)
	v.table.init(o.CachedInodes)
	var err error
	if v.records, err = crypto.NewRecordSealer(o.Keys.Metadata, o.ID); err != nil {
		return nil, err
	}
	if v.arena, err = newArena(o.DirtyMemory); err != nil {
		return nil, err
	}
	return v, nil
}

// Create writes the first epoch of a new volume into an empty database: the
// root directory, owned by uid and gid, and the settings.
func Create(o Options, s Settings, uid, gid uint32) error {
	v, err := newVolume(o)
	if err != nil {
		return err
	}
	defer func() { _ = v.arena.release() }()
	if n := v.db.Committed(); n != 0 {
		return fmt.Errorf("new volume's database is at version %d", n)
	}
	now := v.clock()
	root := &Inode{Ino: RootInode, fileType: record.TypeDir, parent: RootInode}
	root.Attr = record.Attr{
		Mode: record.TypeDir | 0o755, UID: uid, GID: gid, Nlink: 2,
		Atime: now, Mtime: now, Ctime: now, Btime: now,
	}
	root.xattrs = &xattrSet{}
	v.buckets[record.RootBucket] = &bucket{id: record.RootBucket}
	if _, err := rand.Read(v.head.Lineage[:]); err != nil {
		return err
	}
	v.nextInode.Store(RootInode + 1)
	v.nextRecord.Store(1)
	v.settings.Store(&s)
	v.table.add(root)
	e := v.begin()
	e.settings = true
	root.mu.Lock()
	v.change(e, root)
	root.mu.Unlock()
	v.end()
	return v.Sync()
}

// ReadHead returns the head record of a volume that is not open yet.
func ReadHead(o Options) (*record.Head, error) {
	v, err := newVolume(o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = v.arena.release() }()
	return v.readHead()
}

// Open opens a volume. SetKeyService must be called before files are used.
func Open(o Options) (*Volume, error) {
	v, err := newVolume(o)
	if err != nil {
		return nil, err
	}
	if err := v.load(); err != nil {
		return nil, errors.Join(err, v.arena.release())
	}
	work := []func(){v.committer, v.flusher, v.reclaimer, v.merger, v.tidier, v.keyAger}
	v.background.Add(len(work))
	for _, f := range work {
		go f()
	}
	return v, nil
}

func (v *Volume) load() error {
	head, err := v.readHead()
	if err != nil {
		return err
	}
	if err := v.checkHead(head); err != nil {
		return err
	}
	v.head = *head
	v.nextInode.Store(head.NextInode)
	v.nextRecord.Store(head.NextRecord)
	v.blocks.Store(int64(head.Blocks))
	v.inodes.Store(int64(head.Inodes))
	v.db.SetLive(func() int64 { return v.blocks.Load() * crypto.BlockSize })
	v.keystore.Store(head.Keystore)
	v.header.Store(head.Header)
	plain, err := v.get(record.SettingsKey())
	if err != nil {
		return damaged(record.KindSettings, 0, err)
	}
	r, err := record.DecodeSettings(plain)
	if err != nil {
		return damaged(record.KindSettings, 0, err)
	}
	if r.Version != head.Settings {
		return damaged(record.KindSettings, 0, fmt.Errorf("of version %d, not %d", r.Version, head.Settings))
	}
	p, err := crypto.ParsePolicy(r.DefaultPolicy)
	if err != nil {
		return damaged(record.KindSettings, 0, err)
	}
	v.settings.Store(&Settings{DefaultPolicy: p, Region: r.Region})
	if err := v.loadBuckets(); err != nil {
		return err
	}
	root, err := v.Inode(RootInode)
	if err != nil {
		return damaged(record.KindInode, RootInode, err)
	}
	v.Unpin(root)
	if v.o.ReadOnly {
		return nil
	}
	return v.resumeDeletions()
}

func (v *Volume) readHead() (*record.Head, error) {
	plain, err := v.get(record.HeadKey())
	if err != nil {
		return nil, damaged(record.KindHead, 0, err)
	}
	head, err := record.DecodeHead(plain)
	if err != nil {
		return nil, damaged(record.KindHead, 0, err)
	}
	return head, nil
}

// checkHead compares the head with the database's version and with the copy
// that the last clean unmount left: an older head is a store of which a part
// was put back.
func (v *Volume) checkHead(head *record.Head) error {
	if c := v.db.Committed(); c != head.Version {
		return fmt.Errorf("%w: head is of epoch %d, the database at %d", ErrRollback, head.Version, c)
	}
	sealed, err := v.o.Dir.ReadFile(headCopy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	plain, err := v.records.Open(nil, record.HeadKey(), sealed)
	if err != nil {
		v.log.Warn("the copy of the head record is damaged and not used", "err", err)
		return nil
	}
	saved, err := record.DecodeHead(plain)
	if err != nil {
		return damaged(record.KindHead, 0, err)
	}
	if saved.Version > head.Version {
		return fmt.Errorf("%w: its database is at epoch %d, but was at %d when it was last unmounted", ErrRollback, head.Version, saved.Version)
	}
	return nil
}

// ErrRollback is returned for a store of which a part is older than the rest.
var ErrRollback = errors.New("part of the store was rolled back or is missing")

// SetKeyService gives the volume what unwraps its data keys.
func (v *Volume) SetKeyService(k KeyService) { v.keyService = k }

// Close stops the background work, makes everything durable and leaves a copy
// of the head beside the database. No other method may be running. The
// database stays open.
func (v *Volume) Close() error {
	v.ForgetAll()
	close(v.stop)
	v.background.Wait()
	var err error
	if v.writable() == nil {
		if err = v.Sync(); err == nil {
			err = v.saveHead()
		}
	}
	v.table.each(func(n *Inode) { n.forgetKey() })
	return errors.Join(err, v.arena.release())
}

func (v *Volume) saveHead() error {
	view := v.db.View()
	defer view.Release()
	var sealed []byte
	err := view.Get(record.HeadKey(), func(b []byte) error {
		sealed = bytes.Clone(b)
		return nil
	})
	if err != nil {
		return err
	}
	return v.o.Dir.WriteFile(headCopy, sealed)
}

// get reads and opens a sealed record.
func (v *Volume) get(key []byte) (plain []byte, err error) {
	view := v.db.View()
	defer view.Release()
	err = view.Get(key, func(b []byte) error {
		plain, err = v.records.Open(nil, key, b)
		return err
	})
	return plain, err
}

// mapNode reads a node of an extent map; see nodeReader.
func (v *Volume) mapNode(ino uint64, level uint8, index, version uint64) ([]byte, error) {
	plain, err := v.get(record.MapKey(ino, level, index))
	if err != nil {
		return nil, damaged(record.KindMap, ino, fmt.Errorf("node %d/%d of version %d: %w", level, index, version, err))
	}
	return plain, nil
}

// Unpin lets go of an inode that a method returned pinned.
func (v *Volume) Unpin(n *Inode) { v.table.unpin(n) }

// Settings returns the volume's settings.
func (v *Volume) Settings() Settings { return *v.settings.Load() }

// SetSettings changes the volume's settings, durably.
func (v *Volume) SetSettings(s Settings) error {
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	e.mu.Lock()
	v.settings.Store(&s)
	e.settings = true
	e.touched(v.now())
	e.mu.Unlock()
	v.end()
	return v.commitDirty()
}

// RecordKeystore makes the head name a generation of the keystore, durably.
func (v *Volume) RecordKeystore(generation uint64) error {
	return v.recordGeneration(&v.keystore, generation)
}

// RecordHeader makes the head name a generation of the volume header, durably.
func (v *Volume) RecordHeader(generation uint64) error {
	return v.recordGeneration(&v.header, generation)
}

func (v *Volume) recordGeneration(which *atomic.Uint64, generation uint64) error {
	if err := v.admit(); err != nil {
		return err
	}
	e := v.begin()
	which.Store(generation)
	e.mu.Lock()
	e.touched(v.now())
	e.mu.Unlock()
	v.end()
	return v.commitDirty()
}

// Keystore returns the generation of the keystore that the head names.
func (v *Volume) Keystore() uint64 { return v.keystore.Load() }

// Header returns the generation of the volume header that the head names.
func (v *Volume) Header() uint64 { return v.header.Load() }

func (v *Volume) now() int64 { return time.Now().UnixNano() }

func (v *Volume) clock() record.Time {
	t := time.Now()
	return record.Time{Sec: t.Unix(), Nsec: uint32(t.Nanosecond())}
}
