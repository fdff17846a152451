package powerloss

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
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
		{Call: disk.Read, Skip: 5, Count: 1, Errno: unix.EIO},
		{Call: disk.Read, Skip: 5, Count: always, Errno: unix.EIO},
		{Call: disk.Name, Skip: 3, Count: 1, Errno: unix.EIO},
		{Call: disk.Name, Skip: 3, Count: always, Errno: unix.EIO},
		{Call: disk.Short, Skip: 3, Count: 1},
		{Call: disk.Short, Skip: 3, Count: always},
	}
}

// phase is what goes on while the disk fails.
type phase string

const (
	working    phase = "working"
	collecting phase = "collecting"
	mounting   phase = "mounting"
	unmounting phase = "unmounting"
)

// TestFaults: when the disk fails, whoever asks for durability is told, or gets it: the store, as the disk has it then,
// mounts and has everything that was acknowledged.
func TestFaults(t *testing.T) {
	seed := setting(t, "SSEFS_CRASH_SEED", 1)
	rounds := setting(t, "SSEFS_CRASH_ROUNDS", 1)
	for round := range rounds {
		rng := rand.New(rand.NewPCG(seed+round, 3))
		for _, p := range []phase{working, collecting, mounting, unmounting} {
			for i, f := range faults() {
				f.Skip = rng.IntN(f.Skip)
				if p != working && rounds == 1 && rng.IntN(3) > 0 {
					continue // a long campaign has all of them
				}
				if p == collecting && hitsTables(f) {
					continue
				}
				if p == mounting && f.Call == disk.Write && f.Errno == unix.ENOSPC && f.Count == always {
					continue // a mount waits for space, for minutes
				}
				name := fmt.Sprintf("seed%d-%s-%d-%s-%s-after%d", seed+round, p, i, f.Call, unix.ErrnoName(f.Errno), f.Skip)
				t.Run(name, func(t *testing.T) { faultRound(t, seed+round, p, f) })
			}
		}
	}
}

// hitsTables tells whether a fault may keep a compaction from making a table. Badger v4.9.6 drops the error and removes
// what the table was made from: see ARCHITECTURE.md, "When the power fails, or the disk". Collecting compacts everything, so the workload does without then.
func hitsTables(f disk.Fault) bool {
	return f.Call == disk.Make || f.Call == disk.Write || f.Call == disk.Sync
}

// faultChanges is how many changes a workload with a fault makes.
const faultChanges = 100

// faultRound has the disk fail in a phase, and checks what is left.
func faultRound(t *testing.T, seed uint64, p phase, f disk.Fault) {
	dev := newDisk(t)
	d := drive.New(t, drive.Options{Store: filepath.Join(dev.point, storeName)})
	w := newWorkload(t, d, dev, seed)
	w.start()
	if p != working {
		w.run(faultChanges / 2)
	}
	if w.err != nil {
		t.Fatalf("the workload failed without a fault: %v", w.err)
	}
	begin := dev.position()
	var came string
	switch p {
	case working:
		w.uncollected = hitsTables(f)
		dev.inject(f)
		if f.Call == disk.Read {
			w.reread()
		}
		w.run(faultChanges)
		came = fmt.Sprint(w.err)
	case collecting:
		dev.inject(f)
		came = outcome(drive.CLI(t, "gc", d.Mountpoint()))
		w.run(10)
	case mounting:
		w.syncAll()
		d.Kill()
		dev.inject(f)
		if err := d.TryMount(); err != nil {
			came = err.Error()
		} else {
			came = "mounted"
			w.run(10)
		}
	case unmounting:
		dev.inject(f)
		came = outcome(drive.CLI(t, "umount", d.Mountpoint()))
	}
	failed := dev.failed()
	dev.inject(disk.Fault{Call: f.Call, Errno: f.Errno}) // no more calls
	end := dev.position()
	t.Logf("%d calls failed; what came of it: %s", failed, came)
	if failed == 0 && p == working && f.Call != disk.Name && f.Call != disk.Read && f.Call != disk.Short {
		t.Errorf("the workload is too short to meet the fault")
	}
	d.Kill()
	if f.Call != disk.Read {
		noTrace(t, d)
	}
	cuts := chooseCuts(w, seed, end, 3)
	for i := range cuts {
		cuts[i].position = max(cuts[i].position, begin)
	}
	cuts[1].position = end
	check(t, w, d.KeyFile(), cuts)
}

// outcome describes what came of a command.
func outcome(r drive.Result) string {
	return strings.TrimSpace(fmt.Sprintf("exit %d %s", r.Code, r.Stderr))
}

// noTrace fails the test if a daemon ended with a stack trace: a failing disk is no surprise. Where a mapped page cannot be
// read in Badger's own goroutines, it does: nothing can catch that there.
func noTrace(t *testing.T, d *drive.Drive) {
	t.Helper()
	for _, sign := range []string{"goroutine ", "panic:", "fatal error", "SIGBUS"} {
		if i := strings.Index(d.Output(), sign); i >= 0 {
			t.Errorf("the daemon crashed: %.2000s", d.Output()[i:])
			return
		}
	}
}

// reread reads all files past the page cache. What cannot be read is an error of the caller's, and nothing else.
func (w *workload) reread() {
	buf := make([]byte, 64<<10)
	for path, o := range w.h.objects {
		if o.rule == folder {
			continue
		}
		fd, err := unix.Open(w.d.Path(path), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		for n := 1; n > 0 && err == nil; {
			n, err = unix.Read(fd, buf)
		}
		_ = unix.Close(fd) // nothing was written
	}
}
