package volume

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sort"
	"strings"
	"testing"
	"time"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// tree describes all names below a path: two volumes, or a volume at two times,
// are alike if the descriptions are.
func tree(t testing.TB, v *Volume, path string) string {
	t.Helper()
	var lines []string
	var walk func(path string)
	walk = func(path string) {
		n, err := v.Resolve(path)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer v.Unpin(n)
		a := n.Stat()
		lines = append(lines, fmt.Sprintf("%s %o %d", path, a.Mode, a.Nlink))
		if !a.IsDir() {
			return
		}
		var names []string
		if err := v.NewListing(n).Each(v, func(e record.Entry, _ uint64) bool { names = append(names, e.Name); return true }); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, name := range names {
			walk(path + "/" + name)
		}
	}
	walk(path)
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// TestPrefix: after a crash at any time the names are as they were after some
// operation, no earlier than the last sync.
func TestPrefix(t *testing.T) {
	x := newTestVolume(t, Options{})
	r := newRand(t)
	for range 6 {
		x.must(x.v.Sync())
		states := map[string]int{tree(t, x.v, "/b"): 0}
		synced := 0
		dirs := []uint64{x.inode("/b")}
		for _, p := range []string{"/b/a", "/b/b"} {
			if n, err := x.v.Resolve(p); err == nil {
				if n.IsDir() {
					dirs = append(dirs, n.Ino)
				}
				x.v.Unpin(n)
			}
		}
		for i := 1; i <= 120; i++ {
			if err := randomNames(x.v, r, dirs); !expected(err) {
				t.Fatal(err)
			}
			states[tree(t, x.v, "/b")] = i // the last time it was like this
			switch r.IntN(40) {
			case 0:
				x.must(x.v.Sync())
				synced = i
			case 1: // the committer may come at any time
				x.v.wakeCommitter()
			}
		}
		x.crash()
		got := tree(t, x.v, "/b")
		if at, ok := states[got]; !ok {
			t.Fatalf("after the crash the names are as they never were:\n%s", got)
		} else if at < synced {
			t.Fatalf("the state of operation %d survived, %d was synced", at, synced)
		}
	}
}

// TestFsyncKeepsOthers: an fsync makes the metadata of everything before it
// durable, and no contents but those it was asked for.
func TestFsyncKeepsOthers(t *testing.T) {
	x := newTestVolume(t, Options{})
	a, b := x.newFile("/b/a"), x.newFile("/b/c")
	x.write(b, 0, noise(1, 10_000))
	mode := uint32(0o600)
	x.must(x.v.SetAttr(b, Change{Mode: &mode}))
	x.must(x.v.SetXattr(b, "user.k", []byte("v"), XattrAny))
	x.write(a, 0, noise(2, 10_000))
	x.must(x.v.SyncInode(a))
	x.v.Unpin(a)
	x.v.Unpin(b)
	x.crash()
	a, b = x.file("/b/a"), x.file("/b/c")
	defer x.v.Unpin(a)
	defer x.v.Unpin(b)
	x.wantContents(a, noise(2, 10_000))
	if m := b.Stat().Mode & 0o7777; m != mode {
		t.Errorf("mode %#o", m)
	}
	if v, err := x.v.Xattr(b, "user.k"); err != nil || string(v) != "v" {
		t.Errorf("xattr %q, %v", v, err)
	}
	// Size and contents come together: neither is there, or both are.
	if size := b.Stat().Size; size != 0 {
		x.wantContents(b, noise(1, 10_000))
	}
}

// TestRenameCarriesData: what replaces a file, or gets its name by rename or link,
// comes with its contents, whatever commits that.
func TestRenameCarriesData(t *testing.T) {
	for _, mode := range []string{"over", "plain", "link"} {
		x := newTestVolume(t, Options{})
		old := x.newFile("/b/f")
		x.write(old, 0, []byte("old"))
		x.must(x.v.SyncInode(old))
		x.v.Unpin(old)
		to := "f"
		if mode != "over" {
			to = "g"
		}
		b := x.inode("/b")
		n := x.newFile("/b/tmp")
		x.write(n, 0, noise(1, 3<<20))
		if mode == "link" {
			x.must(x.v.Link(n, b, to))
			x.must(x.v.Unlink(b, "tmp"))
		} else {
			x.must(x.v.Rename(b, "tmp", b, to, RenameReplace))
		}
		other := x.newFile("/b/other")
		x.must(x.v.SyncInode(other)) // the rename goes with it, and so must the contents
		x.v.Unpin(other)
		x.v.Unpin(n)
		x.crash()
		n = x.file("/b/" + to)
		x.wantContents(n, noise(1, 3<<20))
		x.v.Unpin(n)
	}
}

// TestTruncateAndRewrite: a file that is cut and written again is never seen
// cut after a crash, if both fell into one epoch.
func TestTruncateAndRewrite(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	x.write(n, 0, noise(1, 20_000))
	x.must(x.v.SyncInode(n))
	for i := range 10 {
		e := x.v.begin()
		seq := e.seq
		x.v.end()
		x.truncate(n, 0)
		x.write(n, 0, noise(uint64(i+2), 15_000))
		e = x.v.begin()
		one := e.seq == seq
		x.v.end()
		other := x.newFile(fmt.Sprintf("/b/other%d", i))
		x.must(x.v.SyncInode(other))
		x.v.Unpin(other)
		x.v.Unpin(n)
		x.crash()
		n = x.file("/b/f")
		if one {
			x.wantContents(n, noise(uint64(i+2), 15_000))
		} else {
			x.truncate(n, 0)
			x.write(n, 0, noise(uint64(i+2), 15_000))
			x.must(x.v.SyncInode(n))
		}
	}
	x.v.Unpin(n)
}

// TestUnnamedAreGone: files without a name do not outlive a mount, cleanly
// ended or not.
func TestUnnamedAreGone(t *testing.T) {
	for _, end := range []string{"close", "crash"} {
		x := newTestVolume(t, Options{})
		n := x.newFile("/b/f")
		n.Acquire()
		x.write(n, 0, noise(1, 3<<20))
		x.must(x.v.Unlink(x.inode("/b"), "f"))
		tmp, err := x.v.CreateUnnamed(context.Background(), x.inode("/b"), NewNode{Mode: record.TypeFile | 0o600})
		x.must(err)
		tmp.Acquire()
		x.write(tmp, 0, noise(2, 9000))
		kept, err := x.v.CreateUnnamed(context.Background(), x.inode("/b"), NewNode{Mode: record.TypeFile | 0o600})
		x.must(err)
		kept.Acquire()
		x.write(kept, 0, noise(3, 9000))
		x.must(x.v.Link(kept, x.inode("/b"), "kept"))
		x.must(x.v.Sync())
		x.wantContents(n, noise(1, 3<<20))
		if end == "close" {
			x.reopen()
		} else {
			x.crash()
		}
		x.eventually("they are gone", func() bool {
			x.must(x.v.Sync())
			return x.records(record.KindInode) == 3 && x.records(record.KindOrphan) == 0 && x.records(record.KindData) == 1
		})
		f := x.file("/b/kept")
		x.wantContents(f, noise(3, 9000))
		x.v.Unpin(f)
	}
}

// childEnv names the store that the test binary, run again, works on until it
// is killed.
const childEnv = "SSEFS_TEST_CRASH_STORE"

// TestKill kills a process that works on a volume, again and again, and wants
// the volume to be sound and everything it acknowledged to be there.
func TestKill(t *testing.T) {
	if path := os.Getenv(childEnv); path != "" {
		crashChild(t, path)
		return
	}
	root, err := crypto.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Wipe()
	path := tempDir(t) + "/store"
	acked := make(map[string]uint64) // file: seed of its contents
	r := newRand(t)
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$", "-test.timeout=10m")
		cmd.Env = append(os.Environ(), childEnv+"="+path, fmt.Sprintf("SSEFS_TEST_ROUND=%d", round))
		cmd.Stdin = bytes.NewReader(root.Bytes())
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		limit := 30 + r.IntN(200)
		acks := 0
		for acks < limit {
			var ack struct{ File, Seed uint64 }
			if err := binary.Read(out, binary.LittleEndian, &ack); err != nil {
				_ = cmd.Process.Kill()
				t.Fatalf("the child ended: %v\n%s", err, stderr.String())
			}
			acked[fmt.Sprint(ack.File)] = ack.Seed
			acks++
		}
		time.Sleep(time.Duration(r.IntN(5000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // what was acknowledged before the kill
			var ack struct{ File, Seed uint64 }
			if binary.Read(out, binary.LittleEndian, &ack) != nil {
				break
			}
			acked[fmt.Sprint(ack.File)] = ack.Seed
		}
		_ = cmd.Wait() // it was killed
		x := crashedVolume(t, path, root)
		x.clean()
		x.open()
		for name, seed := range acked {
			n := x.file("/b/" + name)
			// A later write may have got as far as the store, too.
			got := x.read(n, 0, 1<<20)
			if len(got) < 8 {
				t.Fatalf("round %d: file %s has %d bytes", round, name, len(got))
			}
			now := binary.LittleEndian.Uint64(got)
			if now < seed || differ(got[8:], noise(now, len(got)-8)) >= 0 {
				t.Fatalf("round %d: file %s has the contents of write %d, %d was acknowledged", round, name, now, seed)
			}
			acked[name] = now
			x.v.Unpin(n)
		}
		x.close()
		x.end()
	}
}

// crashedVolume opens the store that a child left.
func crashedVolume(t *testing.T, path string, root *crypto.Key) *testVolume {
	x := &testVolume{TB: t, id: crypto.VolumeID{1, 2, 3}, path: path}
	var err error
	x.keys, err = crypto.DeriveVolumeKeys(root, x.id)
	x.must(err)
	x.dir, err = store.OpenDir(path)
	x.must(err)
	x.db, err = x.dir.OpenDB(smallStore())
	x.must(err)
	head, err := ReadHead(x.options())
	x.must(err)
	x.kms, err = kms.Open(kms.Options{
		Files: x.dir, Key: x.keys.Keystore, Volume: x.id, Logger: quiet(), Generation: head.Keystore,
		RecordGeneration: func(g uint64) error { return x.kernel.RecordKeystore(g) },
	})
	x.must(err)
	return x
}

// end undoes crashedVolume.
func (x *testVolume) end() {
	x.Helper()
	x.kms.Close()
	x.must(x.db.Close())
	x.must(x.dir.Close())
	x.keys.Wipe()
}

// crashChild works on a volume until it is killed: several writers that replace
// files and acknowledge on stdout what fsync made durable.
func crashChild(t *testing.T, path string) {
	key := make([]byte, 32)
	if _, err := io.ReadFull(os.Stdin, key); err != nil {
		t.Fatal(err)
	}
	root, err := crypto.KeyFromBytes(key)
	if err != nil {
		t.Fatal(err)
	}
	var x *testVolume
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		x = makeVolume(t, path, root)
	} else {
		x = crashedVolume(t, path, root)
		x.open()
	}
	var round uint64
	if _, err := fmt.Sscan(os.Getenv("SSEFS_TEST_ROUND"), &round); err != nil {
		t.Fatal(err)
	}
	b := x.inode("/b")
	done := make(chan struct{}, 1)
	for w := range uint64(4) {
		go func() {
			r := rand.New(rand.NewPCG(round, w))
			for i := uint64(1); ; i++ {
				file := w*10 + uint64(r.IntN(10))
				seed := round<<40 | i<<8 | w
				tmp := fmt.Sprintf("tmp%d", w)
				n := x.newFile("/b/" + tmp)
				contents := binary.LittleEndian.AppendUint64(nil, seed)
				contents = append(contents, noise(seed, 1+r.IntN(200<<10))...)
				x.write(n, 0, contents)
				if r.IntN(3) == 0 {
					x.must(x.v.writeBack(n))
				}
				x.must(x.v.Rename(b, tmp, b, fmt.Sprint(file), RenameReplace))
				if r.IntN(2) == 0 {
					x.must(x.v.SyncInode(n))
					ack := binary.LittleEndian.AppendUint64(nil, file)
					if _, err := os.Stdout.Write(binary.LittleEndian.AppendUint64(ack, seed)); err != nil {
						done <- struct{}{}
					}
				}
				x.v.Unpin(n)
			}
		}()
	}
	<-done
}

// makeVolume makes the store that children work on, and opens it.
func makeVolume(t *testing.T, path string, root *crypto.Key) *testVolume {
	x := &testVolume{TB: t, id: crypto.VolumeID{1, 2, 3}, path: path}
	var err error
	x.keys, err = crypto.DeriveVolumeKeys(root, x.id)
	x.must(err)
	x.dir, err = store.CreateDir(path)
	x.must(err)
	x.must(x.dir.WriteFile(store.HeaderFile, []byte("{}")))
	x.must(x.dir.FinishCreate())
	x.db, err = x.dir.OpenDB(smallStore())
	x.must(err)
	x.must(Create(x.options(), Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}, Region: "local"}, 0, 0))
	x.open()
	x.kms, err = kms.Create(kms.Options{
		Files: x.dir, Key: x.keys.Keystore, Volume: x.id, Logger: quiet(),
		RecordGeneration: func(g uint64) error { return x.kernel.RecordKeystore(g) },
	})
	x.must(err)
	x.v.SetKeyService(x.kms)
	x.mkdir("/b")
	x.must(x.v.Sync())
	return x
}
