package check

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"ssefs/fs/record"
	"ssefs/kms"
	"ssefs/store"
)

func TestDisabledKeyIsNoDamage(t *testing.T) {
	x := sample(t)
	x.Unmount()
	keys, err := x.KMS.List(context.Background())
	x.Must(err)
	if len(keys) != 1 {
		t.Fatalf("%d keys", len(keys))
	}
	x.Mount() // the keystore's generation is recorded in the head
	x.Must(x.KMS.Disable(context.Background(), kms.By{Managed: true}, keys[0].ID))
	r := x.clean(VerifyContents)
	want := []LockedKey{{KeyID: keys[0].ID, Reason: kms.ErrKeyRevoked.Error(), Files: 5}}
	if !slices.Equal(r.Unverifiable, want) {
		t.Errorf("unverifiable %+v, want %+v", r.Unverifiable, want)
	}
	if want := int64(2*(1000+5000+5<<20+77+20_000) + 80*4096); r.Counts.VerifiedBytes != want {
		t.Errorf("%d bytes verified, want %d", r.Counts.VerifiedBytes, want)
	}
}

// TestEnvelope: an envelope of another file, which only somebody with the
// metadata key can put there.
func TestEnvelope(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	other := x.inodeRecord(ino["/aes/other"])
	n := x.inodeRecord(ino["/aes/small"])
	n.Envelope = other.Envelope
	k := record.InodeKey(ino["/aes/small"])
	x.tamper(one(k, x.Seal(k, n.Append(nil))))
	x.want(x.check(VerifyContents), "envelope /aes/small")
	n.Envelope = []byte("envelope")
	x.tamper(one(k, x.Seal(k, n.Append(nil))))
	x.want(x.check(SkipContents), "envelope /aes/small")
	view := x.DB.View()
	defer view.Release()
	x.want(x.checkWith(Options{View: view}), "envelope /aes/small")
}

