package powerloss

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// blockSize is what is overwritten at a time.
const blockSize = 4096

// bucket is one that the workload writes to.
type bucket struct{ name, policy string }

func buckets() []bucket { return []bucket{{"plain", "none"}, {"service", "AES256"}, {"kms", "KMS"}} }

// workload changes the drive and keeps its history. After the first error it does nothing more.
type workload struct {
	uncollected bool // the store is not told to give space back
	t           testing.TB
	d           *drive.Drive
	disk        *testDisk
	rng         *rand.Rand
	h           *history
	acks        []int
	count       int
	err         error
	live        []string // files that can be removed
	// rare are the parts of the disk's log in which happened what takes few of its changes: a mount, an unmount, a
	// collection.
	rare [][2]int
}

// rarely runs what happens rarely, and notes when.
func (w *workload) rarely(f func()) {
	begin := w.disk.position()
	f()
	if end := w.disk.position(); end > begin {
		w.rare = append(w.rare, [2]int{begin, end})
	}
}

func newWorkload(t testing.TB, d *drive.Drive, disk *testDisk, seed uint64) *workload {
	return &workload{t: t, d: d, disk: disk, rng: rand.New(rand.NewPCG(seed, 1)), h: &history{objects: map[string]*object{}, names: namespace{}}}
}

// do notes an error.
func (w *workload) do(what string, err error) bool {
	if err != nil && w.err == nil {
		w.err = fmt.Errorf("%s: %w", what, err)
	}
	return w.err == nil
}

// begin notes a state that path is about to have.
func (w *workload) begin(path string, r rule, s state) {
	s.begun = w.disk.position()
	w.h.add(path, r, s)
}

// named notes a change of names that is about to be made.
func (w *workload) named(change func(namespace)) { w.h.change(w.disk.position(), change) }

