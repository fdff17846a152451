package store

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// writeOutMin is how many bytes a transaction must add to the value log for its
	// being written out early to be worth a goroutine, and writeOutEvery how often
	// that is asked for.
	writeOutMin   = 2 << 20
	writeOutEvery = 2 * time.Millisecond
	// writeOutSlack is how far before the position that was counted Badger may write:
	// see logSpace.
	writeOutSlack = 1 << 20
)

// writingOut runs write, which has Badger copy the last n bytes that were counted
// into the log and sync them. Badger does one after the other; meanwhile the
// kernel is asked to begin writing what was copied, so that copying, of which each
// page is a fault, and the disk go on at the same time. It changes nothing of what
// is durable when.
func (s *logSpace) writingOut(n int64, write func() error) error {
	if n < writeOutMin {
		return write()
	}
	file := int(s.file.Fd())
	from := max(0, s.bound-n-writeOutSlack)
	size := s.bound - from
	end := make(chan struct{})
	var out sync.WaitGroup
	out.Go(func() {
		tick := time.NewTicker(writeOutEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
			}
			if unix.SyncFileRange(file, from, size, unix.SYNC_FILE_RANGE_WRITE) != nil {
				return // where that does not exist, or what is wrong the sync says
			}
		}
	})
	defer out.Wait() // whoever calls may replace the file next
	defer close(end)
	return write()
}