// TestInodeRecords: inode records that are sealed rightly and say wrong things.
func TestInodeRecords(t *testing.T) {
	cases := []struct {
		name, path string
		change     func(n *record.Inode)
		want       []string
	}{
		{"link count", "/aes/small", func(n *record.Inode) { n.Nlink++ }, []string{"links /aes/small"}},
		{"link count of 0", "/aes/small", func(n *record.Inode) { n.Nlink = 0 }, []string{"links /aes/small", "unnamed /aes/small"}},
		{"link count of a directory", "/aes/dir", func(n *record.Inode) { n.Nlink++ }, []string{"links /aes/dir"}},
		{"directory's link count of 0", "/aes/dir", func(n *record.Inode) { n.Nlink = 0 }, []string{"links /aes/dir", "unnamed /aes/dir"}},
		{"entries", "/aes/dir", func(n *record.Inode) { n.Entries++ }, []string{"entry-set /aes/dir"}},
		{"subdirectories", "/aes/dir", func(n *record.Inode) { n.Subdirs++; n.Nlink++ }, []string{"entry-set /aes/dir"}},
		{"set", "/aes/dir", func(n *record.Inode) { n.EntrySet[0]++ }, []string{"entry-set /aes/dir"}},
		{"parent", "/aes/dir/sub", func(n *record.Inode) { n.Parent = 1 }, []string{"parent /aes/dir/sub"}},
		{"parent of the root", "/", func(n *record.Inode) { n.Parent = 2 }, []string{"parent /"}},
		{"type", "/aes/dir/fifo", func(n *record.Inode) { n.Mode = 0o140644 }, []string{"entry /aes/dir/fifo"}},
		{"file made a fifo", "/aes/small", func(n *record.Inode) { n.Mode = 0o010644 }, []string{"entry /aes/small", "stray /aes/small", "totals ", "totals /aes"}},
		{"bucket", "/aes/empty", func(n *record.Inode) { n.Bucket = 3 }, []string{"entry /aes/empty", "envelope /aes/empty", "inode-set /aes", "inode-set /none"}},
		{"no such bucket", "/aes/empty", func(n *record.Inode) { n.Bucket = 99 }, []string{"entry /aes/empty", "envelope /aes/empty", "bucket /aes/empty", "inode-set /aes"}},
		{"root's bucket", "/aes/dir/fifo", func(n *record.Inode) { n.Bucket = 0 }, []string{"entry /aes/dir/fifo", "bucket /aes/dir/fifo", "inode-set /", "inode-set /aes"}},
		{"blocks", "/aes/small", func(n *record.Inode) { n.Blocks++ }, []string{"blocks /aes/small", "totals ", "totals /aes"}},
		{"size", "/aes/other", func(n *record.Inode) { n.Size = 4000 }, []string{"blocks /aes/other"}},
		{"xattr version", "/aes/empty", func(n *record.Inode) { n.XattrVersion = 2 }, []string{"xattr /aes/empty"}},
		{"version", "/aes/empty", func(n *record.Inode) { n.Version = 1 << 30 }, []string{"too-new /aes/empty", "inode-set /aes"}},
		{"record's blocks", "/aes/other", func(n *record.Inode) { n.Map.Leaves[0].Leaf.Recs[0].Blocks = 3 }, []string{"data /aes/other"}},
		{"record shared", "/aes/other", func(n *record.Inode) { n.Map.Leaves[0].Leaf.Recs[0].Shared = true }, []string{"pack /aes/other"}},
		{"map listed twice", "/aes/other", func(n *record.Inode) {
			l := n.Map.Leaves[0]
			l.Index = 5
			n.Map.Leaves = append(n.Map.Leaves, l)
			n.Size, n.Blocks = 1<<30, 4
		}, []string{"pack /aes/other", "totals ", "totals /aes"}},
		{"node's blocks", "/aes/holes", func(n *record.Inode) { n.Map.Refs[0].Blocks++ }, []string{"blocks /aes/holes"}},
		{"node's version", "/aes/holes", func(n *record.Inode) { n.Map.Refs[0].Version++ }, []string{"map /aes/holes"}},
		{"node's place", "/aes/holes", func(n *record.Inode) { n.Map.Refs[0].Index = 7 }, []string{"map /aes/holes"}},
	}
	x := sample(t)
	ino := x.samplePaths()
	ino["/"] = 1
	for _, p := range []string{"/aes/empty", "/aes/dir/fifo"} {
		ino[p] = x.Inode(p)
	}
	if ino["/none"] != 3 {
		t.Fatalf("/none is inode %d", ino["/none"])
	}
	x.Unmount()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x := x.in(t)
			k := record.InodeKey(ino[c.path])
			then := x.value(k)
			n := x.inodeRecord(ino[c.path])
			c.change(n)
			x.tamper(one(k, x.Seal(k, n.Append(nil))))
			x.want(x.check(SkipContents), c.want...)
			x.tamper(one(k, then))
		})
	}
	x.clean(SkipContents)
}

func TestLoop(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	// dir, named by nobody any more, becomes an entry of its own subdirectory.
	up, down := ino["/aes"], ino["/aes/dir/sub"]
	e := record.Entry{Version: 2, Inode: ino["/aes/dir"], Type: record.TypeDir, Name: "dir"}
	k := x.EntryKey(down, "dir")
	d := x.inodeRecord(ino["/aes/dir"])
	d.Parent = down
	dk := record.InodeKey(ino["/aes/dir"])
	x.tamper(raw{
		string(x.EntryKey(up, "dir")): nil,
		string(k):                     x.Seal(k, e.Append(nil)),
		string(dk):                    x.Seal(dk, d.Append(nil)),
	})
	x.want(x.check(SkipContents), "entry-set /aes",
		fmt.Sprintf("loop <inode %d>/sub/dir", ino["/aes/dir"]), fmt.Sprintf("entry-set <inode %d>/dir/sub", down))
}

