package drive

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Nobody is an ordinary user whom every system knows by name, which set-uid fusermount3 wants.
func Nobody() Identity { return User(65534) }

// OpenDevice gives /dev/fuse the mode that udev gives it, so that users can mount, until the test ends: containers and small
// machines have no udev, and there the device is root's alone. Tests that do this wait for one another, since those of
// several packages run side by side; a test calls it once.
func OpenDevice(t testing.TB) {
	t.Helper()
	const device = "/dev/fuse"
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "ssefs-e2e-device.lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		t.Fatalf("lock %s: %v", device, err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", device, err)
	}
	t.Cleanup(func() {
		if err := lock.Close(); err != nil {
			t.Errorf("unlock %s: %v", device, err)
		}
	})
	st, err := os.Stat(device)
	if err == nil {
		err = os.Chmod(device, st.Mode().Perm()|0o666)
	}
	if err != nil {
		t.Fatalf("open %s to users: %v", device, err)
	}
	t.Cleanup(func() {
		if err := os.Chmod(device, st.Mode().Perm()); err != nil {
			t.Errorf("give %s its mode back: %v", device, err)
		}
	})
}
