package secrecy

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// markers makes the words to look for: each kind of place has its own for each bucket. They are short, so that any
// piece of a name or a content that lies open would show.
type markers map[string]string

func (m markers) word(bucket, place string) string {
	what := bucket + ": " + place
	if m[what] == "" {
		m[what] = hex.EncodeToString(expect.Random(uint64(len(m)+1), 8))
	}
	return m[what]
}

// plant puts markers into every place that a bucket has: contents of every size, names, link targets, xattrs.
func plant(t *testing.T, m markers, dir, bucket string) {
	t.Helper()
	w := func(place string) string { return m.word(bucket, place) }
	p := func(name string) string { return filepath.Join(dir, name) }
	small := []byte("small " + w("small contents"))
	expect.Write(t, p("small"), small)
	expect.Write(t, p("medium"), bytes.Repeat([]byte(w("medium contents")+"\n"), 400))
	expect.Write(t, p("large"), bytes.Repeat([]byte(w("large contents")+"."), 200_000))
	scattered := expect.Create(t, p("scattered"))
	for i := range 40 {
		scattered.Pwrite([]byte(w("scattered contents")), int64(i*i*5003))
		if i%8 == 0 {
			scattered.Sync()
		}
	}
	scattered.Close()
	appended := expect.Open(t, p("appended"), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_SYNC, 0o644)
	for range 20 {
		appended.Write([]byte(w("appended contents") + "\n"))
	}
	appended.Close()
	expect.Write(t, p(w("file name")), nil)
	expect.Write(t, p(strings.Repeat(w("long name"), 15)), nil)
	sub := expect.Mkdir(t, p(w("directory name")))
	expect.Write(t, filepath.Join(sub, w("name below")), []byte("x"))
	expect.OK(t, os.Symlink("/"+w("short target"), p("link")), "symlink")
	expect.OK(t, os.Symlink(strings.Repeat("/"+w("long target"), 200), p("long link")), "symlink")
	expect.SetXattr(t, p("small"), "user."+w("xattr name"), "value "+w("xattr value"))
	expect.SetXattr(t, p("small"), "trusted.large", strings.Repeat(w("large xattr value"), 1500))
	expect.SetXattr(t, sub, "security.x", w("xattr value of a directory"))
	expect.OK(t, unix.Rename(p("medium"), p(w("new name")+".renamed")), "rename")
	// What is overwritten and truncated leaves traces, too.
	expect.Write(t, p("rewritten"), bytes.Repeat([]byte(w("overwritten contents")), 3000))
	f := expect.Open(t, p("rewritten"), unix.O_WRONLY, 0)
	f.Sync()
	f.Pwrite(make([]byte, 30_000), 0)
	f.Truncate(1000)
	f.Sync()
	f.Close()
	// And what is deleted.
	gone := expect.Mkdir(t, p(w("deleted directory")))
	expect.Write(t, filepath.Join(gone, w("deleted name")), bytes.Repeat([]byte(w("deleted contents")), 5000))
	expect.SetXattr(t, filepath.Join(gone, w("deleted name")), "user.x", w("deleted xattr"))
	drive.Must(t, drive.Binary(t), "sync", dir)
	drive.Must(t, "rm", "-r", gone)
}

