package daemon

import (
	"errors"
	"time"

	"ssefs/cmd/ssefs/internal/mounts"
)

// abortTime is how long the FUSE server may take to end once its connection is cut.
const abortTime = 5 * time.Second

// leave unmounts because the daemon was asked to end. A drive in use cannot be unmounted, but whoever sends the
// signal means it (the machine may be going down): so everything is written, the drive taken out of the name
// space, and its connection to the kernel cut. Those who still use it get errors from then on.
func (d *drive) leave(unmounted <-chan struct{}) {
	err := d.attendant.Unmount()
	if err == nil {
		<-unmounted
		return
	}
	select {
	case <-unmounted: // by somebody else at the same moment
		return
	default:
	}
	if !errors.Is(err, mounts.ErrBusy) {
		d.logger.Error("unmount failed, detaching the drive", "err", err)
	} else {
		d.logger.Warn("the drive is busy: writing everything and detaching it; programs that use it will get errors",
			"mountpoint", d.cfg.Mountpoint)
	}
	d.flush()
	if err := d.attendant.Detach(); err != nil {
		d.logger.Error("the drive could not be detached", "err", err)
	}
	if err := d.attendant.Abort(); err != nil {
		d.logger.Info("the connection to the kernel is cut by the end of this process", "reason", err)
		d.abandoned = true
		return
	}
	select {
	case <-unmounted:
	case <-time.After(abortTime):
		d.logger.Error("the FUSE server does not end")
		d.abandoned = true
	}
}

// flush brings what the kernel caches of the drive to the store.
func (d *drive) flush() {
	if err := d.attendant.Flush(); err != nil {
		d.logger.Error("dirty pages were not written back", "err", err)
	}
	if err := d.session.Volume().Sync(); err != nil {
		d.logger.Error("sync before detaching", "err", err)
	}
}
