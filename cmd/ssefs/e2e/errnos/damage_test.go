package errnos

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// storeFiles returns the files of a store's database that hold anything.
func storeFiles(t *testing.T, store string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(filepath.Join(store, "db"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Size() > 0 {
			files = append(files, p)
		}
		return err
	})
	expect.OK(t, err, "walk the store")
	if len(files) == 0 {
		t.Fatalf("the store has no files")
	}
	return files
}

// replaceAll puts with in the place of every occurrence of what in the store's files and returns how many there were.
func replaceAll(t *testing.T, store string, what, with []byte) int {
	t.Helper()
	found := 0
	for _, p := range storeFiles(t, store) {
		b := expect.Read(t, p)
		f := expect.Open(t, p, unix.O_RDWR, 0)
		for at := 0; ; {
			i := bytes.Index(b[at:], what)
			if i < 0 {
				break
			}
			f.Pwrite(with, int64(at+i))
			at += i + len(what)
			found++
		}
		f.Close()
	}
	return found
}

// TestDamagedContents changes bytes of files in the place where they are stored. Contents of a bucket without
// encryption can be found there; that they cannot be changed unnoticed holds for all buckets by the same means.
func TestDamagedContents(t *testing.T) {
	for name, size := range map[string]int{"small": 2000, "large": 300_000} {
		t.Run(name, func(t *testing.T) {
			d := drive.New(t, drive.Options{})
			d.Damaged()
			b := d.Bucket("b")
			expect.SetXattr(t, b, policyAttr, "none")
			data, whole := expect.Random(1, size), expect.Random(2, size)
			hurt, sound := filepath.Join(b, "hurt-file"), filepath.Join(b, "sound-file")
			expect.Write(t, hurt, data)
			expect.Write(t, sound, whole)
			d.Unmount()
			d.Fsck()
			// One bit in the middle of the last block but a few bytes.
			at := size - 500
			change := bytes.Clone(data[at : at+32])
			change[16] ^= 0x10
			if n := replaceAll(t, d.Store(), data[at:at+32], change); n == 0 {
				t.Fatalf("the contents are not found in the store")
			}
			r := drive.CLI(t, "fsck", d.Store(), "--data", "--key-file", d.KeyFile())
			expect.Equal(t, r.Code, 4, "exit of fsck --data over a damaged block: %s%s", r.Stdout, r.Stderr)
			if !strings.Contains(r.Stdout+r.Stderr, "hurt-file") || strings.Contains(r.Stdout+r.Stderr, "sound-file") {
				t.Errorf("fsck does not name the damaged file, or names another: %s%s", r.Stdout, r.Stderr)
			}
			d.Mount()
			f := expect.Open(t, hurt, unix.O_RDONLY, 0)
			_, err := unix.Pread(f.Fd, make([]byte, 100), int64(at))
			expect.Errno(t, err, unix.EIO, "read of the damaged block")
			if size > 100_000 {
				expect.Bytes(t, f.Pread(4096, 0), data[:4096], "a sound block of the damaged file")
			}
			f.Close()
			expect.Contents(t, sound, whole)
			if !strings.Contains(d.Log(), "hurt-file") {
				t.Errorf("the log does not name the damaged file")
			}
			// It can be removed, and what is left is sound.
			expect.OK(t, unix.Unlink(hurt), "unlink")
			d.Remount()
			expect.Contents(t, sound, whole)
			d.Unmount()
			if size > 100_000 { // small contents lie in a table, and fsck says that it was changed
				d.Fsck()
			}
		})
	}
}

