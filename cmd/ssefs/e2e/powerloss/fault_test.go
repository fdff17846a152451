package powerloss

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/powerloss/disk"

	"golang.org/x/sys/unix"
)

// always is more calls than there are.
const always = 1 << 30

// faults returns what the disk can do: once, or from some call on. Skip is among how many calls the first is that fails:
// fewer than the workload makes.
func faults() []disk.Fault {
	return []disk.Fault{
		{Call: disk.Sync, Skip: 50, Count: 1, Errno: unix.EIO},
		{Call: disk.Sync, Skip: 50, Count: always, Errno: unix.EIO},
		{Call: disk.Write, Skip: 50, Count: 1, Errno: unix.EIO},
		{Call: disk.Write, Skip: 50, Count: always, Errno: unix.EIO},
		{Call: disk.Write, Skip: 50, Count: 1, Errno: unix.ENOSPC},
		{Call: disk.Write, Skip: 50, Count: always, Errno: unix.ENOSPC},
		{Call: disk.Make, Skip: 5, Count: 1, Errno: unix.ENOSPC},
		{Call: disk.Make, Skip: 5, Count: always, Errno: unix.EIO},
	}
}

// TestFaults: when the disk fails, whoever asks for durability is told, or gets it: the store, as the disk has it then,
// mounts and has everything that was acknowledged.
func TestFaults(t *testing.T) {
	seed := setting(t, "SSEFS_CRASH_SEED", 1)
	for round := range setting(t, "SSEFS_CRASH_ROUNDS", 1) {
		rng := rand.New(rand.NewPCG(seed+round, 3))
		for i, f := range faults() {
			f.Skip = rng.IntN(f.Skip)
			name := fmt.Sprintf("seed%d-%d-%s-%s-after%d", seed+round, i, f.Call, unix.ErrnoName(f.Errno), f.Skip)
			t.Run(name, func(t *testing.T) { faultRound(t, seed+round, f) })
		}
	}
}

// faultChanges is how many changes a workload with a fault makes.
const faultChanges = 100

// faultRound runs a workload while the disk fails, and checks what is left.
func faultRound(t *testing.T, seed uint64, f disk.Fault) {
	dev := newDisk(t)
	d := drive.New(t, drive.Options{Store: filepath.Join(dev.point, storeName)})
	w := newWorkload(t, d, dev, seed)
	w.start()
	if w.err != nil {
		t.Fatalf("the workload failed without a fault: %v", w.err)
	}
	begin := dev.position()
	dev.inject(f)
	w.run(faultChanges)
	failed := dev.failed()
	dev.inject(disk.Fault{Call: f.Call, Errno: f.Errno}) // no more calls
	end := dev.position()
	t.Logf("%d calls failed; the workload ended with: %v", failed, w.err)
	if failed == 0 {
		t.Errorf("the workload is too short to meet the fault")
	}
	d.Kill()
	cuts := chooseCuts(w, seed, end, 3)
	for i := range cuts {
		cuts[i].position = max(cuts[i].position, begin)
	}
	cuts[1].position = end
	check(t, w, d.KeyFile(), cuts)
}
