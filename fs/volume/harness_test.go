package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

// testVolume is a volume in a temporary directory. It is mounted while v is
// set, and checked by package check whenever it is unmounted.
type testVolume struct {
	testing.TB
	path  string
	dir   *store.Dir
	db    *store.DB
	id    crypto.VolumeID
	keys  *crypto.VolumeKeys
	kms   *kms.Service
	o     Options // DB, Dir and keys are filled in
	store store.Options
	v     *Volume

	kernelMu sync.Mutex // guards kernel
	kernel   *Volume    // which RecordKeystore goes to
}

// smallStore are store options that make a test's store small and quick.
func smallStore() store.Options {
	return store.Options{MemTableSize: 8 << 20, ValueLogFileSize: 32 << 20, BallastSize: 1 << 20}
}

func newTestVolume(t testing.TB, o Options) *testVolume { return newTestVolumeOn(t, o, smallStore()) }

func newTestVolumeOn(t testing.TB, o Options, s store.Options) *testVolume {
	t.Helper()
	x := &testVolume{TB: t, id: crypto.VolumeID{1, 2, 3}, o: o, store: s}
	x.path = filepath.Join(tempDir(t), "store")
	root, err := crypto.NewKey()
	x.must(err)
	t.Cleanup(root.Wipe)
	x.keys, err = crypto.DeriveVolumeKeys(root, x.id)
	x.must(err)
	t.Cleanup(x.keys.Wipe)
	x.dir, err = store.CreateDir(x.path)
	x.must(err)
	t.Cleanup(func() { x.must(x.dir.Close()) })
	x.db, err = x.dir.OpenDB(s)
	x.must(err)
	t.Cleanup(func() {
		if err := x.db.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
	x.must(Create(x.options(), Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}, Region: "local"}, 0, 0))
	x.open()
	t.Cleanup(func() { x.kms.Close() })
	t.Cleanup(func() {
		if x.v != nil && !t.Failed() {
			x.close()
		} else if x.v != nil {
			x.abandon()
		}
	})
	x.kms, err = kms.Create(kms.Options{
		Files: x.dir, Key: x.keys.Keystore, Volume: x.id, Logger: slog.New(slog.DiscardHandler),
		RecordGeneration: func(g uint64) error {
			x.kernelMu.Lock()
			defer x.kernelMu.Unlock()
			return x.kernel.RecordKeystore(g)
		},
	})
	x.must(err)
	x.v.SetKeyService(x.kms)
	x.mkdir("/b")
	return x
}

// inMemory is where directories in memory are made, and inMemoryRoom the bytes
// that have to be free there. Containers often have 64 MiB, too few for a store.
const (
	inMemory     = "/dev/shm"
	inMemoryRoom = 4 << 30
)

// tempDir returns a directory in memory where there is room for one: the tests
// commit thousands of times, and wait for no disk that way.
func tempDir(t testing.TB) string {
	var fsys unix.Statfs_t
	if unix.Statfs(inMemory, &fsys) != nil || int64(fsys.Bavail)*fsys.Bsize < inMemoryRoom {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(inMemory, "ssefs-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (x *testVolume) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *testVolume) options() Options {
	o := x.o
	o.DB, o.Dir, o.Keys, o.ID = x.db, x.dir, x.keys, x.id
	if o.Logger == nil {
		o.Logger = slog.New(&failOnError{t: x.TB})
	}
	return o
}

// failOnError is a log that takes an error for a failure of the test.
type failOnError struct {
	slog.Handler
	t testing.TB
}

func (h *failOnError) Enabled(context.Context, slog.Level) bool { return true }

func (h *failOnError) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		var b strings.Builder
		r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s", a); return true })
		h.t.Errorf("the volume logged: %s%s", r.Message, b.String())
	}
	return nil
}

// quiet is a log for tests that expect errors.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open mounts the volume.
func (x *testVolume) open() {
	x.Helper()
	v, err := Open(x.options())
	x.must(err)
	if x.kms != nil {
		v.SetKeyService(x.kms)
	}
	x.v = v
	x.kernelMu.Lock()
	x.kernel = v
	x.kernelMu.Unlock()
}

// close unmounts the volume and checks it.
func (x *testVolume) close() {
	x.Helper()
	v := x.v
	x.v = nil
	if err := v.Close(); err != nil {
		x.Fatalf("close: %v", err)
	}
	x.clean()
}

// abandon stops the volume as a crash does: what is not stored is lost.
func (x *testVolume) abandon() {
	x.Helper()
	v := x.v
	x.v = nil
	err := errors.New("crash")
	v.failure.CompareAndSwap(nil, &err)
	v.arena.close()
	close(v.stop)
	v.background.Wait()
	x.must(v.arena.release())
}

// reopen unmounts and mounts again, checking in between.
func (x *testVolume) reopen() { x.Helper(); x.close(); x.open() }

// crash abandons the volume, checks what is stored, and mounts it again.
func (x *testVolume) crash() {
	x.Helper()
	x.abandon()
	x.clean()
	x.open()
}

// Fsck is what runs package check, which imports this one: TestMain, in the
// external test package, sets it.
var Fsck func(FsckArgs) (problems []string, err error)

