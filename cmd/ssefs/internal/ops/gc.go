package ops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"ssefs/cmd/ssefs/internal/control"
	"ssefs/store"
)

// StoreUse is what a store's database takes up on its disk.
type StoreUse struct {
	// Tables are the tables and the write-ahead logs.
	Tables int64 `json:"tables_bytes"`
	// Values is the value log.
	Values int64 `json:"values_bytes"`
}

// Total is the sum.
func (u StoreUse) Total() int64 { return u.Tables + u.Values }

func useOf(db *store.DB) StoreUse {
	tables, values := db.Size()
	return StoreUse{tables, values}
}

// GCResult is what a collection has brought.
type GCResult struct {
	Before StoreUse `json:"before"`
	After  StoreUse `json:"after"`
	// Live is what the contents of files take up; it is not known without the key.
	Live int64 `json:"live_bytes,omitempty"`
	// Deletions is how many big files were still being deleted.
	Deletions int `json:"deletions_finished"`
	// Merged counts the files whose contents were brought together, and MergedBytes what was rewritten for that.
	Merged      int   `json:"files_merged"`
	MergedBytes int64 `json:"merged_bytes"`
	// Locked counts the files that were left alone because their key cannot be used.
	Locked int `json:"files_locked"`
	// ShortOfSpace is set if the disk had no room for all that was to be rewritten.
	ShortOfSpace bool `json:"short_of_space"`
}

// GCProgress is how far a collection is. Without one the step is empty; a total of 0 is not known.
type GCProgress struct {
	Step  string `json:"step"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// progressKeeper keeps the last of the steps that it is told.
type progressKeeper struct{ last atomic.Pointer[GCProgress] }

func (k *progressKeeper) step(done, total int64, what string) {
	k.last.Store(&GCProgress{what, done, total})
}

func (o *Operations) gcProgress(context.Context, control.Peer, None) (GCProgress, error) {
	if p := o.collecting.last.Load(); p != nil {
		return *p, nil
	}
	return GCProgress{}, nil
}

// Bounds of what is rewritten before the space of it is collected.
const (
	minMergeBudget = 64 << 20
	mergeFreePart  = 4 // a part of the free space
)

// gc gives back all space that nothing needs.
func (o *Operations) gc(ctx context.Context, _ control.Peer, _ None) (GCResult, error) {
	var r GCResult
	if o.session.ReadOnly() {
		return r, errors.New("the volume is open read-only: nothing can be collected")
	}
	v, db := o.session.Volume(), o.session.DB()
	r.Before = useOf(db)
	defer o.collecting.last.Store(nil)
	if err := v.Sync(); err != nil {
		return r, err
	}
	o.collecting.step(0, 0, "finishing deletions")
	var err error
	if r.Deletions, err = v.FinishDeletions(ctx); err != nil {
		return r, err
	}
	for from := uint64(1); from != 0; {
		space, err := db.Space()
		if err != nil {
			return r, err
		}
		m, err := v.MergeSparse(ctx, from, max(minMergeBudget, space.Free/mergeFreePart), o.collecting.step)
		r.Merged, r.MergedBytes, r.Locked = r.Merged+m.Files, r.MergedBytes+m.Bytes, r.Locked+m.Locked
		r.ShortOfSpace = r.ShortOfSpace || m.NoSpace
		if err != nil {
			return r, err
		}
		if err := v.Sync(); err != nil {
			return r, err
		}
		if err := db.Reclaim(ctx, o.collecting.step); err != nil {
			return r, err
		}
		from = m.Next
	}
	size, err := v.Statfs()
	if err != nil {
		return r, err
	}
	r.After, r.Live = useOf(db), int64(size.Used)
	return r, nil
}

// GCWithoutKey gives back what can be told to be dead without opening a record: what is only partly dead stays.
func GCWithoutKey(ctx context.Context, path string, logger *slog.Logger, progress store.Progress) (r GCResult, err error) {
	dir, err := store.OpenDirWait(ctx, path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	o := store.DefaultOptions()
	o.Logger = logger
	db, err := dir.OpenDB(o)
	if err != nil {
		return r, fmt.Errorf("open the store %s: %w", path, err)
	}
	r.Before = useOf(db)
	if err = db.Reclaim(ctx, progress); err == nil {
		r.After = useOf(db)
	}
	return r, errors.Join(err, db.Close())
}