// TestDamageStaysLocal: a damaged byte costs the block that it is in, not what was stored behind it, neither while the
// store is checked nor when it is mounted.
func TestDamageStaysLocal(t *testing.T) {
	d := drive.New(t, drive.Options{Create: []string{"--default-policy", "none"}})
	d.Damaged()
	b := d.Bucket("b")
	const files, size = 5, 300_000
	for i := range files {
		f := expect.Create(t, filepath.Join(b, fmt.Sprint(i)))
		f.Pwrite(expect.Random(uint64(i), size), 0)
		f.Sync()
		f.Close()
	}
	d.Unmount()
	original := expect.Random(0, size)[150_000:150_032]
	change := bytes.Clone(original)
	change[0] ^= 1
	if n := replaceAll(t, d.Store(), original, change); n == 0 {
		t.Fatalf("the contents are not found in the store")
	}
	r := drive.CLI(t, "fsck", d.Store(), "--data", "--key-file", d.KeyFile())
	expect.Equal(t, r.Code, 4, "exit of fsck --data: %s%s", r.Stdout, r.Stderr)
	d.Mount()
	for range 2 {
		for i := 1; i < files; i++ {
			got, err := os.ReadFile(filepath.Join(b, fmt.Sprint(i)))
			if err != nil {
				t.Errorf("file %d, stored behind the damage: %s", i, expect.Describe(err))
				continue
			}
			expect.Bytes(t, got, expect.Random(uint64(i), size), "file %d, stored behind the damage", i)
		}
		_, err := os.ReadFile(filepath.Join(b, "0"))
		expect.Errno(t, err, unix.EIO, "read of the damaged file")
		d.Remount()
	}
	// With the byte put right again everything is as it was: nothing was thrown away on its account.
	d.Unmount()
	if n := replaceAll(t, d.Store(), change, original); n == 0 {
		t.Errorf("what was damaged is not in the store any more")
	}
	d.Fsck()
}

// TestSwappedContents puts the blocks of one file, whole and with all that authenticates them, in the place of another's.
func TestSwappedContents(t *testing.T) {
	d := drive.New(t, drive.Options{})
	d.Damaged()
	b := d.Bucket("b")
	expect.SetXattr(t, b, policyAttr, "none")
	const blocks = 40
	one, two := expect.Random(1, blocks*4096), expect.Random(2, blocks*4096)
	expect.Write(t, filepath.Join(b, "one"), one)
	expect.Write(t, filepath.Join(b, "two"), two)
	d.Unmount()
	// A stored block is its bytes and a tag of 16. Fetch both, tags included, and exchange them.
	stored := func(data []byte) []byte {
		t.Helper()
		for _, p := range storeFiles(t, d.Store()) {
			if b := expect.Read(t, p); bytes.Contains(b, data) {
				i := bytes.Index(b, data)
				return b[i : i+len(data)+16]
			}
		}
		t.Fatalf("a block is not found in the store")
		return nil
	}
	block := func(of []byte, i int) []byte { return of[i*4096 : (i+1)*4096] }
	first, second, third := stored(block(one, 20)), stored(block(two, 20)), stored(block(one, 21))
	replaceAll(t, d.Store(), first, second) // from another file
	replaceAll(t, d.Store(), third, first)  // from the same file, another place
	d.Mount()
	f := expect.Open(t, filepath.Join(b, "one"), unix.O_RDONLY, 0)
	buf := make([]byte, 4096)
	for _, i := range []int{20, 21} {
		_, err := unix.Pread(f.Fd, buf, int64(i)*4096)
		expect.Errno(t, err, unix.EIO, "read of a block that was put there from elsewhere")
	}
	f.Close()
	expect.Contents(t, filepath.Join(b, "two"), two)
}

// copyStore copies a store, holes as holes.
func copyStore(t *testing.T, from, to string) {
	t.Helper()
	drive.Must(t, "cp", "-a", "--sparse=always", from, to)
}

