// Package posix has a test for each line of what the drive promises of POSIX and of Linux beyond it, made through the
// kernel on the mounted binary. Every test has a drive of its own, checked with fsck at its end.
package posix

import (
	"errors"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{
		"append": appendRecords,
		"flock":  holdFlock,
		"posix":  holdRecordLock,
		"map":    touchMapping,
		"try":    tryLocks,
	})
}

// bucket mounts a fresh drive and returns it with the path of a bucket open to all users.
func bucket(t *testing.T) (*drive.Drive, string) {
	t.Helper()
	d := drive.New(t, drive.Options{})
	return d, d.Bucket("bucket")
}

// place is bucket for tests that need no more than a directory.
func place(t *testing.T) string {
	t.Helper()
	_, dir := bucket(t)
	return dir
}

// overwrite writes over the beginning of a file that exists.
func overwrite(p, text string) error {
	fd, err := unix.Open(p, unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(text))
	return errors.Join(err, unix.Close(fd))
}