func TestHeadCopy(t *testing.T) {
	x := sample(t)
	x.Unmount()
	saved, err := x.Dir.ReadFile(store.HeadFile)
	x.Must(err)
	check := func(copied []byte, want ...string) {
		t.Helper()
		view := x.DB.View()
		defer view.Release()
		x.want(x.checkWith(Options{View: view, HeadCopy: copied}), want...)
	}
	check(saved)
	check(flip(saved, 50), "head ")
	h := x.head()
	newer := *h
	newer.Version++
	check(x.Seal(record.HeadKey(), newer.Append(nil)), "rollback ")
	other := *h
	other.NextRecord++
	check(x.Seal(record.HeadKey(), other.Append(nil)), "rollback ")
	older := *h
	older.Version--
	older.Epoch = older.Version
	check(x.Seal(record.HeadKey(), older.Append(nil)))
	h.Inodes++
	x.tamper(one(record.HeadKey(), x.NextHead(h)))
	check(saved, "totals ")
	h.NextInode, h.NextRecord, h.Inodes = 5, 3, h.Inodes-1
	x.tamper(one(record.HeadKey(), x.NextHead(h)))
	view := x.DB.View()
	defer view.Release()
	r := x.checkWith(Options{View: view})
	if p := found(r); !slices.Contains(p, "head /aes/small") || !slices.Contains(p, "data /aes/small") {
		t.Errorf("found\n%s", lines(r))
	}
}

func TestRunRefuses(t *testing.T) {
	x := sample(t)
	view := x.DB.View()
	defer view.Release()
	o := Options{View: view, Keys: x.Keys, ID: x.ID, Contents: VerifyContents}
	if _, err := Run(context.Background(), o); !errors.Is(err, ErrNoKeyService) {
		t.Errorf("contents without a key service: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o.Contents = SkipContents
	if r, err := Run(ctx, o); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", r, err)
	}
}

// TestCancelledOnTheWay cancels at every step that progress is told of.
func TestCancelledOnTheWay(t *testing.T) {
	x := sample(t)
	for i := range 400 {
		x.V.Unpin(x.Create(fmt.Sprintf("/aes/f%d", i), fileNode()))
	}
	x.Sync()
	view := x.DB.View()
	defer view.Release()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := Options{View: countingView{view, func(n int) {
		if n == 500 {
			cancel()
		}
	}, new(int)}, Keys: x.Keys, ID: x.ID}
	if r, err := Run(ctx, o); r != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", r, err)
	}
}

// countingView tells how many records were delivered.
type countingView struct {
	View
	on func(int)
	n  *int
}

func (v countingView) Iterate(prefix, from []byte, fn func(key, value []byte) error) error {
	return v.View.Iterate(prefix, from, func(key, value []byte) error {
		*v.n++
		v.on(*v.n)
		return fn(key, value)
	})
}

func TestProblemsAreBounded(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	changes := make(raw)
	for key, value := range x.Dump(record.Prefix(record.KindEntry, ino["/aes"])) {
		changes[key] = flip(value, 50)
	}
	x.tamper(changes)
	view := x.DB.View()
	defer view.Release()
	all := x.checkWith(Options{View: view})
	some := x.checkWith(Options{View: view, MaxProblems: 3})
	if len(some.Problems) != 3 || some.Omitted != len(all.Problems)-3 || some.Clean() {
		t.Errorf("%d problems, %d omitted, of %d", len(some.Problems), some.Omitted, len(all.Problems))
	}
}

// TestReportIsDeterministic checks twice and compares the JSON.
func TestReportIsDeterministic(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	changes := make(raw)
	for i, name := range []string{"/aes/small", "/aes/dir/big", "/kms/other", "/none/dir/sub/deep"} {
		for key, value := range x.owned(ino[name]) {
			if i%2 == 0 {
				changes[key] = nil
			} else {
				changes[key] = flip(value, len(value)/2)
			}
		}
	}
	x.tamper(changes)
	var first []byte
	for range 3 {
		r := x.check(VerifyContents)
		b, err := json.Marshal(r)
		x.Must(err)
		if first == nil {
			first = b
			if r.Errors() == 0 || !bytes.Contains(b, []byte(`"severity":"error"`)) || !bytes.Contains(b, []byte(`"path":"/aes/dir/big"`)) {
				t.Errorf("report: %s", b)
			}
		}
		if !bytes.Equal(b, first) {
			t.Errorf("reports differ:\n%s\n%s", first, b)
		}
	}
}

func TestProgress(t *testing.T) {
	x := sample(t)
	for i := range 300 {
		x.V.Unpin(x.Create(fmt.Sprintf("/none/f%d", i), fileNode()))
	}
	x.Sync()
	view := x.DB.View()
	defer view.Release()
	calls := 0
	x.checkWith(Options{View: view, KMS: x.KMS, Contents: VerifyContents, Progress: func(done, total int64, what string) {
		calls++
		if done < 0 || what == "" || total < 0 {
			t.Errorf("progress %d of %d %s", done, total, what)
		}
	}})
	if calls == 0 {
		t.Error("no progress was told")
	}
}

