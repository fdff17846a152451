package errnos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs for a store that is to become full.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := drive.Dir(t)
	expect.OK(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0755"), "mount a tmpfs")
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// fill writes files of the given size, each synced, until one is refused, and returns how many were stored and what
// the refused one got.
func fill(dir string, size, most int) (stored int, err error) {
	for stored < most {
		p := filepath.Join(dir, fmt.Sprint(stored))
		if err := writeSynced(p, expect.Random(uint64(stored), size)); err != nil {
			return stored, errors.Join(err, os.Remove(p))
		}
		stored++
	}
	return stored, nil
}

func writeSynced(p string, data []byte) error {
	fd, err := unix.Open(p, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, data)
	if err == nil {
		err = unix.Fsync(fd)
	}
	// A close that repeats the error of the write adds nothing.
	return errors.Join(err, unix.Close(fd))
}

// TestFullDisk: a full backing disk is ENOSPC. What was acknowledged is there, reads and deletes go on, space comes
// back, and nothing is damaged.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "512m")
	d := drive.New(t, drive.Options{Store: filepath.Join(disk, "store")})
	b := d.Bucket("b")
	expect.Write(t, filepath.Join(b, "before"), []byte("before"))
	const size = 4 << 20
	dir := expect.Mkdir(t, filepath.Join(b, "big"))
	stored, err := fill(dir, size, 200)
	expect.Errno(t, err, unix.ENOSPC, "write on a full disk after %d files of 4 MiB", stored)
	if stored < 20 {
		t.Errorf("a disk of 512 MiB was full after %d files of 4 MiB", stored)
	}
	var st unix.Statfs_t
	expect.OK(t, unix.Statfs(b, &st), "statfs")
	if free := st.Bavail * uint64(st.Frsize); free > 32<<20 {
		t.Errorf("statfs tells %d bytes free on a full disk", free)
	}
	// Again, with small files: sooner or later the metadata has no room either.
	many := filepath.Join(b, "many")
	if err := unix.Mkdir(many, 0o755); err == nil {
		n, err := fill(many, 3000, 20_000)
		expect.Errno(t, err, unix.ENOSPC, "small files on a full disk, after %d", n)
	} else {
		expect.Errno(t, err, unix.ENOSPC, "mkdir on a full disk")
	}
	check := func(when string) {
		t.Helper()
		for i := range stored {
			got := expect.Read(t, filepath.Join(dir, fmt.Sprint(i)))
			expect.Bytes(t, got, expect.Random(uint64(i), size), "file %d %s", i, when)
		}
		expect.Contents(t, filepath.Join(b, "before"), []byte("before"))
	}
	check("on a full disk")
	d.Remount()
	check("after remount on a full disk")
	// Deletes work and give room, in the end for as much again.
	for i := range stored {
		if i%2 == 0 {
			expect.OK(t, unix.Unlink(filepath.Join(dir, fmt.Sprint(i))), "unlink on a full disk")
		}
	}
	drive.Must(t, "rm", "-rf", many)
	expect.OK(t, untilThereIsRoom(filepath.Join(b, "after"), expect.Random(77, size)), "write after deletes")
	expect.Contents(t, filepath.Join(b, "after"), expect.Random(77, size))
	for i := 1; i < stored; i += 2 {
		expect.Bytes(t, expect.Read(t, filepath.Join(dir, fmt.Sprint(i))), expect.Random(uint64(i), size), "file %d at the end", i)
	}
}

// untilThereIsRoom writes a file, again and again while the disk is full: space comes back in the background. The
// number of tries is bounded, not the time of one.
func untilThereIsRoom(p string, data []byte) error {
	var err error
	for range 1200 {
		if err = writeSynced(p, data); !errors.Is(err, unix.ENOSPC) {
			return err
		}
		if err := os.Remove(p); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