// sync makes path durable. With it goes every change of names before.
func (w *workload) sync(path string) {
	fd, err := unix.Open(w.d.Path(path), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if !w.do("open", err) {
		return
	}
	err = unix.Fsync(fd)
	_ = unix.Close(fd) // fsync has told
	if w.do("fsync", err) {
		w.acked(func(p string, s state) bool { return s.named || p == path })
	}
}

// syncAll makes everything durable.
func (w *workload) syncAll() {
	if r := drive.CLI(w.t, "sync", w.d.Mountpoint()); r.Code != 0 {
		w.do("ssefs sync", fmt.Errorf("exit %d: %s", r.Code, r.Stderr))
		return
	}
	w.acked(func(string, state) bool { return true })
}

func (w *workload) acked(synced func(string, state) bool) {
	position := w.disk.position()
	w.h.ack(position, synced)
	w.acks = append(w.acks, position)
}

// start makes the buckets.
func (w *workload) start() {
	for _, b := range buckets() {
		w.begin(b.name, folder, state{exists: true, named: true})
		w.named(put(b.name, plainDir+" AES256"))
		if !w.do("mkdir", os.Mkdir(w.d.Path(b.name), 0o755)) {
			return
		}
		w.named(put(b.name, plainDir+" "+b.policy))
		if !w.do("set the policy", unix.Setxattr(w.d.Path(b.name), "user.sse.policy", []byte(b.policy), 0)) {
			return
		}
	}
	for _, b := range buckets() {
		w.overwritten(filepath.Join(b.name, "blocks"))
	}
	w.syncAll()
}

// overwritten makes a file of which blocks are overwritten.
func (w *workload) overwritten(path string) {
	data := w.data(16 * blockSize)
	w.begin(path, blocks, state{exists: true, data: data})
	w.named(put(path, plainFile))
	if w.do("create", os.WriteFile(w.d.Path(path), data, 0o644)) {
		w.sync(path)
	}
}

// data returns bytes that are different each time.
func (w *workload) data(n int) []byte {
	w.count++
	return expect.Random(w.rng.Uint64(), n)
}

// run makes n random changes.
func (w *workload) run(n int) {
	all := buckets()
	for i := 0; i < n && w.err == nil; i++ {
		b := all[w.rng.IntN(len(all))].name
		synced := w.rng.IntN(2) == 0
		switch k := w.rng.IntN(100); {
		case k < 25:
			w.create(b, 1+w.rng.IntN(40_000), synced)
		case k < 28:
			w.create(b, 500_000+w.rng.IntN(1_500_000), synced)
		case k < 45:
			w.overwrite(b, synced)
		case k < 60:
			w.appendTo(b, synced)
		case k < 75:
			w.replace(b, synced)
		case k < 82:
			w.remove(synced)
		case k < 86:
			w.move(synced)
		case k < 88:
			w.cut(synced)
		case k < 90:
			w.setPolicy()
		case k < 93:
			w.mkdir(b, synced)
		case k < 94:
			w.rarely(w.collect)
		case k < 96:
			w.syncAll()
		default:
			w.writeBack()
		}
	}
}

// create makes a file.
func (w *workload) create(bucket string, size int, synced bool) {
	data := w.data(size)
	path := filepath.Join(bucket, fmt.Sprint("new", w.count))
	w.begin(path, prefix, state{exists: true, named: true})
	w.begin(path, prefix, state{exists: true, data: data})
	w.named(put(path, plainFile))
	if !w.do("create", os.WriteFile(w.d.Path(path), data, 0o644)) {
		return
	}
	w.live = append(w.live, path)
	if synced {
		w.sync(path)
	}
}

// overwrite writes a block of a file anew.
func (w *workload) overwrite(bucket string, synced bool) {
	path := filepath.Join(bucket, "blocks")
	o := w.h.objects[path]
	data := append([]byte(nil), o.states[len(o.states)-1].data...)
	at := w.rng.IntN(len(data)/blockSize) * blockSize
	copy(data[at:], w.data(blockSize))
	w.begin(path, blocks, state{exists: true, data: data})
	if w.do("overwrite", w.pwrite(path, unix.O_WRONLY, data[at:at+blockSize], int64(at))) && synced {
		w.sync(path)
	}
}

// pwrite opens a file, writes to it and closes it.
func (w *workload) pwrite(path string, flags int, data []byte, off int64) error {
	f, err := os.OpenFile(w.d.Path(path), flags, 0o644)
	if err != nil {
		return err
	}
	if _, err := unix.Pwrite(int(f.Fd()), data, off); err != nil {
		_ = f.Close() // the first error counts
		return err
	}
	return f.Close()
}

// appendTo makes a file longer, or a new one.
func (w *workload) appendTo(bucket string, synced bool) {
	path := filepath.Join(bucket, "log")
	var before []byte
	if o := w.h.objects[path]; o != nil {
		before = o.states[len(o.states)-1].data
	} else {
		w.begin(path, prefix, state{exists: true, named: true})
		w.named(put(path, plainFile))
	}
	tail := w.data(1 + w.rng.IntN(20_000))
	w.begin(path, prefix, state{exists: true, data: append(before[:len(before):len(before)], tail...)})
	if w.do("append", w.pwrite(path, unix.O_WRONLY|unix.O_CREAT, tail, int64(len(before)))) && synced {
		w.sync(path)
	}
}

// replace writes a file and renames it over another.
func (w *workload) replace(bucket string, synced bool) {
	path := filepath.Join(bucket, "replaced")
	data := w.data(1 + w.rng.IntN(30_000))
	w.named(put(path+".tmp", plainFile))
	if !w.do("create", os.WriteFile(w.d.Path(path+".tmp"), data, 0o644)) {
		return
	}
	w.begin(path, whole, state{exists: true, named: true, data: data})
	w.named(move(path+".tmp", path))
	if w.do("rename", os.Rename(w.d.Path(path+".tmp"), w.d.Path(path))) && synced {
		w.sync(path)
	}
}

// remove removes a file, and makes the removal durable by syncing its directory.
func (w *workload) remove(synced bool) {
	if len(w.live) == 0 {
		return
	}
	path := w.take()
	w.begin(path, prefix, state{named: true})
	w.named(remove(path))
	if w.do("unlink", os.Remove(w.d.Path(path))) && synced {
		w.sync(filepath.Dir(path))
	}
}

// take takes one of the files that can be removed off their list.
func (w *workload) take() string {
	i := w.rng.IntN(len(w.live))
	path := w.live[i]
	w.live[i] = w.live[len(w.live)-1]
	w.live = w.live[:len(w.live)-1]
	return path
}

// last returns the state that a file was last given.
func (w *workload) last(path string) state {
	o := w.h.objects[path]
	return o.states[len(o.states)-1]
}

// move renames a file within its bucket, to a name or over another file.
func (w *workload) move(synced bool) {
	if len(w.live) < 2 {
		return
	}
	from := w.take()
	w.count++
	to := filepath.Join(filepath.Dir(from), fmt.Sprint("moved", w.count))
	if over := w.live[w.rng.IntN(len(w.live))]; w.rng.IntN(2) == 0 && filepath.Dir(over) == filepath.Dir(from) {
		to = over
	} else {
		w.live = append(w.live, to)
	}
	data := w.last(from).data
	w.begin(from, prefix, state{named: true})
	// What is renamed goes with all its contents.
	w.begin(to, prefix, state{exists: true, named: true, data: data})
	w.named(move(from, to))
	if w.do("rename", os.Rename(w.d.Path(from), w.d.Path(to))) && synced {
		w.sync(to)
	}
}

// cut makes a file shorter.
func (w *workload) cut(synced bool) {
	if len(w.live) == 0 {
		return
	}
	path := w.live[w.rng.IntN(len(w.live))]
	data := w.last(path).data
	size := w.rng.IntN(len(data) + 1)
	w.begin(path, prefix, state{exists: true, data: data[:size]})
	if w.do("truncate", os.Truncate(w.d.Path(path), int64(size))) && synced {
		w.sync(path)
	}
}

// setPolicy changes the policy of a bucket, which is one of its names' changes.
func (w *workload) setPolicy() {
	b := buckets()[w.rng.IntN(len(buckets()))]
	policy := buckets()[w.rng.IntN(len(buckets()))].policy
	w.named(put(b.name, plainDir+" "+policy))
	w.do("set the policy", unix.Setxattr(w.d.Path(b.name), "user.sse.policy", []byte(policy), 0))
}

// mkdir makes a directory.
func (w *workload) mkdir(bucket string, synced bool) {
	w.count++
	path := filepath.Join(bucket, fmt.Sprint("dir", w.count))
	w.begin(path, folder, state{exists: true, named: true})
	w.named(put(path, plainDir))
	if w.do("mkdir", os.Mkdir(w.d.Path(path), 0o755)) && synced {
		w.sync(path)
	}
}

// writeBack has the kernel write to the disk what is dirty, without making it durable, as it does when it likes.
func (w *workload) writeBack() {
	f, err := os.Open(w.disk.point)
	if !w.do("open the disk", err) {
		return
	}
	w.do("syncfs", unix.Syncfs(int(f.Fd())))
	_ = f.Close() // nothing was written through it
}

// collect has the store give space back.
func (w *workload) collect() {
	if w.uncollected {
		return
	}
	if r := drive.CLI(w.t, "gc", w.d.Mountpoint()); r.Code != 0 {
		w.do("ssefs gc", fmt.Errorf("exit %d: %s", r.Code, r.Stderr))
	}
}

// removeTree makes a tree with a big file in it, synced, and removes it.
func (w *workload) removeTree() {
	w.count++
	bucket := buckets()[w.rng.IntN(len(buckets()))].name
	dir := filepath.Join(bucket, fmt.Sprint("tree", w.count))
	w.named(put(dir, plainDir))
	if !w.do("mkdir", os.Mkdir(w.d.Path(dir), 0o755)) {
		return
	}
	var files []string
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint(i))
		data := w.data(1 + w.rng.IntN(10_000))
		if i == 0 {
			data = w.data(100)
		}
		w.named(put(path, plainFile))
		if !w.do("create", os.WriteFile(w.d.Path(path), data, 0o644)) {
			return
		}
		files = append(files, path)
	}
	w.scattered(files[0])
	w.sync(dir)
	for _, path := range append(files, dir) {
		w.named(remove(path))
		if !w.do("remove", os.Remove(w.d.Path(path))) {
			return
		}
	}
}

// scattered writes so many blocks far from one another that removing the file takes several steps.
func (w *workload) scattered(path string) {
	f, err := os.OpenFile(w.d.Path(path), os.O_WRONLY, 0)
	if !w.do("open", err) {
		return
	}
	block := w.data(blockSize)
	for i := range int64(600) {
		if _, err := f.WriteAt(block, i<<20); !w.do("write", err) {
			break
		}
	}
	w.do("fsync", f.Sync())
	w.do("close", f.Close())
}

// resume goes on after the daemon was killed, with what is left.
func (w *workload) resume() {
	w.err = nil
	w.h.adopt(w.t, w.d.Mountpoint())
	w.live = slices.DeleteFunc(w.live, func(path string) bool { return w.h.objects[path] == nil })
}