// TestRandomDamage flips bytes anywhere in the database's files. Whatever they hit, the store is refused as damaged, in
// one line, or mounts and answers every read with the right bytes or an error: never with wrong bytes or a crash.
func TestRandomDamage(t *testing.T) {
	base := drive.Dir(t)
	original := filepath.Join(base, "original")
	d := drive.New(t, drive.Options{Store: original})
	want := map[string][]byte{}
	for _, policy := range []string{"none", "AES256"} {
		b := d.Bucket(policy)
		expect.SetXattr(t, b, policyAttr, policy)
		for i := range 12 {
			name := fmt.Sprintf("%s/file-%d", policy, i)
			want[name] = expect.Random(uint64(i), 100+i*i*1500)
			expect.Write(t, d.Path(name), want[name])
			expect.SetXattr(t, d.Path(name), "user.note", string(want[name][:100]))
		}
	}
	d.Unmount()
	random := rand.New(rand.NewPCG(1, 2))
	refusedMounts, failedReads, unnoticed := 0, 0, 0
	const rounds = 24
	for round := range rounds {
		store := filepath.Join(base, fmt.Sprint("damaged-", round))
		copyStore(t, original, store)
		files := storeFiles(t, store)
		p := files[round%len(files)]
		flip(t, random, p)
		outcome := tryStore(t, store, d.KeyFile(), want)
		switch {
		case !outcome.mounted:
			refusedMounts++
		case outcome.failed > 0:
			failedReads++
		default:
			unnoticed++ // what was hit is not in use
		}
		t.Logf("round %d, %s: mounted %v, %d reads failed", round, filepath.Base(p), outcome.mounted, outcome.failed)
		expect.OK(t, os.RemoveAll(store), "remove a damaged store")
	}
	t.Logf("%d mounts refused, %d times reads failed, %d times nothing", refusedMounts, failedReads, unnoticed)
	if refusedMounts+failedReads == 0 {
		t.Errorf("no damage was noticed in %d rounds", rounds)
	}
}

// flip changes bytes of a file, one in each stretch of it that is not zeros.
func flip(t *testing.T, random *rand.Rand, p string) {
	t.Helper()
	b := expect.Read(t, p)
	const stretch = 200_000
	f := expect.Open(t, p, unix.O_RDWR, 0)
	for from := 0; from < len(b); from += stretch {
		part := b[from:min(from+stretch, len(b))]
		used := len(bytes.TrimRight(part, "\x00"))
		if used == 0 {
			continue
		}
		at := random.IntN(used)
		f.Pwrite([]byte{part[at] ^ byte(1+random.IntN(255))}, int64(from+at))
	}
	f.Close()
}

type outcome struct {
	mounted bool
	failed  int // reads that gave an error
}

// tryStore mounts a damaged store and reads everything that want names.
func tryStore(t *testing.T, store, keyFile string, want map[string][]byte) outcome {
	t.Helper()
	mountpoint := store + ".drive"
	expect.OK(t, os.Mkdir(mountpoint, 0o755), "make a mount point")
	log := store + ".log"
	r := drive.CLI(t, "mount", store, mountpoint, "--key-file", keyFile, "--log-file", log)
	defer drive.NothingLeft(t, store, mountpoint)
	if r.Code != 0 {
		drive.OneLine(t, r)
		expect.Equal(t, r.Code, 7, "exit of the mount of a damaged store: %s", r.Stderr)
		return outcome{}
	}
	o := outcome{mounted: true}
	for name, contents := range want {
		got, err := os.ReadFile(filepath.Join(mountpoint, name))
		if err != nil {
			o.failed++
			if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ENOENT) {
				t.Errorf("read of %s in a damaged store: %s", name, expect.Describe(err))
			}
			continue
		}
		expect.Bytes(t, got, contents, "%s in a damaged store", name)
	}
	// A listing fails, too, or tells the truth: a name that cannot be found any more is not passed over in silence.
	for _, bucket := range []string{"none", "AES256"} {
		entries, err := os.ReadDir(filepath.Join(mountpoint, bucket))
		if err == nil && len(entries) != len(want)/2 {
			t.Errorf("%s lists %d entries of %d without an error", bucket, len(entries), len(want)/2)
		}
	}
	if r := drive.CLI(t, "umount", mountpoint); r.Code != 0 {
		t.Errorf("umount of a damaged store: exit %d: %s", r.Code, r.Stderr)
	}
	if b, err := os.ReadFile(log); err == nil && (bytes.Contains(b, []byte("goroutine ")) || bytes.Contains(b, []byte("panic:"))) {
		t.Errorf("the daemon panicked: %s", b)
	}
	return o
}
