// Package powerloss has the tests of what survives when the power fails, or the disk, or the daemon is killed: the store
// lies on a file system of the tests' own (package disk), which knows what was made durable, and is then found as the disk
// could be found; or which kills the daemon at a request, each of which is a step of what it does to the store.
//
// Each round runs one workload, and then checks the store at many points of it: mounted without help, it has everything
// that was acknowledged before, and of the rest what ARCHITECTURE.md says; and fsck finds nothing.
//
// The environment chooses what a campaign does (scripts/crash): SSEFS_CRASH_SEED, SSEFS_CRASH_ROUNDS and, for each
// round, SSEFS_CRASH_POINTS of power cuts, SSEFS_CRASH_KILLS of killed daemons; SSEFS_CRASH_CREATIONS and
// SSEFS_CRASH_PROGRAMS are how often the making of a store is killed, and the daemon under each real program.
// SSEFS_CRASH_PROMISE is a disk.Promise; SSEFS_CRASH_KEEP names a directory that takes the stores that failed. Without it
// the seeds are fixed. A seed repeats the workload and the choices, but not what the kernel and the daemon did when; so
// the store that failed is what to look into.
package powerloss

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/powerloss/disk"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{"disk": serveDisk})
}

// serveDisk is the helper that serves the disk until nothing more is said.
func serveDisk(p *drive.Peer) error {
	d, err := disk.Mount(p.Args[0])
	if err != nil {
		return err
	}
	if err := p.Say("mounted"); err != nil {
		return err
	}
	for {
		line, err := p.Hear()
		if err != nil {
			return d.Unmount()
		}
		answer, err := answer(d, line)
		if err != nil {
			answer = "error: " + err.Error()
		}
		if err := p.Say(answer); err != nil {
			return err
		}
	}
}

// answer does what a line asks for.
func answer(d *disk.Disk, line string) (string, error) {
	var what string
	if _, err := fmt.Sscan(line, &what); err != nil {
		return "", err
	}
	switch what {
	case "position":
		return strconv.Itoa(d.Position()), nil
	case "failed":
		return strconv.Itoa(d.Failed()), nil
	case "fault":
		var f disk.Fault
		if _, err := fmt.Sscan(line, &what, &f.Call, &f.Skip, &f.Count, &f.Errno); err != nil {
			return "", err
		}
		d.Inject(f)
		return "ok", nil
	case "arm":
		var k disk.Kill
		if _, err := fmt.Sscan(line, &what, &k.Skip, &k.Moment); err != nil {
			return "", err
		}
		d.Arm(k)
		return "ok", nil
	case "disarm":
		return "killed at: " + d.Disarm(), nil
	case "forget":
		d.Forget()
		return "ok", nil
	case "cut":
		var position int
		var seed uint64
		var promise disk.Promise
		var dir string
		if _, err := fmt.Sscan(line, &what, &position, &seed, &promise, &dir); err != nil {
			return "", err
		}
		return "ok", d.Cut(position, seed, promise, storeName, dir)
	}
	return "", fmt.Errorf("nobody knows how to %s", what)
}

// storeName is the name of the store on the disk.
const storeName = "store"

// testDisk is the disk, seen from the test.
type testDisk struct {
	t      testing.TB
	point  string
	helper *drive.Process
}

// newDisk mounts an empty disk until the test's end.
func newDisk(t testing.TB) *testDisk {
	t.Helper()
	d := &testDisk{t: t, point: drive.Dir(t)}
	d.helper = drive.Start(t, "disk", d.point)
	d.helper.Expect("mounted")
	t.Cleanup(func() {
		d.helper.Wait()
		if _, left := drive.MountOf(t, d.point); left {
			t.Errorf("the disk is still mounted: %v", unix.Unmount(d.point, unix.MNT_DETACH))
		}
	})
	return d
}

// position returns how many changes the disk has seen.
func (d *testDisk) position() int {
	d.t.Helper()
	d.helper.Say("position")
	return d.number()
}

// inject makes calls fail; see [disk.Fault].
func (d *testDisk) inject(f disk.Fault) {
	d.t.Helper()
	d.helper.Say(fmt.Sprintf("fault %s %d %d %d", f.Call, f.Skip, f.Count, f.Errno))
	d.helper.Expect("ok")
}

// failed returns how many calls have failed.
func (d *testDisk) failed() int {
	d.t.Helper()
	d.helper.Say("failed")
	return d.number()
}

// arm has the next process killed that comes to a marked point; see [disk.Kill].
func (d *testDisk) arm(k disk.Kill) {
	d.t.Helper()
	d.helper.Say(fmt.Sprintf("arm %d %s", k.Skip, k.Moment))
	d.helper.Expect("ok")
}

// disarm returns where a process was killed, "" if none was.
func (d *testDisk) disarm() string {
	d.t.Helper()
	d.helper.Say("disarm")
	return strings.TrimPrefix(d.helper.Hear(), "killed at: ")
}

// forget has the disk forget how it came to be: there will be no cuts.
func (d *testDisk) forget() {
	d.t.Helper()
	d.helper.Say("forget")
	d.helper.Expect("ok")
}

func (d *testDisk) number() int {
	d.t.Helper()
	line := d.helper.Hear()
	n, err := strconv.Atoi(line)
	if err != nil {
		d.t.Fatalf("the disk said %q", line)
	}
	return n
}

// cut makes dir the store as a power failure could have left it.
func (d *testDisk) cut(c cut, dir string) {
	d.t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		d.t.Fatalf("remove the store before: %v", err)
	}
	d.helper.Say(fmt.Sprintf("cut %d %d %s %s", c.position, c.seed, c.promise, dir))
	d.helper.Expect("ok")
}

// cut is a power failure: when, and which of the states that the disk could be in.
type cut struct {
	position int
	seed     uint64
	promise  disk.Promise
}
