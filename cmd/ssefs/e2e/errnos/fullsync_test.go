package errnos

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestSyncAfterFullDisk: the kernel tells `ssefs sync` of what it could not write back to a disk that was full. What
// was written since is safe all the same when the command returns.
func TestSyncAfterFullDisk(t *testing.T) {
	disk := smallDisk(t, "300m")
	d := drive.New(t, drive.Options{Store: filepath.Join(disk, "store")})
	b := d.Bucket("b")
	p := filepath.Join(b, "fill")
	fd, err := unix.Open(p, unix.O_CREAT|unix.O_WRONLY, 0o644)
	expect.OK(t, err, "create")
	data := expect.Random(1, 4<<20)
	for i := 0; i < 100 && err == nil; i++ {
		_, err = unix.Write(fd, data)
	}
	expect.Errno(t, unix.Close(fd), unix.ENOSPC, "close of more than the disk holds")
	expect.OK(t, unix.Unlink(p), "unlink")
	kept := filepath.Join(b, "kept")
	err = os.WriteFile(kept, []byte("kept"), 0o644)
	for i := 0; i < 1200 && errors.Is(err, unix.ENOSPC); i++ { // until the space is back
		time.Sleep(100 * time.Millisecond)
		err = os.WriteFile(kept, []byte("kept"), 0o644)
	}
	expect.OK(t, err, "write once there is room again")
	r := drive.CLI(t, "sync", d.Mountpoint())
	d.Kill()
	if r.Code != 1 || !strings.Contains(r.Stderr, "no space left") {
		t.Errorf("sync says nothing of what was lost before: exit %d: %s", r.Code, r.Stderr)
	}
	d.Mount()
	expect.Contents(t, kept, []byte("kept"))
}
