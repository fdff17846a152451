package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/store"
)

const (
	// closing is how long an owner may take to close a store that is not mounted any more.
	closing = 2 * time.Minute
	// settling is how long an owner that does not say that it is closing is given to say so or to be gone.
	settling = 10 * time.Second
	// quiet is how long the wait goes unmentioned.
	quiet = time.Second
	poll  = 50 * time.Millisecond
)

// lock locks a store. An owner whose drive was unmounted is waited for: after umount(8) it finishes alone, and
// between the kernel's unmount and its own announcement a moment passes in which the lock file still shows it as serving.
func lock(ctx context.Context, path string, take func(context.Context, string) (*store.Dir, error), note func(string)) (*store.Dir, error) {
	ctx, cancel := context.WithTimeout(ctx, closing)
	defer cancel()
	begin, told := time.Now(), false
	for {
		attempt, cancel := context.WithTimeout(ctx, quiet)
		dir, err := take(attempt, path)
		cancel()
		var inUse *store.InUseError
		if err == nil || !errors.As(err, &inUse) || ctx.Err() != nil {
			return dir, Explain(path, err)
		}
		waited := time.Since(begin)
		if !inUse.Closing && (mounts.Shows(inUse.Mountpoint) || inUse.Mountpoint == "" || waited > settling) {
			return nil, inUse
		}
		if waited > quiet && !told {
			note(fmt.Sprintf("waiting for process %d to close the store", inUse.PID))
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, inUse
		case <-time.After(poll):
		}
	}
}
