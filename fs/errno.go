package fs

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// errnoRow says which error number stands for an error, and what is worth
// telling the operator about it.
type errnoRow struct {
	err    error
	errno  syscall.Errno
	remedy string // logged with the error; "" means it is not logged
}

// errnoTable translates errors, the first row that matches. What matches none
// is EIO, and logged.
func errnoTable() []errnoRow {
	const (
		kmsOff   = "mount without --kms off"
		noKey    = "check the key with `ssefs kms describe`"
		disabled = "enable the key with `ssefs kms enable`, or cancel its deletion"
		expired  = "import the key material again"
		grant    = "grant the user the key with `ssefs kms grant`"
		damage   = "run `ssefs fsck`; restore the file from a backup"
		failed   = "unmount the drive, look at the store's disk, mount again"
	)
	return []errnoRow{
		{volume.ErrNotExist, syscall.ENOENT, ""},
		{volume.ErrExist, syscall.EEXIST, ""},
		{volume.ErrNotDir, syscall.ENOTDIR, ""},
		{volume.ErrIsDir, syscall.EISDIR, ""},
		{volume.ErrNotEmpty, syscall.ENOTEMPTY, ""},
		{volume.ErrInvalid, syscall.EINVAL, ""},
		{volume.ErrPermission, syscall.EPERM, ""},
		{volume.ErrNotOwner, syscall.EPERM, ""},
		{volume.ErrRootFile, syscall.EPERM, ""},
		{volume.ErrNotBucket, syscall.EOPNOTSUPP, ""},
		{volume.ErrCrossBucket, syscall.EXDEV, ""},
		{volume.ErrReadOnly, syscall.EROFS, ""},
		{volume.ErrTooBig, syscall.EFBIG, ""},
		{volume.ErrTooManyLinks, syscall.EMLINK, ""},
		{volume.ErrNoSpace, syscall.ENOSPC, ""},
		{store.ErrFull, syscall.ENOSPC, ""},
		{volume.ErrNoXattr, syscall.ENODATA, ""},
		{volume.ErrXattrTooBig, syscall.E2BIG, ""},
		{volume.ErrXattrName, syscall.ERANGE, ""},
		{volume.ErrXattrSpace, syscall.ENOSPC, ""},
		{volume.ErrNoSeek, syscall.ENXIO, ""},
		{volume.ErrStale, syscall.ESTALE, ""},
		{volume.ErrUnlinked, syscall.ENOENT, ""},
		{volume.ErrClosed, syscall.EIO, ""},
		{errNotSupported, syscall.EOPNOTSUPP, ""},
		{errReadOnlyXattr, syscall.EPERM, ""},
		{errBadHandle, syscall.EBADF, ""},
		{errRange, syscall.ERANGE, ""},
		{errBusy, syscall.EBUSY, "find out what seeks in so many files at once that are being written"},
		{crypto.ErrPolicy, syscall.EINVAL, ""},
		{kms.ErrRegion, syscall.EINVAL, ""},
		{kms.ErrAlias, syscall.EINVAL, ""},
		{kms.ErrNoKey, syscall.ENOKEY, noKey},
		{kms.ErrNoAlias, syscall.ENOKEY, noKey},
		{kms.ErrKeyRevoked, syscall.EKEYREVOKED, disabled},
		{kms.ErrKeyExpired, syscall.EKEYEXPIRED, expired},
		{kms.ErrDenied, syscall.EACCES, grant},
		{kms.ErrKMSOff, syscall.EOPNOTSUPP, kmsOff},
		{kms.ErrUnavailable, syscall.ETIMEDOUT, noKey},
		{volume.ErrKeyGone, syscall.EKEYREVOKED, disabled},
		{volume.ErrDamaged, syscall.EIO, damage},
		{store.ErrDamaged, syscall.EIO, damage},
		{store.ErrFailed, syscall.EIO, failed},
	}
}

// Errors of this package.
var (
	errNotSupported  = errors.New("not supported")
	errReadOnlyXattr = errors.New("attribute cannot be changed")
	errBadHandle     = errors.New("bad file handle")
	errRange         = errors.New("result too large")
	errBusy          = errors.New("too many files are being written back")
)

// status returns the error number for the reply, and logs what an operator
// should know: where is the inode that the request was about.
func (d *drive) status(err error, where *volume.Inode) gofuse.Status {
	return d.answer(err, func() string { return d.pathOf(err, where) })
}

// pathOf returns the path of what an error is about, for messages.
func (d *drive) pathOf(err error, where *volume.Inode) string {
	var damage *volume.DamageError
	switch {
	case where != nil:
		return d.v.PathOf(where)
	case errors.As(err, &damage):
		return d.v.PathOfNumber(damage.Inode)
	}
	return "?"
}

// answer is status for an error about what path returns.
func (d *drive) answer(err error, path func() string) gofuse.Status {
	if err == nil {
		return gofuse.OK
	}
	var failed *volume.FailedError
	if errors.As(err, &failed) {
		return gofuse.EROFS // logged when it happened
	}
	for _, row := range d.reports.table {
		if !errors.Is(err, row.err) {
			continue
		}
		if row.remedy != "" {
			d.report(err, row.errno, row.remedy, path())
		}
		return gofuse.Status(row.errno)
	}
	d.report(err, syscall.EIO, "", path())
	return gofuse.EIO
}

// reports remembers what was logged lately, so that a program that tries a
// thousand times does not fill the log.
type reports struct {
	table []errnoRow

	mu   sync.Mutex // guards seen
	seen map[string]time.Time
}

// reportPause is how long an error of one file is not logged again, and
// maxReports how many are remembered.
const (
	reportPause = 30 * time.Second
	maxReports  = 1000
)

func (d *drive) report(err error, errno syscall.Errno, remedy, path string) {
	key := fmt.Sprintf("%s %d", path, errno)
	if damage := (*volume.DamageError)(nil); errors.As(err, &damage) {
		key += damage.Kind.String()
	}
	now := time.Now()
	d.reports.mu.Lock()
	if d.reports.seen == nil || len(d.reports.seen) >= maxReports {
		d.reports.seen = make(map[string]time.Time)
	}
	last, ok := d.reports.seen[key]
	quiet := ok && now.Sub(last) < reportPause
	if !quiet {
		d.reports.seen[key] = now
	}
	d.reports.mu.Unlock()
	if quiet {
		return
	}
	args := []any{"path", path, "errno", errno.Error(), "err", err}
	if remedy != "" {
		args = append(args, "remedy", remedy)
	}
	d.log.Warn("request failed", args...)
}
