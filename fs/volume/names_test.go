package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
	"ssefs/fs/record"
)

// Names are random, in few directories, so that all kinds of collisions happen.
func someName(r *rand.Rand) string { return string(rune('a' + r.IntN(8))) }

// expected reports whether a random operation on names may fail that way.
func expected(err error) bool {
	for _, e := range []error{
		nil, ErrNotExist, ErrExist, ErrNotDir, ErrIsDir, ErrNotEmpty, ErrInvalid, ErrPermission, ErrStale,
		ErrCrossBucket, ErrRootFile,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// randomNames does one operation on names anywhere below the directories.
func randomNames(v *Volume, r *rand.Rand, dirs []uint64) error {
	dir, other := dirs[r.IntN(len(dirs))], dirs[r.IntN(len(dirs))]
	name, to := someName(r), someName(r)
	switch op := r.IntN(100); {
	case op < 25:
		mode := uint32(record.TypeFile)
		switch r.IntN(6) {
		case 0:
			mode = record.TypeLink
		case 1, 2:
			mode = record.TypeDir
		}
		n, err := v.Create(context.Background(), dir, name, NewNode{Mode: mode | 0o644, Target: "t"})
		if err != nil {
			return err
		}
		v.Unpin(n)
	case op < 35:
		return v.Unlink(dir, name)
	case op < 42:
		return v.Rmdir(dir, name)
	case op < 52:
		n, err := v.Lookup(dir, name)
		if err != nil {
			return err
		}
		defer v.Unpin(n)
		return v.Link(n, other, to)
	case op < 90:
		return v.Rename(dir, name, other, to, RenameMode(r.IntN(3)))
	case op < 96:
		n, err := v.Lookup(dir, name)
		if err != nil {
			return err
		}
		defer v.Unpin(n)
		if n.IsRegular() {
			if err := v.Open(context.Background(), n, kmsDrive()); err != nil {
				return err
			}
			return v.WriteBack(n, uint64(r.IntN(9000)), []byte("data"))
		}
	default:
		d, err := v.Inode(dir)
		if err != nil {
			return err
		}
		defer v.Unpin(d)
		return v.NewListing(d).Each(v, func(record.Entry, uint64) bool { return true })
	}
	return nil
}

// TestNamesConcurrently: whatever several callers do to names at once, nothing
// hangs and the volume stays sound, through crashes as well.
func TestNamesConcurrently(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{CachedInodes: 64})
	dirs := []uint64{x.inode("/b")}
	for _, p := range []string{"/b/A", "/b/A/B", "/b/A/B/C", "/b/D", "/b/D/E"} {
		x.mkdir(p)
		dirs = append(dirs, x.inode(p))
	}
	// Subdirectories of theirs take part under the names that renames use.
	for round := range 4 {
		var wg sync.WaitGroup
		for w := range 6 {
			seed := rand.Uint64()
			wg.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(w)))
				for range 400 {
					if err := randomNames(x.v, r, dirs); !expected(err) {
						t.Errorf("seed %d: %v", seed, err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				if err := x.v.Sync(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		x.wantTree()
		if round%2 == 0 {
			x.crash()
		} else {
			x.reopen()
		}
		x.wantTree()
	}
}

// wantTree walks everything and compares link counts, numbers of entries and
// parents with what is there.
func (x *testVolume) wantTree() {
	x.Helper()
	links := make(map[uint64]uint32)
	var walk func(ino, parent uint64)
	walk = func(ino, parent uint64) {
		d, err := x.v.Inode(ino)
		x.must(err)
		defer x.v.Unpin(d)
		if p, err := x.v.ParentOf(d); err != nil || p != parent {
			x.Fatalf("directory %d lies in %d, %v, want %d", ino, p, err, parent)
		}
		var subs []uint64
		entries := uint64(0)
		x.must(x.v.NewListing(d).Each(x.v, func(e record.Entry, _ uint64) bool {
			entries++
			if e.Type == record.TypeDir {
				subs = append(subs, e.Inode)
			} else {
				links[e.Inode]++
			}
			return true
		}))
		if got := uint64(d.Nlink); got != 2+uint64(len(subs)) || d.dir.subdirs != uint64(len(subs)) || d.dir.entries != entries {
			x.Fatalf("directory %d has %d links, %d subdirectories, %d entries; want %d subdirectories, %d entries",
				ino, got, d.dir.subdirs, d.dir.entries, len(subs), entries)
		}
		for _, s := range subs {
			walk(s, ino)
		}
	}
	walk(RootInode, RootInode)
	for ino, want := range links {
		n, err := x.v.Inode(ino)
		x.must(err)
		if got := n.Stat().Nlink; got != want {
			x.Fatalf("inode %d has %d links, want %d", ino, got, want)
		}
		x.v.Unpin(n)
	}
}

// TestRenameAgainstLinkInChild: a rename of a directory and a file in one
// directory, while the same file is removed, under another name, from that
// directory. Both lock the two.
func TestRenameAgainstLinkInChild(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{})
	x.v.Unpin(x.newFile("/b/f")) // the file has the lower number
	x.mkdir("/b/d")
	b, d, f := x.inode("/b"), x.inode("/b/d"), x.resolve("/b/f")
	defer x.v.Unpin(f)
	stop := time.Now().Add(time.Second)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for time.Now().Before(stop) {
				if err := x.v.Rename(b, "f", b, "d", RenameReplace); !errors.Is(err, ErrIsDir) {
					t.Errorf("renaming a file over a directory: %v", err)
				}
			}
		})
		wg.Go(func() {
			for time.Now().Before(stop) {
				if err := x.v.Link(f, d, "x"); !expected(err) {
					t.Error(err)
				}
				if err := x.v.Unlink(d, "x"); !expected(err) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestLinkOfDirectory: refused, also with the directory itself as the place.
func TestLinkOfDirectory(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{})
	x.mkdir("/b/d")
	d := x.resolve("/b/d")
	defer x.v.Unpin(d)
	for _, dir := range []uint64{x.inode("/b"), d.Ino} {
		if err := x.v.Link(d, dir, "x"); !errors.Is(err, ErrPermission) {
			t.Errorf("link of a directory: %v", err)
		}
	}
}

// TestRenameModes checks each mode against each kind of source and target.
func TestRenameModes(t *testing.T) {
	x := newTestVolume(t, Options{})
	x.mkdir("/c")
	kinds := map[string]func(string){
		"nothing": func(string) {},
		"file":    func(p string) { x.v.Unpin(x.newFile(p)) },
		"empty":   func(p string) { x.mkdir(p) },
		"full":    func(p string) { x.mkdir(p); x.mkdir(p + "/sub") },
	}
	want := map[RenameMode]map[string]error{
		RenameReplace: {
			"file file": nil, "file empty": ErrIsDir, "file full": ErrIsDir, "file nothing": nil,
			"empty file": ErrNotDir, "empty empty": nil, "empty full": ErrNotEmpty, "empty nothing": nil,
			"full file": ErrNotDir, "full empty": nil, "full full": ErrNotEmpty, "full nothing": nil,
		},
		RenameNoReplace: {
			"file file": ErrExist, "file empty": ErrExist, "file full": ErrExist, "file nothing": nil,
			"empty file": ErrExist, "empty empty": ErrExist, "empty full": ErrExist, "empty nothing": nil,
			"full file": ErrExist, "full empty": ErrExist, "full full": ErrExist, "full nothing": nil,
		},
		RenameExchange: {
			"file file": nil, "file empty": nil, "file full": nil, "file nothing": ErrNotExist,
			"empty file": nil, "empty empty": nil, "empty full": nil, "empty nothing": ErrNotExist,
			"full file": nil, "full empty": nil, "full full": nil, "full nothing": ErrNotExist,
		},
	}
	i := 0
	for mode, rows := range want {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			src, dst, _ := strings.Cut(key, " ")
			for _, place := range []string{"/b/%d", "/b/dir%d/x"} {
				i++
				from, to := fmt.Sprintf("/b/from%d", i), fmt.Sprintf(place, i)
				parent := "/b"
				if strings.HasPrefix(place, "/b/dir") {
					parent = fmt.Sprintf("/b/dir%d", i)
					x.mkdir(parent)
				}
				kinds[src](from)
				kinds[dst](to)
				moved := x.inode(from)
				err := x.v.Rename(x.inode("/b"), from[3:], x.inode(parent), to[strings.LastIndex(to, "/")+1:], mode)
				if !errors.Is(err, rows[key]) || err == nil != (rows[key] == nil) {
					t.Errorf("mode %d, %s, %s: %v, want %v", mode, key, place, err, rows[key])
				}
				if err == nil && x.inode(to) != moved {
					t.Errorf("mode %d, %s, %s: the target is another inode", mode, key, place)
				}
			}
		}
	}
	x.mkdir("/b/p")
	x.mkdir("/b/p/q")
	p, q := x.inode("/b/p"), x.inode("/b/p/q")
	for _, c := range []struct {
		fromDir uint64
		from    string
		toDir   uint64
		to      string
		mode    RenameMode
		want    error
	}{
		{x.inode("/b"), "p", q, "x", RenameReplace, ErrInvalid},
		{x.inode("/b"), "p", p, "q", RenameExchange, ErrInvalid},
		{p, "q", x.inode("/b"), "p", RenameReplace, ErrNotEmpty},
		{p, "q", x.inode("/b"), "p", RenameExchange, ErrInvalid},
		{p, "q", x.inode("/c"), "q", RenameReplace, ErrCrossBucket},
		{p, "q", RootInode, "q", RenameReplace, ErrCrossBucket},
		{RootInode, "c", x.inode("/b"), "c", RenameReplace, ErrCrossBucket},
		{p, "none", p, "none", RenameReplace, ErrNotExist},
	} {
		if err := x.v.Rename(c.fromDir, c.from, c.toDir, c.to, c.mode); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	x.must(x.v.Rename(RootInode, "c", RootInode, "cc", RenameReplace))
	x.wantTree()
}

// TestListingWhileChanging: names that are there throughout are listed once,
// whatever comes and goes, and wherever the listing is interrupted.
func TestListingWhileChanging(t *testing.T) {
	x := newTestVolume(t, Options{})
	const stay = 400
	for i := range stay {
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/stay%d", i)))
	}
	b := x.resolve("/b")
	defer x.v.Unpin(b)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("come%d-%d", w, i%50)
				n, err := x.v.Create(context.Background(), b.Ino, name, NewNode{Mode: record.TypeFile})
				if err == nil {
					x.v.Unpin(n)
				} else if errors.Is(err, ErrExist) {
					err = x.v.Unlink(b.Ino, name)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := newRand(t)
	for range 12 {
		l := x.v.NewListing(b)
		seen := make(map[string]int)
		last := uint64(0)
		for more := true; more; {
			room := 1 + r.IntN(60)
			more = false
			x.must(l.Read(x.v, last, func(e record.Entry, cookie uint64) bool {
				if room == 0 {
					more = true
					return false
				}
				if cookie <= last {
					t.Fatalf("cookie %d after %d", cookie, last)
				}
				room--
				last = cookie
				seen[e.Name]++
				return true
			}))
			if r.IntN(4) == 0 {
				x.must(x.v.Sync())
			}
			if r.IntN(10) == 0 { // seekdir: any listing can go on from a cookie
				l = x.v.NewListing(b)
			}
		}
		for i := range stay {
			if k := seen[fmt.Sprintf("stay%d", i)]; k != 1 {
				t.Fatalf("stay%d was listed %d times", i, k)
			}
		}
		for name, k := range seen {
			if k > 1 {
				t.Fatalf("%s was listed %d times", name, k)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// TestListingNoticesLoss: an entry that was taken out of the store is missed
// by a listing of the whole directory.
func TestListingNoticesLoss(t *testing.T) {
	x := newTestVolume(t, Options{})
	for i := range 5 {
		x.v.Unpin(x.newFile(fmt.Sprintf("/b/%d", i)))
	}
	x.must(x.v.Sync())
	b := x.resolve("/b")
	defer x.v.Unpin(b)
	h := x.v.hash(b.Ino, "3")
	x.v.commitMu.Lock()
	bt := newBatch()
	bt.Delete(record.EntryKey(b.Ino, h))
	head := x.v.head
	head.Version = x.db.NextVersion()
	x.v.put(bt, record.HeadKey(), head.Append(nil))
	x.must(x.v.commitBatch(bt))
	x.v.head = head
	x.v.commitMu.Unlock()
	err := x.v.NewListing(b).Each(x.v, func(record.Entry, uint64) bool { return true })
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("listing: %v, want ErrDamaged", err)
	}
	x.abandon()
}

// TestBuckets: what only buckets have, and what they refuse.
func TestBuckets(t *testing.T) {
	x := newTestVolume(t, Options{})
	ctx := context.Background()
	if _, err := x.v.Create(ctx, RootInode, "f", NewNode{Mode: record.TypeFile}); !errors.Is(err, ErrRootFile) {
		t.Errorf("file in the root: %v", err)
	}
	bad := crypto.Policy{Algorithm: crypto.AlgorithmKMS, Key: "no-such-key"}
	if _, err := x.v.Create(ctx, RootInode, "k", NewNode{Mode: record.TypeDir, Policy: &bad}); err == nil {
		t.Error("a bucket under a key that does not exist was made")
	}
	x.mkdir("/k", "none")
	k := x.resolve("/k")
	none, _ := crypto.ParsePolicy("none")
	aes, _ := crypto.ParsePolicy("AES256")
	if p, err := x.v.Policy(k.Ino); err != nil || p != none {
		t.Errorf("policy %v, %v", p, err)
	}
	if err := x.v.SetPolicy(k, aes, 1000); !errors.Is(err, ErrNotOwner) {
		t.Errorf("policy set by a stranger: %v", err)
	}
	x.must(x.v.SetPolicy(k, aes, 0))
	x.v.Unpin(k)
	f := x.newFile("/k/f")
	if err := x.v.SetPolicy(f, aes, 0); !errors.Is(err, ErrNotBucket) {
		t.Errorf("policy of a file: %v", err)
	}
	if err := x.v.Rmdir(RootInode, "k"); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("removing a full bucket: %v", err)
	}
	// A bucket that was removed lives on for as long as a file of it is open.
	f.Acquire()
	x.write(f, 0, []byte("hello"))
	x.must(x.v.Unlink(x.inode("/k"), "f"))
	x.must(x.v.Rmdir(RootInode, "k"))
	x.must(x.v.Sync())
	if got := x.records(record.KindBucket); got != 3 {
		t.Errorf("%d bucket records, want 3", got)
	}
	x.wantContents(f, []byte("hello"))
	x.v.Release(f)
	x.must(x.v.Sync())
	if got := x.records(record.KindBucket); got != 2 {
		t.Errorf("%d bucket records, want 2", got)
	}
	x.reopen()
	list, err := x.v.Buckets()
	x.must(err)
	if len(list) != 1 || list[0].Name != "b" || list[0].Policy != aes {
		t.Errorf("buckets: %+v", list)
	}
}
