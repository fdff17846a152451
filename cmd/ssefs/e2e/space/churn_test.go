package space

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// churn changes a drive and keeps about the same amount of live data on it.
type churn struct {
	t       testing.TB
	root    string
	rng     *rand.Rand
	live    int64 // bytes to keep about as much
	written int64
	files   []churned
	sum     int64 // sizes of files
	made    int
	buffer  []byte // that contents are taken from
}

// churned is a file, and what it is to hold.
type churned struct {
	path string
	size int64
	data []byte // in a short run; a long one compares nothing
}

func newChurn(t testing.TB, d *drive.Drive, live int64, seed uint64) *churn {
	t.Helper()
	c := &churn{t: t, root: d.Mountpoint(), rng: rand.New(rand.NewPCG(seed, 1)), live: live, buffer: expect.Random(seed, 8<<20)}
	for _, b := range []struct{ name, policy string }{{"plain", "none"}, {"service", "AES256"}, {"kms", "KMS"}} {
		expect.OK(t, unix.Setxattr(d.Bucket(b.name), "user.sse.policy", []byte(b.policy), 0), "set the policy of %s", b.name)
	}
	return c
}

// bytes returns contents that no compression makes smaller.
func (c *churn) bytes(n int64) []byte {
	at := c.rng.Int64N(int64(len(c.buffer)) - n + 1)
	return c.buffer[at : at+n]
}

// run writes total bytes: files are made, overwritten in place, cut, replaced and removed.
func (c *churn) run(total int64) {
	for end := c.written + total; c.written < end; {
		switch k := c.rng.IntN(100); {
		case c.sum < c.live || len(c.files) < 10:
			c.create()
		case k < 30:
			c.overwrite()
		case k < 40:
			c.cut()
		case k < 50:
			c.replace()
		case k < 60:
			c.create()
		default:
			c.remove()
		}
	}
}

// size is that of a new file: many are small, and most bytes are in big ones.
func (c *churn) size() int64 {
	switch k := c.rng.IntN(100); {
	case k < 60:
		return 1 + c.rng.Int64N(30_000)
	case k < 90:
		return 100_000 + c.rng.Int64N(900_000)
	default:
		return 2<<20 + c.rng.Int64N(6<<20)
	}
}

func (c *churn) create() {
	c.made++
	bucket := []string{"plain", "service", "kms"}[c.made%3]
	f := churned{path: filepath.Join(c.root, bucket, fmt.Sprint("f", c.made)), size: c.size()}
	data := c.bytes(f.size)
	expect.OK(c.t, os.WriteFile(f.path, data, 0o644), "make %s", f.path)
	f.data = c.keep(data)
	c.written += f.size
	c.sum += f.size
	c.files = append(c.files, f)
}

func (c *churn) pick() *churned { return &c.files[c.rng.IntN(len(c.files))] }

// overwrite writes to scattered places of a file, and syncs it now and then.
func (c *churn) overwrite() {
	f := c.pick()
	out, err := os.OpenFile(f.path, os.O_WRONLY, 0)
	expect.OK(c.t, err, "open %s", f.path)
	for range 1 + c.rng.IntN(20) {
		n := min(f.size, 1+c.rng.Int64N(64<<10))
		if n == 0 {
			break
		}
		data, at := c.bytes(n), c.rng.Int64N(f.size-n+1)
		_, err := out.WriteAt(data, at)
		expect.OK(c.t, err, "overwrite %s", f.path)
		if f.data != nil {
			copy(f.data[at:], data)
		}
		c.written += n
		if c.rng.IntN(10) == 0 {
			expect.OK(c.t, out.Sync(), "fsync")
		}
	}
	expect.OK(c.t, out.Close(), "close")
}

func (c *churn) cut() {
	f := c.pick()
	size := c.rng.Int64N(f.size + 1)
	expect.OK(c.t, os.Truncate(f.path, size), "truncate %s", f.path)
	c.sum += size - f.size
	f.size = size
	if f.data != nil {
		f.data = f.data[:size]
	}
}

// replace renames a new file over an old one.
func (c *churn) replace() {
	f := c.pick()
	size := c.size()
	temp := filepath.Join(filepath.Dir(f.path), "temp")
	data := c.bytes(size)
	expect.OK(c.t, os.WriteFile(temp, data, 0o644), "make %s", temp)
	expect.OK(c.t, os.Rename(temp, f.path), "rename over %s", f.path)
	f.data = c.keep(data)
	c.written += size
	c.sum += size - f.size
	f.size = size
}

func (c *churn) remove() {
	i := c.rng.IntN(len(c.files))
	expect.OK(c.t, os.Remove(c.files[i].path), "remove")
	c.sum -= c.files[i].size
	c.files[i] = c.files[len(c.files)-1]
	c.files = c.files[:len(c.files)-1]
}

// compared is how much live data is compared with what it should be.
const compared = 64 << 20

// keep returns a copy of contents for comparing, or nil if there are too many.
func (c *churn) keep(data []byte) []byte {
	if c.live > compared {
		return nil
	}
	return slices.Clone(data)
}

// verify compares all files.
func (c *churn) verify() {
	c.t.Helper()
	for _, f := range c.files {
		if f.data == nil {
			continue
		}
		got, err := os.ReadFile(f.path)
		expect.OK(c.t, err, "read %s", f.path)
		expect.Bytes(c.t, got, f.data, "%s", f.path)
	}
}

// liveBytes is what the files on the drive take up, as du(1) tells.
func liveBytes(t testing.TB, root string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		sum += st.Blocks * 512
		return nil
	})
	expect.OK(t, err, "walk the drive")
	return sum
}

// use is what a store takes up on its disk.
type use struct {
	tables, logs, values int64
	// newest is the value log file that is being written.
	newest, newestSize int64
}

func (u use) total() int64 { return u.tables + u.logs + u.values }

// useOf looks at the files of a store. A file may be removed meanwhile.
func useOf(t testing.TB, store string) use {
	t.Helper()
	var u use
	entries, err := os.ReadDir(filepath.Join(store, "db"))
	expect.OK(t, err, "list the database")
	for _, e := range entries {
		var st unix.Stat_t
		err := unix.Lstat(filepath.Join(store, "db", e.Name()), &st)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		expect.OK(t, err, "stat")
		size := st.Blocks * 512
		switch filepath.Ext(e.Name()) {
		case ".sst":
			u.tables += size
		case ".mem":
			u.logs += size
		case ".vlog":
			u.values += size
			var number int64
			if _, err := fmt.Sscanf(e.Name(), "%d.vlog", &number); err == nil && number >= u.newest {
				u.newest, u.newestSize = number, size
			}
		}
	}
	return u
}

func (u use) String() string {
	return fmt.Sprintf("%.1f MiB (tables %.1f, logs %.1f, values %.1f, of these the newest file %.1f)",
		mib(u.total()), mib(u.tables), mib(u.logs), mib(u.values), mib(u.newestSize))
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
