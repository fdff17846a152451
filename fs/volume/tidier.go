package volume

import (
	"context"
	"time"

	"ssefs/crypto"
)

const (
	// restTick is how often the tidier looks whether anything was committed, and
	// restTicks how many times in a row nothing must have been.
	restTick  = 5 * time.Second
	restTicks = 12
	// wasteMin is how many dead blocks in sparse records are worth looking at, at
	// least, and wastePart which part of all.
	wasteMin  = 2048
	wastePart = 32
	// restFactor is how many times as long as it worked the tidier rests.
	restFactor = 3
)

// tidier merges sparse records once nothing has been committed for a while,
// beginning with the files that have most, until the volume closes.
func (v *Volume) tidier() {
	defer v.background.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-v.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	tick := time.NewTicker(restTick)
	defer tick.Stop()
	quiet, seen, walked := 0, uint64(0), false
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
		}
		if now := v.db.Committed(); now != seen {
			quiet, seen = 0, now
			continue
		}
		if quiet++; quiet < restTicks || v.writable() != nil {
			continue
		}
		err := v.tidy(ctx)
		if err == nil && !walked {
			walked, err = v.tidyAll(ctx)
		}
		if err != nil && ctx.Err() == nil && v.writable() == nil {
			v.log.Error("merging sparse records failed", "err", err)
		}
		quiet = 0
	}
}

// enough is how many dead blocks in sparse records are left alone.
func (v *Volume) enough() int64 { return max(wasteMin, v.blocks.Load()/wastePart) }

// tidy merges the files that were written to in this mount until little is left,
// or somebody writes.
func (v *Volume) tidy(ctx context.Context) error {
	for {
		ino, all := v.waste.most()
		if ino == 0 || all < v.enough() {
			return nil
		}
		if more, err := v.tidyInode(ctx, ino); err != nil || !more {
			return err
		}
	}
}

// tidyAll looks through all files, if the store is bigger than what is known
// explains: earlier mounts left something. It reports whether it did.
func (v *Volume) tidyAll(ctx context.Context) (walked bool, err error) {
	extra, err := v.db.Unaccounted()
	if err != nil || extra < v.enough()*crypto.BlockSize {
		return false, err
	}
	err = v.eachInode(ctx, 0, func(ino uint64) error {
		more, err := v.tidyInode(ctx, ino)
		if err == nil && !more {
			err = errStop
		}
		return err
	})
	return err == nil, err
}

// tidyInode merges a file and rests. It reports whether to go on.
func (v *Volume) tidyInode(ctx context.Context, ino uint64) (more bool, err error) {
	if v.arena.used() > v.arena.total/mergeArenaPart {
		return false, nil
	}
	start := time.Now()
	var m Merged
	if err := v.mergeInode(ctx, ino, idlePart, &m); err != nil || m.NoSpace {
		return false, err
	}
	if m.Bytes > 0 {
		if err := v.Sync(); err != nil {
			return false, err
		}
	}
	timer := time.NewTimer(restFactor * time.Since(start))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		return true, nil
	}
}
