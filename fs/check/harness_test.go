package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/fs/volume/volumetest"
	"ssefs/kms"
	"ssefs/store"
)

// raw is the store's records as they are, for damaging them.
type raw = volumetest.Records

// testVolume is a volume that is checked.
type testVolume struct{ *volumetest.Volume }

func newVolume(t testing.TB) *testVolume {
	t.Helper()
	return &testVolume{volumetest.New(t)}
}

// in is the volume for a subtest.
func (x *testVolume) in(t testing.TB) *testVolume {
	v := *x.Volume
	v.TB = t
	return &testVolume{&v}
}

// check runs a check of the store as it is now.
func (x *testVolume) check(mode ContentsMode) *Report {
	x.Helper()
	view := x.DB.View()
	defer view.Release()
	return x.checkWith(Options{View: view, Contents: mode, KMS: x.KMS})
}

func (x *testVolume) checkWith(o Options) *Report {
	x.Helper()
	o.Keys, o.ID = x.Keys, x.ID
	copied, err := x.Dir.ReadFile(store.HeadFile)
	if err == nil && o.HeadCopy == nil {
		o.HeadCopy = copied
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.Fatal(err)
	}
	r, err := Run(context.Background(), o)
	x.Must(err)
	return r
}

// clean checks the store and wants no problem.
func (x *testVolume) clean(mode ContentsMode) *Report {
	x.Helper()
	r := x.check(mode)
	if !r.Clean() {
		x.Fatalf("not clean:\n%s", lines(r))
	}
	return r
}

func lines(r *Report) string {
	var b strings.Builder
	for i := range r.Problems {
		p := &r.Problems[i]
		fmt.Fprintf(&b, "  %s: %s\n", p.Severity, p)
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "  and %d more\n", r.Omitted)
	}
	return b.String()
}

// mkdir makes a directory, or a bucket with a policy.
func (x *testVolume) mkdir(path string, policy ...string) {
	x.Helper()
	w := volume.NewNode{Mode: record.TypeDir | 0o755}
	if len(policy) > 0 {
		p, err := crypto.ParsePolicy(policy[0])
		x.Must(err)
		w.Policy = &p
	}
	x.V.Unpin(x.Create(path, w))
}

// file makes a regular file with contents.
func (x *testVolume) file(path string, contents []byte) {
	x.Helper()
	n := x.Create(path, volume.NewNode{Mode: record.TypeFile | 0o644})
	defer x.V.Unpin(n)
	x.Write(n, 0, contents)
}

func (x *testVolume) truncate(path string, size uint64) {
	x.Helper()
	n := x.Resolve(path)
	defer x.V.Unpin(n)
	x.Must(x.V.Open(context.Background(), n, kms.Drive()))
	x.Must(x.V.SetAttr(n, volume.Change{Size: &size}))
}

// value returns one record as it is stored.
func (x *testVolume) value(key []byte) []byte {
	x.Helper()
	v, ok := x.Dump(key)[string(key)]
	if !ok {
		x.Fatalf("no record under %x", key)
	}
	return v
}

// owned returns all records of an inode but its entries.
func (x *testVolume) owned(ino uint64) raw {
	m := make(raw)
	for _, k := range []record.Kind{record.KindInode, record.KindMap, record.KindXattr, record.KindPack, record.KindData} {
		maps.Copy(m, x.Dump(record.Prefix(k, ino)))
	}
	return m
}

// tamper changes records behind the volume's back.
func (x *testVolume) tamper(changes raw) { x.Helper(); x.Tamper(changes, x.head) }

// restore puts records back as they were and removes those that came since.
func (x *testVolume) restore(now, then raw) {
	x.Helper()
	changes := make(raw)
	for key := range now {
		changes[key] = nil
	}
	maps.Copy(changes, then)
	x.tamper(changes)
}

// open returns the plaintext of a record.
func (x *testVolume) open(key []byte) []byte { x.Helper(); return x.Open(key, x.value(key)) }

func (x *testVolume) head() *record.Head {
	x.Helper()
	h, err := record.DecodeHead(x.open(record.HeadKey()))
	x.Must(err)
	return h
}

// inodeRecord returns an inode's record decoded.
func (x *testVolume) inodeRecord(ino uint64) *record.Inode {
	x.Helper()
	n, err := record.DecodeInode(x.open(record.InodeKey(ino)))
	x.Must(err)
	return n
}

// found is a problem as tests name it: kind, a space, path.
func found(r *Report) []string {
	var list []string
	for i := range r.Problems {
		list = append(list, fmt.Sprintf("%s %s", r.Problems[i].Kind, r.Problems[i].Path))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// want checks that a report has these problems and no others.
func (x *testVolume) want(r *Report, problems ...string) {
	x.Helper()
	slices.Sort(problems)
	if got := found(r); !slices.Equal(got, problems) {
		x.Errorf("found\n%swant\n  %s", lines(r), strings.Join(problems, "\n  "))
	}
}

// sameOwner returns the records of the same kind and inode as a key's. For
// single records, such as one map node, that is the record itself.
func (x *testVolume) sameOwner(key []byte) raw {
	k, err := record.ParseKey(key)
	x.Must(err)
	switch k.Kind {
	case record.KindData, record.KindPack:
		return x.Dump(record.Prefix(k.Kind, k.ID))
	}
	return x.Dump(key)
}

func replaceInode(want string, ino uint64) string {
	return strings.ReplaceAll(want, "<inode SMALL>", fmt.Sprintf("<inode %d>", ino))
}

func fileNode() volume.NewNode { return volume.NewNode{Mode: record.TypeFile | 0o644} }