// FsckArgs is what a check needs.
type FsckArgs struct {
	View     *store.View
	Keys     *crypto.VolumeKeys
	ID       crypto.VolumeID
	KMS      *kms.Service
	HeadCopy []byte
}

// clean checks the store, contents included, and wants no problem.
func (x *testVolume) clean() {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	o := FsckArgs{View: view, Keys: x.keys, ID: x.id, KMS: x.kms}
	copied, err := x.dir.ReadFile(headCopy)
	if err == nil {
		o.HeadCopy = copied
	} else if !errors.Is(err, fs.ErrNotExist) {
		x.Fatal(err)
	}
	problems, err := Fsck(o)
	x.must(err)
	if len(problems) > 0 {
		x.Fatalf("not clean, %d problems:\n  %s", len(problems), strings.Join(problems[:min(20, len(problems))], "\n  "))
	}
}

// records counts the records of a kind, of one inode if ids has it.
func (x *testVolume) records(k record.Kind, ids ...uint64) int {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	n := 0
	x.must(view.IterateKeys(record.Prefix(k, ids...), nil, func([]byte, int64) error { n++; return nil }))
	return n
}

func (x *testVolume) resolve(path string) *Inode {
	x.Helper()
	n, err := x.v.Resolve(path)
	if err != nil {
		x.Fatalf("%s: %v", path, err)
	}
	return n
}

// inode returns the inode number of a path.
func (x *testVolume) inode(path string) uint64 {
	x.Helper()
	n := x.resolve(path)
	defer x.v.Unpin(n)
	return n.Ino
}

func (x *testVolume) create(path string, w NewNode) *Inode {
	x.Helper()
	dir, name := filepath.Split(path)
	n, err := x.v.Create(context.Background(), x.inode(dir), name, w)
	if err != nil {
		x.Fatalf("create %s: %v", path, err)
	}
	return n
}

// mkdir makes a directory, or a bucket with a policy.
func (x *testVolume) mkdir(path string, policy ...string) {
	x.Helper()
	w := NewNode{Mode: record.TypeDir | 0o755}
	if len(policy) > 0 {
		p, err := crypto.ParsePolicy(policy[0])
		x.must(err)
		w.Policy = &p
	}
	x.v.Unpin(x.create(path, w))
}

// newFile makes an empty regular file and returns it pinned, its key open.
func (x *testVolume) newFile(path string) *Inode {
	x.Helper()
	return x.create(path, NewNode{Mode: record.TypeFile | 0o644})
}

// file returns a file that exists, pinned, its key open.
func (x *testVolume) file(path string) *Inode {
	x.Helper()
	n := x.resolve(path)
	x.must(x.v.Open(context.Background(), n, kms.Drive()))
	return n
}

func (x *testVolume) write(n *Inode, off uint64, contents []byte) {
	x.Helper()
	for len(contents) > 0 {
		k := min(len(contents), 1<<20)
		x.must(x.v.Write(n, off, contents[:k]))
		off, contents = off+uint64(k), contents[k:]
	}
}

func (x *testVolume) read(n *Inode, off uint64, length int) []byte {
	x.Helper()
	b := make([]byte, length)
	k, err := x.v.Read(n, b, off)
	x.must(err)
	return b[:k]
}

func (x *testVolume) truncate(n *Inode, size uint64) {
	x.Helper()
	x.must(x.v.SetAttr(n, Change{Size: &size}))
}

// wantContents compares a whole file with what it should be.
func (x *testVolume) wantContents(n *Inode, want []byte) {
	x.Helper()
	if size := n.Stat().Size; size != uint64(len(want)) {
		x.Fatalf("size is %d, want %d", size, len(want))
	}
	got := x.read(n, 0, len(want)+100)
	if i := differ(got, want); i >= 0 {
		x.Fatalf("contents differ at byte %d of %d (block %d)", i, len(want), i/crypto.BlockSize)
	}
}

// differ returns where two byte strings begin to differ, -1 if they do not.
func differ(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// names lists a directory, sorted by cookie.
func (x *testVolume) list(path string) []string {
	x.Helper()
	d := x.resolve(path)
	defer x.v.Unpin(d)
	var out []string
	x.must(x.v.NewListing(d).Each(x.v, func(e record.Entry, _ uint64) bool { out = append(out, e.Name); return true }))
	return out
}

// eventually waits for something that background work brings about; how long
// only bounds a test that fails.
func (x *testVolume) eventually(what string, ok func() bool) {
	x.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.Fatalf("never: %s", what)
		}
	}
}

// watchdog ends the process with all stacks if the test hangs, for a deadlock
// would otherwise wait for go test's own limit. It waits far longer than a test
// takes on a machine that has much else to do.
func watchdog(t testing.TB) {
	t.Helper()
	timer := time.AfterFunc(5*time.Minute, func() { panic(fmt.Sprintf("%s hangs: deadlock", t.Name())) })
	t.Cleanup(func() { timer.Stop() })
}

// noise returns n bytes that look random and depend on the seed alone.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	_, _ = r.Read(b) // never fails
	return b
}

// newRand returns a random source whose seed a failing test shows.
func newRand(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// kmsDrive is the caller of tests that do not care who they are.
func kmsDrive() kms.Caller { return kms.Drive() }
