package forgery

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// TestWriteAheadLog attacks the logs and journals of a store whose daemon was killed. What is cut off its end cannot be told from what
// was never written; so the volume is as it was after some commit of the last mount, all of it, or is not mounted.
func TestWriteAheadLog(t *testing.T) {
	t.Parallel()
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	for i := range 5 {
		small(t, filepath.Join(b, fmt.Sprint(i)))
	}
	d.Remount()
	states := []state{whole(t, d.Mountpoint())}
	for i := range 5 { // each is one change, and durable before the next
		path := filepath.Join(b, fmt.Sprint(i))
		switch i % 3 {
		case 0:
			expect.OK(t, unix.Rename(path, path+".moved"), "rename")
		case 1:
			expect.SetXattr(t, path, "user.note", "x")
		default:
			chmod(t, path)
		}
		drive.Must(t, drive.Binary(t), "sync", d.Mountpoint())
		states = append(states, whole(t, d.Mountpoint()))
	}
	d.Kill()
	store := filepath.Join(drive.Dir(t), "store")
	copyStore(t, d.Store(), store)
	logs := usedLogs(t, store)
	r := rand.New(rand.NewPCG(number(t, "SSEFS_FORGERY_SEED", 1), 2))
	rounds := 8
	if everything() {
		rounds = 200
	}
	counts := tally{}
	for range rounds {
		file := slices.Sorted(keysOf(logs))[r.IntN(len(logs))]
		forged := bytes.Clone(logs[file])
		used := len(bytes.TrimRight(forged, "\x00"))
		at := r.IntN(used)
		what := fmt.Sprintf("flip at %d", at)
		switch r.IntN(4) {
		case 0, 1:
			forged[at] ^= 1 << r.IntN(8)
		case 2:
			forged, what = forged[:at], fmt.Sprintf("cut at %d", at)
		default:
			clear(forged[at:min(used, at+1+r.IntN(200))])
			what = fmt.Sprintf("zeros from %d", at)
		}
		v := newVictim(t, store, d.KeyFile())
		expect.OK(t, os.WriteFile(filepath.Join(v.store, file), forged, 0o600), "write the log")
		report := v.fsckAnyway()
		how := "refused"
		if v.mountAnyway() {
			found := look(v.point, states[0], states[len(states)-1])
			v.unmount()
			i := found.oneOf(states)
			if i < 0 {
				t.Errorf("%s: %s: the volume is in no state that it was in", file, what)
				v.keep(t.Name())
			}
			how = "earlier"
			if i == len(states)-1 {
				how = "newest"
			}
		} else if report.code != fsckErrors {
			t.Errorf("%s: %s: it is not mounted, and fsck exits with %d: %s", file, what, report.code, report.text)
		}
		counts.add(fileKind(file), how)
		v.remove()
	}
	counts.report(t)
}

// usedLogs returns the write-ahead logs and journals of a store in which there is something.
func usedLogs(t *testing.T, store string) map[string][]byte {
	t.Helper()
	logs := map[string][]byte{}
	for _, file := range storeFiles(t, store) {
		if filepath.Ext(file) != ".mem" && !strings.HasPrefix(file, "journal.") {
			continue
		}
		b := expect.Read(t, filepath.Join(store, file))
		if len(bytes.TrimRight(b, "\x00")) > 0 {
			logs[file] = b
		}
	}
	if len(logs) == 0 {
		t.Fatalf("a store whose daemon was killed has no log")
	}
	return logs
}

// oneOf returns the newest of some states that all answers are those of, or -1.
func (s state) oneOf(states []state) int {
	for i := len(states) - 1; i >= 0; i-- {
		same := true
		for path, n := range s {
			right := states[i][path]
			same = same && (right == nil && n.absent() || right != nil && len(n.failed) == 0 && n.differs(right) == "")
		}
		if same {
			return i
		}
	}
	return -1
}