// failingView fails to deliver some records, as a damaged disk does.
type failingView struct {
	View
	fails func(key []byte) bool
}

func (v failingView) Get(key []byte, fn func([]byte) error) error {
	if v.fails(key) {
		return fmt.Errorf("%w: test", store.ErrIO)
	}
	return v.View.Get(key, fn)
}

func (v failingView) Iterate(prefix, from []byte, fn func(key, value []byte) error) error {
	return v.View.Iterate(prefix, from, func(key, value []byte) error {
		if v.fails(key) {
			return fmt.Errorf("%w: test", store.ErrDamaged)
		}
		return fn(key, value)
	})
}

// TestStoreFailure: records that the store cannot deliver are named, and the
// rest is checked all the same.
func TestStoreFailure(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	view := x.DB.View()
	defer view.Release()
	check := func(fails func([]byte) bool, want ...string) {
		t.Helper()
		x.want(x.checkWith(Options{View: failingView{view, fails}, KMS: x.KMS, Contents: VerifyContents}), want...)
	}
	key := func(k []byte) func([]byte) bool { return func(b []byte) bool { return bytes.Equal(b, k) } }
	check(func([]byte) bool { return false })
	check(key(record.XattrKey(ino["/aes/small"])), "store-failure /aes/small", "xattr /aes/small")
	check(key(record.MapKey(ino["/aes/holes"], 0, 3)), "store-failure /aes/holes")
	check(key(x.dataKeys(ino["/none/dir/big"])[1]), "store-failure /none/dir/big")
	check(key(x.EntryKey(ino["/aes"], "small")), "store-failure /aes", "entry-set /aes", fmt.Sprintf("unnamed <inode %d>", ino["/aes/small"]))
	check(key(record.InodeKey(ino["/aes/small"])), "store-failure /aes/small", "entry /aes/small", "stray /aes/small", "inode-set /aes", "totals ")
	check(key(record.HeadKey()), "head ")
}

// TestWindows checks files with more data records than fit one window.
func TestWindows(t *testing.T) {
	x := sample(t)
	ino := x.samplePaths()
	x.Unmount()
	for _, weight := range []int{1, 2, 3, 100} {
		check := func(mode ContentsMode, want ...string) int64 {
			t.Helper()
			view := x.DB.View()
			defer view.Release()
			r := x.checkWith(Options{View: view, KMS: x.KMS, Contents: mode, windowWeight: weight})
			x.want(r, want...)
			return r.Counts.VerifiedBytes
		}
		if want := int64(3*(1000+5000+5<<20+77+20_000) + 80*4096); check(VerifyContents) != want {
			t.Errorf("verified other than %d bytes", want)
		}
		for _, k := range x.dataKeys(ino["/none/dir/big"]) {
			then := x.value(k)
			x.tamper(one(k, nil))
			check(SkipContents, "data /none/dir/big")
			k2 := record.DataKey(ino["/none/dir/big"], x.recordOf(ino["/aes/other"]))
			x.tamper(raw{string(k): then, string(k2): then})
			check(SkipContents, "data-unlisted /none/dir/big")
			x.tamper(one(k2, nil))
		}
	}
}

func TestProblemString(t *testing.T) {
	p := Problem{Kind: Contents, Path: "/b/f", Inode: 7, Range: &Range{4096, 100}, Message: "they do not open"}
	if got, want := p.String(), "/b/f [bytes 4096 to 4195]: they do not open (contents)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p = Problem{Kind: Head, Message: "it is missing"}
	if got := p.String(); !strings.HasPrefix(got, "volume: ") {
		t.Errorf("%q", got)
	}
}

var _ KeyService = (*kms.Service)(nil)
var _ View = (*store.View)(nil)

// TestMemory: what doc.go says is remembered of an inode and of a directory.
func TestMemory(t *testing.T) {
	if n, d := unsafe.Sizeof(inode{}), unsafe.Sizeof(dir{}); n != 32 || d != 64 {
		t.Errorf("%d bytes for an inode, %d for a directory", n, d)
	}
}
