package drive

import (
	"os"
)

// nativeVariable names the directory of an ordinary file system to test in the place of a mount.
const nativeVariable = "SSEFS_E2E_NATIVE"

// useNative puts the drive on an ordinary directory below dir, for developing tests.
func (d *Drive) useNative(dir string) {
	d.t.Helper()
	p, err := os.MkdirTemp(dir, "native-")
	if err != nil {
		d.t.Fatalf("SSEFS_E2E_NATIVE: %v", err)
	}
	if err := os.Chmod(p, 0o755); err != nil {
		d.t.Fatalf("SSEFS_E2E_NATIVE: %v", err)
	}
	d.native = dir
	d.mountpoint = p
	d.t.Cleanup(func() {
		if err := os.RemoveAll(p); err != nil {
			d.t.Errorf("remove the native directory: %v", err)
		}
	})
}
