package powerloss

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/powerloss/disk"
)

// TestKills kills the daemon at marked points, each a step of what it does to the store's files, and looks each time at
// what the next mount finds.
func TestKills(t *testing.T) {
	seed := setting(t, "SSEFS_CRASH_SEED", 1)
	points := int(setting(t, "SSEFS_CRASH_KILLS", 60))
	for round := range setting(t, "SSEFS_CRASH_ROUNDS", 2) {
		t.Run(fmt.Sprint("seed", seed+round), func(t *testing.T) {
			t.Parallel()
			killRound(t, seed+round, points)
		})
	}
}

// victim is a drive whose daemon is killed again and again.
type victim struct {
	t    *testing.T
	d    *drive.Drive
	disk *testDisk
	w    *workload
	rng  *rand.Rand
	keys keyHistory
	// where counts the marked points at which a process was killed.
	where map[string]int
}

// keyHistory is what was done to the keys: how often at least, and at most.
type keyHistory struct{ rotated, slots span }

// span is a number that may be one of several.
type span struct{ least, most int }

func killRound(t *testing.T, seed uint64, points int) {
	dev := newDisk(t)
	v := &victim{t: t, disk: dev, rng: rand.New(rand.NewPCG(seed, 4)), where: map[string]int{}}
	v.d = drive.New(t, drive.Options{Store: filepath.Join(dev.point, storeName)})
	v.w = newWorkload(t, v.d, dev, seed)
	v.w.start()
	v.keys = keyHistory{rotated: span{1, 1}, slots: span{1, 1}}
	if v.w.err != nil {
		t.Fatalf("the workload failed before anything was killed: %v", v.w.err)
	}
	done := 0
	for ; done < points && !t.Failed(); done++ {
		v.point()
	}
	var marks []string
	for _, m := range slices.Sorted(maps.Keys(v.where)) {
		marks = append(marks, fmt.Sprintf("%s %d", m, v.where[m]))
	}
	t.Logf("killed %d times: %s", done, strings.Join(marks, ", "))
}

// point kills the daemon once and checks what is left.
func (v *victim) point() {
	v.t.Helper()
	moment := disk.Before
	if v.rng.IntN(2) == 0 {
		moment = disk.After
	}
	order := disk.Kill{Skip: v.rng.IntN(40), Moment: moment}
	var what string
	switch k := v.rng.IntN(100); {
	case k < 50:
		what = "working"
		order.Skip = v.rng.IntN(150)
		v.disk.arm(order)
		v.w.run(60)
	case k < 60:
		what = "collecting"
		v.disk.arm(order)
		drive.CLI(v.t, "gc", v.d.Mountpoint())
	case k < 68:
		what = "rotating a key"
		v.w.run(10)
		v.disk.arm(order)
		v.rotate()
	case k < 74:
		what = "adding an unlock slot"
		v.disk.arm(order)
		v.addSlot()
	case k < 80:
		what = "removing a tree"
		v.w.removeTree()
		v.disk.arm(order)
		v.w.run(10)
	case k < 90:
		what = "unmounting"
		v.w.run(10)
		v.disk.arm(order)
		drive.CLI(v.t, "umount", v.d.Mountpoint())
	default:
		what = "mounting"
		v.w.run(20)
		v.d.Kill()
		v.disk.arm(order)
		_ = v.d.TryMount() // it is killed, or not
	}
	if v.rng.IntN(10) == 0 {
		// At any moment, too.
		time.Sleep(time.Duration(v.rng.IntN(int(20 * time.Millisecond))))
	}
	v.d.Kill()
	at := v.disk.disarm()
	if at == "" {
		at = "anywhere"
	}
	v.where[at]++
	v.check(fmt.Sprintf("%s, killed %s %s", what, order.Moment, at))
}

// check mounts the store and compares it with what it may be.
func (v *victim) check(what string) {
	t := v.t
	t.Helper()
	if err := v.d.TryMount(); err != nil {
		t.Errorf("%s: mount: %v", what, err)
		return
	}
	v.w.h.compare(t, v.d.Mountpoint(), v.disk.position())
	if k := v.keys; k.rotated.least < k.rotated.most || k.slots.least < k.slots.most || v.rng.IntN(8) == 0 {
		v.checkKeys()
	}
	v.fsck()
	if t.Failed() {
		t.Errorf("%s: that was not so before", what)
		return
	}
	v.w.resume()
	v.disk.forget()
}

// report is as much of what `ssefs fsck --json` prints as is looked at.
type report struct {
	Counts struct {
		Unnamed int64            `json:"unnamed"`
		Records map[string]int64 `json:"records"`
	} `json:"counts"`
}

// waiting returns how much waits to be deleted.
func (r *report) waiting() int64 {
	return r.Counts.Unnamed + r.Counts.Records["orphan"] + r.Counts.Records["pending"]
}

