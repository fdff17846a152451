package recover

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"

	"golang.org/x/sys/unix"
)

// rounds is how many random damages a test makes; SSEFS_RECOVER_ROUNDS says how many in a longer run.
func rounds(t *testing.T, few int) uint64 {
	t.Helper()
	text := os.Getenv("SSEFS_RECOVER_ROUNDS")
	if text == "" {
		return uint64(few)
	}
	n, err := strconv.Atoi(text)
	expect.OK(t, err, "SSEFS_RECOVER_ROUNDS")
	return uint64(n)
}

// damageRecords damages a few records behind the store's back.
func (s *site) damageRecords(r *rand.Rand) string {
	s.t.Helper()
	records, err := raw.Read(s.store)
	expect.OK(s.t, err, "read the records")
	var few []string // contents and what belongs to them are most of all records
	keys := records.Keys("")
	for _, k := range keys {
		if !strings.ContainsRune("DRM", rune(k[0])) && k[0] != 0xff {
			few = append(few, k)
		}
	}
	changes := make(raw.Changes)
	var what []string
	for range 1 + r.IntN(8) {
		from := few
		if r.IntN(3) == 0 {
			from = keys
		}
		key := from[r.IntN(len(from))]
		if key[0] == 0xff {
			continue
		}
		value := records[key].Value
		switch how := r.IntN(4); {
		case how == 0 || value == "":
			changes.Remove(key)
			what = append(what, fmt.Sprintf("%x removed", key))
		case how == 1:
			other := from[r.IntN(len(from))]
			changes.Put(key, records[other].Value)
			what = append(what, fmt.Sprintf("%x of %x", key, other))
		default:
			b := []byte(value)
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			changes.Put(key, string(b))
			what = append(what, fmt.Sprintf("%x flipped", key))
		}
	}
	expect.OK(s.t, raw.Change(s.store, changes), "change records")
	return strings.Join(what, ", ")
}

// TestDamagedRecords damages records that no file of the database tells the damage of.
func TestDamagedRecords(t *testing.T) {
	s := newSite(t)
	for seed := range rounds(t, 3) {
		s.renew()
		what := fmt.Sprintf("seed %d: %s", seed, s.damageRecords(random(100+seed)))
		s.ordeal(what)
		if t.Failed() {
			t.Fatalf("with %s", what)
		}
	}
}

// TestKilledRepair kills repairs at any moment: what they leave can be repaired.
func TestKilledRepair(t *testing.T) {
	s := newSite(t)
	s.lossy = true // what a repair gives up is in its own report
	for seed := range rounds(t, 2) {
		s.renew()
		r := random(200 + seed)
		what := fmt.Sprintf("seed %d: %s", seed, s.damageRecords(r))
		for range 3 {
			s.killedRepair(time.Duration(r.IntN(120)) * time.Millisecond)
		}
		s.ordeal(what)
		if t.Failed() {
			t.Fatalf("with %s", what)
		}
	}
}

// killedRepair begins a repair and kills it after a while, if it has not ended by then.
func (s *site) killedRepair(after time.Duration) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	cmd := exec.CommandContext(ctx, drive.Binary(s.t), "fsck", s.store, "--key-file", s.key, "--repair")
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(interface{ Signaled() bool })
	if ok && status.Signaled() {
		return
	}
	if code := cmd.ProcessState.ExitCode(); !slices.Contains([]int{0, 1, 4}, code) {
		s.t.Errorf("a repair ended with %d (%v):\n%s", code, err, out)
	}
}

