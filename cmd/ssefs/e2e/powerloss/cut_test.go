package powerloss

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/powerloss/disk"

	"golang.org/x/sys/unix"
)

// setting returns a number from the environment, or what is taken without.
func setting(t testing.TB, variable string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// TestPowerCuts checks the store at many points of a workload.
func TestPowerCuts(t *testing.T) {
	seed := setting(t, "SSEFS_CRASH_SEED", 1)
	points := int(setting(t, "SSEFS_CRASH_POINTS", 150))
	for round := range setting(t, "SSEFS_CRASH_ROUNDS", 1) {
		t.Run(fmt.Sprint("seed", seed+round), func(t *testing.T) { cutRound(t, seed+round, points) })
	}
}

// cutRound runs a workload, over a remount and a kill, and checks points of it.
func cutRound(t *testing.T, seed uint64, points int) {
	disk := newDisk(t)
	d := drive.New(t, drive.Options{Store: filepath.Join(disk.point, storeName)})
	w := newWorkload(t, d, disk, seed)
	w.start()
	const changes = 100
	w.run(changes)
	w.rarely(func() { d.Remount() })
	w.run(changes)
	w.syncAll()
	d.Kill()
	w.rarely(func() { d.Mount() })
	if seed%4 == 1 {
		w.removeTree()
	}
	w.run(changes)
	if w.err != nil {
		t.Fatalf("the workload failed: %v", w.err)
	}
	w.rarely(d.Unmount)
	end := disk.position()
	check(t, w, d.KeyFile(), chooseCuts(w, seed, end, points))
}

// chooseCuts returns power failures anywhere, right after something was acknowledged, and within what happens rarely.
func chooseCuts(w *workload, seed uint64, end, n int) []cut {
	rng := rand.New(rand.NewPCG(seed, 2))
	promise := disk.Named
	if p := os.Getenv("SSEFS_CRASH_PROMISE"); p != "" {
		promise = disk.Promise(p)
	}
	cuts := []cut{{end, seed, promise}}
	for len(cuts) < n {
		c := cut{rng.IntN(end + 1), rng.Uint64(), promise}
		switch k := rng.IntN(4); {
		case k < 2:
			c.position = w.acks[rng.IntN(len(w.acks))]
		case k == 2 && len(w.rare) > 0:
			r := w.rare[rng.IntN(len(w.rare))]
			c.position = r[0] + rng.IntN(r[1]-r[0]+1)
		}
		cuts = append(cuts, c)
	}
	slices.SortFunc(cuts[1:], func(a, b cut) int { return a.position - b.position })
	return cuts
}

// check mounts the store as each cut leaves it, and compares it with the history.
func check(t *testing.T, w *workload, keyFile string, cuts []cut) {
	t.Helper()
	store := filepath.Join(memory(t), "cut")
	w.disk.cut(cuts[0], store)
	d := drive.New(t, drive.Options{Store: store, KeyFile: keyFile})
	d.Kill()
	checked, failed := 0, 0
	for ; checked < len(cuts) && failed < maxFailures; checked++ {
		if !t.Run(fmt.Sprint("point", checked), func(t *testing.T) { checkCut(t, w, d, cuts[checked]) }) {
			failed++
		}
	}
	positions := map[int]bool{}
	for _, c := range cuts[:checked] {
		positions[c.position] = true
	}
	t.Logf("%d of %d points checked, after %d different changes, %d failed", checked, len(cuts), len(positions), failed)
}

// memory mounts a file system in memory, where a store needs no time to open: nothing is cut any more.
func memory(t *testing.T) string {
	t.Helper()
	dir := drive.Dir(t)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=120m,mode=0755"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH) // what is left is reported above
		}
	})
	return dir
}

// maxFailures is how many points of a round may fail before it ends.
const maxFailures = 10

// checkCut checks the store as one cut leaves it.
func checkCut(t *testing.T, w *workload, d *drive.Drive, c cut) {
	w.disk.cut(c, d.Store())
	if err := d.TryMount("--create"); err != nil {
		t.Errorf("mount: %v", err)
	} else {
		w.h.compare(t, d.Mountpoint(), c.position)
		d.Kill()
		if r := drive.CLI(t, "fsck", d.Store(), "--data", "--key-file", d.KeyFile()); r.Code != 0 {
			t.Errorf("fsck --data: exit %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
	if !t.Failed() {
		return
	}
	t.Errorf("cut at position %d, seed %d", c.position, c.seed)
	if keep := os.Getenv("SSEFS_CRASH_KEEP"); keep != "" {
		dir := filepath.Join(keep, filepath.Base(filepath.Dir(t.Name()))+"-"+fmt.Sprint(c.position, "-", c.seed))
		w.disk.cut(c, dir)
		key, err := os.ReadFile(d.KeyFile())
		if err == nil {
			err = os.WriteFile(dir+".key", key, 0o600)
		}
		t.Logf("the store is kept in %s, with its key beside it (%v)", dir, err)
	}
}
