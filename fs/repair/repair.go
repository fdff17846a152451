package repair

import (
	"context"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/store"
)

// Mode says whether anything is changed.
type Mode int

// The modes.
const (
	// Plan only says what would be done.
	Plan Mode = iota
	// Carry carries it out.
	Carry
)

// Options are what a repair needs.
type Options struct {
	DB   *store.DB
	Keys *crypto.VolumeKeys
	ID   crypto.VolumeID
	Mode Mode
	// HeadCopy is the copy of the sealed head that the last clean unmount left
	// beside the database; nil if there is none.
	HeadCopy []byte
	// Keystore and Header are the generations that a head made anew names.
	Keystore, Header uint64
	// Region is that of a volume whose settings are lost.
	Region string
	// UID and GID own a root directory that is made anew.
	UID, GID uint32
	// Progress is told a few times a second; nil tells nobody.
	Progress store.Progress

	// committed, set by tests only, is called after each transaction; its error
	// ends the repair. small has transactions hold one change each.
	committed func() error
	small     bool
}

// Run repairs a volume that nobody else has open. The report is never nil; when
// the error is not, because the repair could not go on or ctx ended, it holds what
// was planned until then, and a repair can be run again. A volume without damage
// is not touched.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Progress = o.Progress.Paced()
	r := &repairer{
		Options: o, ctx: ctx, report: &Report{Actions: []Action{}},
		buckets: make(map[uint64]*bucket), orphans: make(map[uint64]orphan), pending: make(map[record.DataRef]bool),
		fixes: make(map[uint64]*inodeFix), dirFixes: make(map[uint64]*dirFix), made: make(map[uint64]*record.Inode),
	}
	var err error
	if r.records, err = crypto.NewRecordSealer(o.Keys.Metadata, o.ID); err != nil {
		return r.report, err
	}
	r.names, r.sets = crypto.NewNameHasher(o.Keys.Names), crypto.NewSetHasher(o.Keys.SetHash)
	err = r.survey()
	if pathErr := r.resolvePaths(); err == nil {
		err = pathErr
	}
	if err != nil || o.Mode == Plan || !r.work {
		return r.report, err
	}
	return r.report, r.carryOut()
}

// repairer is one repair, by one goroutine.
type repairer struct {
	Options
	ctx     context.Context
	records *crypto.RecordSealer
	names   *crypto.NameHasher
	sets    *crypto.SetHasher
	report  *Report
	work    bool // there is something to do

	// What the survey found, all of one snapshot.
	view      *store.View
	plain     []byte
	head      record.Head // as it will be, but for version and counts
	headFound bool
	stored    record.Head      // as it was found
	settings  *record.Settings // to be written; nil if they are in order
	bucketSet crypto.SetHash   // of the bucket records that can be read
	buckets   map[uint64]*bucket
	orphans   map[uint64]orphan
	pending   map[record.DataRef]bool
	inodes    table
	maxRecord uint64 // highest number of a data record that is, or may have been, in use
	maxInode  uint64 // likewise of an inode

	// The plan.
	pendingKeys [][]byte
	drops       [][]byte // keys to be deleted that belong to nothing that stays
	newO        []uint64 // inodes that get an orphan record
	fixes       map[uint64]*inodeFix
	dirFixes    map[uint64]*dirFix
	made        map[uint64]*record.Inode // directories that are made anew
	nameless    []uint64

	tx *transaction
}

// survey reads the volume and makes the plan.
func (r *repairer) survey() error {
	r.view = r.DB.View()
	defer func() {
		r.view.Release()
		r.view = nil
	}()
	for _, step := range []func() error{
		r.surveyHead, r.surveyKeys, r.surveyPending, r.surveyOrphans, r.surveyBuckets, r.surveyInodes,
		r.surveyNames, r.settleDirs, r.surveyEntries, r.breakLoops, r.settleLinks, r.settleBuckets,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// tick is called for every record. It reports progress now and then, and returns
// an error once the repair is to end.
func (r *repairer) tick(done, total int64, what string) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.Progress(done, total, what)
	return nil
}