// TestRefusals: what a repair and a salvage do not do.
func TestRefusals(t *testing.T) {
	s := newSite(t)
	inside, full, fresh := s.store+"/db/out", s.base+"/full", s.base+"/out"
	expect.Mkdir(t, full)
	expect.Write(t, full+"/file", []byte("mine"))
	refused := func(code int, what string, args ...string) {
		t.Helper()
		r := s.fsck(args...)
		drive.OneLine(t, r)
		expect.Equal(t, r.Code, code, "exit of %s: %s", what, r.Stderr)
	}
	refused(16, "a salvage into the store", "--salvage", inside)
	refused(16, "a salvage into a directory with files", "--salvage", full)
	refused(16, "a salvage into a file", "--salvage", full+"/file")
	refused(16, "a salvage and a repair", "--salvage", fresh, "--repair")
	refused(16, "a dry run of nothing", "--dry-run")
	expect.Contents(t, full+"/file", []byte("mine"))
	s.mustMount()
	refused(8, "a salvage of a mounted store", "--salvage", fresh)
	refused(8, "a repair of a mounted store", "--repair")
	s.unmount()
	expect.Missing(t, fresh)
	if r := s.fsck("--repair"); r.Code != 0 {
		t.Errorf("repair of a store in good order: exit %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
}

// TestDryRun: what a repair would do is told, and not done.
func TestDryRun(t *testing.T) {
	s := newSite(t)
	s.damageRecords(random(300))
	first := s.fsck()
	r := s.fsck("--repair", "--dry-run")
	expect.Equal(t, r.Code, 4, "exit of a dry run: %s%s", r.Stdout, r.Stderr)
	if !strings.Contains(r.Stdout, "to repair: ") {
		t.Errorf("a dry run told nothing: %s", r.Stdout)
	}
	if again := s.fsck(); again.Stdout != first.Stdout {
		t.Errorf("after a dry run fsck finds\n%sbefore\n%s", again.Stdout, first.Stdout)
	}
}

// TestSalvageKeepsAttributes: a copy of a store in good order is the same as the drive, in all that the file system
// that it is on can keep.
func TestSalvageKeepsAttributes(t *testing.T) {
	s := newSite(t)
	s.mustMount()
	dir := s.point + "/aes/attributes"
	expect.Mkdir(t, dir)
	file := dir + "/file"
	expect.Write(t, file, []byte("contents"))
	expect.OK(t, os.Chown(file, 1234, 4321), "chown")
	expect.OK(t, unix.Chmod(file, 0o4751), "chmod")
	expect.OK(t, unix.Setxattr(file, "user.note", []byte("hello"), 0), "setxattr")
	expect.OK(t, unix.Setxattr(file, "trusted.note", []byte("secret"), 0), "setxattr")
	drive.Must(t, "setfacl", "-m", "u:77:rw", file)
	drive.Must(t, "setfacl", "-d", "-m", "g:78:rx", dir)
	expect.OK(t, os.Link(file, dir+"/second"), "link")
	expect.OK(t, os.Symlink("../../none/../../../etc/passwd", dir+"/symlink"), "symlink")
	expect.OK(t, unix.Mkfifo(dir+"/fifo", 0o622), "mkfifo")
	expect.OK(t, unix.Mknod(dir+"/device", unix.S_IFCHR|0o604, int(unix.Mkdev(1, 3))), "mknod")
	expect.OK(t, os.Truncate(expectSparse(t, dir+"/sparse"), 50<<20), "truncate")
	when := time.Unix(1_234_567_890, 123_456_789)
	expect.OK(t, os.Chtimes(file, when, when), "utimes")
	expect.OK(t, os.Chtimes(dir, when, when), "utimes")
	want := s.base + "/want"
	drive.Must(t, "rsync", "-aHAX", s.point+"/", want+"/")
	s.unmount()
	if code := s.salvage("in good order"); code != 0 {
		t.Fatalf("salvage: exit %d", code)
	}
	out := s.base + "/out"
	expect.OK(t, os.Remove(out+"/salvage-report.txt"), "remove the report")
	// Times of directories and owners are among what is compared; that of the copy's own directory is the user's.
	if diff := drive.Must(t, "rsync", "-aHAXnic", "--delete", want+"/aes", want+"/none", out+"/"); diff != "" {
		t.Errorf("the copy differs:\n%s", diff)
	}
	if st := expect.Stat(t, out+"/aes/attributes/sparse"); st.Blocks*512 > 1<<20 {
		t.Errorf("a sparse file takes %d bytes in the copy", st.Blocks*512)
	}
}

// expectSparse makes a file with a few bytes in a hole.
func expectSparse(t *testing.T, path string) string {
	t.Helper()
	f := expect.Create(t, path)
	f.Pwrite([]byte("island"), 20<<20)
	f.Close()
	return path
}
