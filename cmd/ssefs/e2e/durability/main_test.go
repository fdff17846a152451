// Package durability has the tests of what survives the death of the daemon: everything that was acknowledged by
// fsync, O_SYNC or `ssefs sync`, and of the rest a prefix, in order, that mounts and checks without help. The daemon is
// killed with SIGKILL; that its commits reach the disk, too, is for tests of power cuts.
package durability

import (
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
)

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{
		"writer":  writeAndAcknowledge,
		"prefix":  makeInOrder,
		"renames": replaceByRename,
		"storm":   moveAround,
	})
}

// crash kills the daemon, checks the store as it is and mounts it again.
func crash(d *drive.Drive) {
	d.Kill()
	d.Fsck()
	d.Mount()
}