// fsck checks the mounted volume, and that in the end no space is kept for what has no name.
func (v *victim) fsck() {
	t := v.t
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c := drive.CLI(t, "fsck", v.d.Mountpoint(), "--data", "--json")
		var r report
		err := json.Unmarshal([]byte(c.Stdout), &r)
		if err != nil || c.Code != 0 {
			t.Errorf("fsck --data: exit %d, %v\n%s%s", c.Code, err, c.Stdout, c.Stderr)
			return
		}
		if r.waiting() == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after two minutes there is still to be deleted: %s", c.Stdout)
			return
		}
	}
}

// rotate adds a version to the service master key and makes a key.
func (v *victim) rotate() {
	v.t.Helper()
	v.keys.rotated.most++
	if r := drive.CLI(v.t, "kms", "rotate", "--service-master-key", "--store", v.d.Mountpoint()); r.Code == 0 {
		v.keys.rotated.least = v.keys.rotated.most
	}
}

// addSlot adds a way to unlock the volume.
func (v *victim) addSlot() {
	v.t.Helper()
	if v.keys.slots.most >= maxSlots {
		return
	}
	v.keys.slots.most++
	file := fmt.Sprintf("%s-%d", v.d.KeyFile(), v.keys.slots.most)
	r := drive.CLI(v.t, "key", "add", "--new-key-file", file, "--label", fmt.Sprint(v.keys.slots.most), "--store", v.d.Mountpoint())
	if r.Code == 0 {
		v.keys.slots.least = v.keys.slots.most
	}
}

// maxSlots is how many slots are made at most, fewer than there may be.
const maxSlots = 6

// checkKeys compares the keys with what was done to them.
func (v *victim) checkKeys() {
	t := v.t
	t.Helper()
	var key struct {
		Versions []json.RawMessage `json:"versions"`
	}
	var slots []json.RawMessage
	for _, q := range []struct {
		args []string
		into any
	}{
		{[]string{"kms", "describe", "--service-master-key"}, &key},
		{[]string{"key", "list"}, &slots},
	} {
		r := drive.CLI(t, append(q.args, "--json", "--store", v.d.Mountpoint())...)
		if err := json.Unmarshal([]byte(r.Stdout), q.into); err != nil || r.Code != 0 {
			t.Errorf("%q: exit %d, %v\n%s%s", q.args, r.Code, err, r.Stdout, r.Stderr)
			return
		}
	}
	v.keys.rotated.settle(t, len(key.Versions), "versions of the service master key")
	v.keys.slots.settle(t, len(slots), "unlock slots")
}

// settle compares what is found with what may be, and takes it for what is.
func (s *span) settle(t testing.TB, found int, what string) {
	t.Helper()
	if found < s.least || found > s.most {
		t.Errorf("%d %s are found, of %d to %d", found, what, s.least, s.most)
	}
	*s = span{found, found}
}

// TestKilledCreation kills the making of a store at each of its steps. The next one starts over, or finds the store
// finished.
func TestKilledCreation(t *testing.T) {
	most := int(setting(t, "SSEFS_CRASH_CREATIONS", 10))
	rng := rand.New(rand.NewPCG(setting(t, "SSEFS_CRASH_SEED", 1), 5))
	t.Parallel()
	dev := newDisk(t)
	store := filepath.Join(dev.point, storeName)
	d := drive.New(t, drive.Options{Store: store})
	killed := 0
	for i := 0; killed < most && !t.Failed(); i++ {
		d.Kill()
		if err := os.RemoveAll(store); err != nil {
			t.Fatalf("remove the store: %v", err)
		}
		order := disk.Kill{Skip: i, Moment: disk.Before}
		if most < everyStep {
			order.Skip = rng.IntN(everyStep)
		}
		if rng.IntN(2) == 0 {
			order.Moment = disk.After
		}
		dev.arm(order)
		_ = d.TryMount("--create") // it is killed, or not
		d.Kill()
		at := dev.disarm()
		if at == "" {
			if most < everyStep {
				continue
			}
			break // the making takes fewer steps
		}
		killed++
		if err := d.TryMount("--create"); err != nil {
			t.Errorf("killed %s step %d, %s: mount: %v", order.Moment, order.Skip, at, err)
			return
		}
		if r := drive.CLI(t, "fsck", d.Mountpoint(), "--data"); r.Code != 0 {
			t.Errorf("killed %s step %d, %s: fsck: exit %d\n%s%s", order.Moment, order.Skip, at, r.Code, r.Stdout, r.Stderr)
		}
		dev.forget()
	}
	t.Logf("killed at %d steps", killed)
}

// everyStep is more steps than making and mounting a store takes.
const everyStep = 200