// TestNothingLiesOpen looks for the markers while the store is mounted, in a backup, after a crash, after a clean end, and
// after everything was deleted.
func TestNothingLiesOpen(t *testing.T) {
	d := drive.New(t, drive.Options{})
	m := markers{}
	plain := map[string]bool{} // what may be found: contents of the bucket without encryption
	for _, policy := range []string{"AES256", "KMS", "none"} {
		b := d.Bucket(m.word(policy, "bucket name"))
		expect.SetXattr(t, b, "user.sse.policy", policy)
		plant(t, m, b, policy)
	}
	for what := range m {
		plain[what] = strings.HasPrefix(what, "none: ") && strings.HasSuffix(what, "contents")
	}
	key := m.word("volume", "description of a key")
	d.MustCLI("kms", "create", "--description", key)
	d.MustCLI("kms", "alias", "create", m.word("volume", "alias"), "alias/acs/oss")
	look := func(dir, when string) (found map[string]int) {
		t.Helper()
		found, where := count(t, dir, m)
		for what, n := range found {
			if !plain[what] {
				t.Errorf("%s: %s is found %d times, in %s", when, what, n, where[what])
			}
		}
		return found
	}
	// While there are files, the search finds what lies open on purpose, or it is blind.
	lookAndSee := func(dir, when string) {
		t.Helper()
		found := look(dir, when)
		for _, place := range []string{"small contents", "medium contents", "large contents", "scattered contents"} {
			if found["none: "+place] == 0 {
				t.Errorf("%s: the %s of the bucket without encryption are not found: the search is blind", when, place)
			}
		}
	}
	drive.Must(t, drive.Binary(t), "sync", d.Path())
	lookAndSee(d.Store(), "while mounted")
	backups := t.TempDir()
	d.MustCLI("backup", filepath.Join(backups, "backup"))
	lookAndSee(backups, "in a backup")
	d.Kill()
	lookAndSee(d.Store(), "after a crash")
	d.Mount()
	d.Unmount()
	lookAndSee(d.Store(), "after a clean end")
	d.Mount()
	for _, name := range expect.Names(t, d.Path()) {
		drive.Must(t, "rm", "-r", d.Path(name))
	}
	drive.Must(t, drive.Binary(t), "sync", d.Path())
	look(d.Store(), "after everything was deleted")
	d.Unmount()
	look(d.Store(), "after everything was deleted and a clean end")
	// The secret that opens it all is not there either.
	secret := string(expect.Read(t, d.KeyFile()))
	for _, dir := range []string{d.Store(), backups} {
		found, where := count(t, dir, map[string]string{"key file": secret[:16], "its end": secret[len(secret)-16:]})
		if len(found) > 0 {
			t.Errorf("the key file is found in %s: %v", dir, where)
		}
	}
}

// window is as long as the pieces of ciphertext that are compared.
const window = 32

// TestEqualFilesShareNothing: files of equal contents, in one bucket and across buckets, and equal blocks within a
// file, are stored as different bytes. No long piece of the store occurs as often as the contents do.
func TestEqualFilesShareNothing(t *testing.T) {
	d := drive.New(t, drive.Options{})
	const files = 15
	random := expect.Random(1, 20_000)
	for _, policy := range []string{"AES256", "KMS", "none"} {
		b := d.Bucket(policy)
		expect.SetXattr(t, b, "user.sse.policy", policy)
		for i := range files {
			p := filepath.Join(b, fmt.Sprint(i))
			switch i % 3 {
			case 0:
				expect.Write(t, p, random)
			case 1:
				expect.Write(t, p, make([]byte, 20_000))
			case 2:
				expect.Write(t, p, bytes.Repeat([]byte("All work and no play makes Jack a dull boy.\n"), 450))
			}
		}
		// By the means that could tempt to share: a copy within the kernel, a link, a file written twice.
		drive.Must(t, "cp", "--reflink=auto", filepath.Join(b, "0"), filepath.Join(b, "copied"))
		expect.Write(t, filepath.Join(b, "0"), random)
	}
	d.Unmount()
	// Each window of high variety is counted where it starts; the log may hold a record a second time beside its place.
	seen := map[[window]byte]int{}
	scan(t, d.Store(), 0, func(_ string, _ int64, data []byte) {
		for at := 0; at+window <= len(data); at++ {
			w := [window]byte(data[at : at+window])
			if distinct(w) >= window/2 {
				seen[w]++
			}
		}
	})
	inClear := [window]byte(random[10_000 : 10_000+window])
	if seen[inClear] < files/3 {
		t.Errorf("contents stored in the clear are found %d times: the search is blind", seen[inClear])
	}
	// What lies in the clear repeats, of course.
	repeats := 0
	text := bytes.Repeat([]byte("All work and no play makes Jack a dull boy.\n"), 3)
	clear := func(half []byte) bool { return bytes.Contains(random, half) || bytes.Contains(text, half) }
	for w, n := range seen {
		if n > 3 && !clear(w[:window/2]) && !clear(w[window/2:]) {
			repeats++
			if repeats < 5 {
				t.Errorf("%x occurs %d times in the store", w, n)
			}
		}
	}
	if repeats > 0 {
		t.Errorf("%d pieces of %d bytes occur more than three times", repeats, window)
	}
}

// distinct returns how many different bytes there are in w.
func distinct(w [window]byte) int {
	var set [256]bool
	n := 0
	for _, b := range w {
		if !set[b] {
			set[b] = true
			n++
		}
	}
	return n
}
