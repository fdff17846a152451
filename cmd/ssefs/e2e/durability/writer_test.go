package durability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// contentsOf is what the writer puts into file i.
func contentsOf(i int) []byte { return expect.Random(uint64(i), 500+i*7919%60_000) }

// writeAndAcknowledge is the helper that makes files, with other changes in between, until the drive fails, and says
// each number whose fsync was acknowledged.
func writeAndAcknowledge(p *drive.Peer) error {
	dir := p.Args[0]
	for i := 0; ; i++ {
		name := filepath.Join(dir, fmt.Sprint(i))
		fd, err := unix.Open(name+".new", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
		if err != nil {
			return nil
		}
		data := contentsOf(i)
		for from := 0; from < len(data); from += 10_000 {
			if _, err := unix.Write(fd, data[from:min(from+10_000, len(data))]); err != nil {
				return nil
			}
		}
		// Unsynced company: it may be lost, and must not do harm.
		if err := os.WriteFile(filepath.Join(dir, "scratch"), data, 0o644); err != nil {
			return nil
		}
		if i%2 == 0 { // the order of editors
			if unix.Fsync(fd) != nil || unix.Rename(name+".new", name) != nil || syncDirectory(dir) != nil {
				return nil
			}
		} else { // and the other way round
			if unix.Rename(name+".new", name) != nil || unix.Fsync(fd) != nil {
				return nil
			}
		}
		if err := p.Say(fmt.Sprint(i)); err != nil {
			return err
		}
		if unix.Close(fd) != nil {
			return nil
		}
	}
}

func syncDirectory(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	if err := unix.Fsync(fd); err != nil {
		return err
	}
	return unix.Close(fd)
}

// TestNothingAcknowledgedIsLost kills the daemon at random moments of three writers' work and looks for every file
// that was acknowledged.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	d := drive.New(t, drive.Options{})
	random := rand.New(rand.NewPCG(5, 6))
	total := 0
	for round := range 6 {
		var dirs []string
		var writers []*drive.Process
		for _, b := range bucketsOfRound(t, d, round) {
			dirs = append(dirs, b)
			writers = append(writers, drive.Start(t, "writer", b))
		}
		acknowledged := make([][]string, len(writers))
		for i, h := range writers { // at least two each, however busy the disk is
			acknowledged[i] = []string{h.Hear(), h.Hear()}
		}
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		d.Kill()
		for i, h := range writers {
			acknowledged[i] = append(acknowledged[i], h.Rest()...)
		}
		d.Fsck()
		d.Mount()
		for i, dir := range dirs {
			for _, line := range acknowledged[i] {
				n, err := strconv.Atoi(line)
				expect.OK(t, err, "hear of a file")
				expect.Contents(t, filepath.Join(dir, line), contentsOf(n))
				total++
			}
		}
	}
	t.Logf("%d acknowledged files, all there", total)
}

func bucketsOfRound(t *testing.T, d *drive.Drive, round int) []string {
	t.Helper()
	var dirs []string
	for _, policy := range []string{"AES256", "KMS", "none"} {
		b := d.Bucket(fmt.Sprint(policy, round))
		expect.SetXattr(t, b, "user.sse.policy", policy)
		dirs = append(dirs, b)
	}
	return dirs
}

// TestLargeWriteCutShort: a crash in the middle of much unsynced data leaves what is whole: a file's size never covers
// what was not written, and what was synced before is there.
func TestLargeWriteCutShort(t *testing.T) {
	d := drive.New(t, drive.Options{})
	b := d.Bucket("b")
	data := expect.Random(1, 64<<20)
	for round := range 3 {
		p := filepath.Join(b, fmt.Sprint(round))
		f := expect.Create(t, p)
		f.Pwrite(data[:1<<20], 0)
		f.Sync()
		// The kernel goes on taking pages for a drive that is dead: the writer has to be told.
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for off := 1 << 20; ; off += 256 << 10 {
				select {
				case <-stop:
					return
				default:
				}
				if off == len(data) {
					off = 1 << 20 // the same again, over what may be on its way
				}
				if _, err := unix.Pwrite(f.Fd, data[off:off+256<<10], int64(off)); err != nil {
					return
				}
				if off%(8<<20) == 0 && unix.SyncFileRange(f.Fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) != nil {
					return
				}
			}
		}()
		time.Sleep(time.Duration(100+1200*round) * time.Millisecond)
		d.Kill()
		close(stop)
		<-done
		f.Drop()
		d.Fsck()
		d.Mount()
		got := expect.Read(t, p)
		if len(got) < 1<<20 {
			t.Errorf("round %d: %d bytes survived of 1 MiB that was synced", round, len(got))
		}
		// Data may be missing within the size only as holes that were never written there: pages are handed over in
		// any order. They read as zeros, in whole pages.
		for at := 0; at < len(got); at += 4096 {
			part, want := got[at:min(at+4096, len(got))], data[at:min(at+4096, len(got))]
			if string(part) != string(want) && (at < 1<<20 || string(part) != string(make([]byte, len(part)))) {
				t.Fatalf("round %d: the page at %d is neither what was written nor a hole", round, at)
			}
		}
		t.Logf("round %d: %d of %d bytes survived", round, len(got), len(data))
		expect.OK(t, unix.Unlink(p), "unlink")
	}
}
