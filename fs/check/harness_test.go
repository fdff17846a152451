package check

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// testVolume is a volume in a temporary directory, mounted while v is set.
type testVolume struct {
	testing.TB
	dir  *store.Dir
	db   *store.DB
	id   crypto.VolumeID
	keys *crypto.VolumeKeys
	kms  *kms.Service
	v    *volume.Volume
}

func newVolume(t testing.TB) *testVolume {
	t.Helper()
	x := &testVolume{TB: t, id: crypto.VolumeID{1, 2, 3}}
	root, err := crypto.NewKey()
	x.must(err)
	t.Cleanup(root.Wipe)
	x.keys, err = crypto.DeriveVolumeKeys(root, x.id)
	x.must(err)
	t.Cleanup(x.keys.Wipe)
	x.dir, err = store.CreateDir(filepath.Join(t.TempDir(), "store"))
	x.must(err)
	t.Cleanup(func() { x.must(x.dir.Close()) })
	x.db, err = x.dir.OpenDB(store.Options{MemTableSize: 16 << 20, ValueLogFileSize: 32 << 20})
	x.must(err)
	t.Cleanup(func() { x.must(x.db.Close()) })
	x.must(volume.Create(x.options(), volume.Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}, Region: "local"}, 0, 0))
	x.mount()
	t.Cleanup(x.unmount)
	x.kms, err = kms.Create(kms.Options{
		Files: x.dir, Key: x.keys.Keystore, Volume: x.id,
		RecordGeneration: func(g uint64) error { return x.v.RecordKeystore(g) },
	})
	x.must(err)
	t.Cleanup(x.kms.Close)
	x.v.SetKeyService(x.kms)
	return x
}

func (x *testVolume) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

func (x *testVolume) options() volume.Options {
	return volume.Options{DB: x.db, Dir: x.dir, Keys: x.keys, ID: x.id}
}

func (x *testVolume) mount() {
	x.Helper()
	v, err := volume.Open(x.options())
	x.must(err)
	if x.kms != nil {
		v.SetKeyService(x.kms)
	}
	x.v = v
}

func (x *testVolume) unmount() {
	x.Helper()
	if x.v != nil {
		x.must(x.v.Close())
		x.v = nil
	}
}

func (x *testVolume) sync() { x.Helper(); x.must(x.v.Sync()) }

// check runs a check of the store as it is now.
func (x *testVolume) check(mode ContentsMode) *Report {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	return x.checkWith(Options{View: view, Contents: mode, KMS: x.kms})
}

func (x *testVolume) checkWith(o Options) *Report {
	x.Helper()
	o.Keys, o.ID = x.keys, x.id
	copied, err := x.dir.ReadFile(store.HeadFile)
	if err == nil && o.HeadCopy == nil {
		o.HeadCopy = copied
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.Fatal(err)
	}
	r, err := Run(context.Background(), o)
	x.must(err)
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

// inode returns the inode number of a path.
func (x *testVolume) inode(path string) uint64 {
	x.Helper()
	n, err := x.v.Resolve(path)
	x.must(err)
	defer x.v.Unpin(n)
	return n.Ino
}

func (x *testVolume) create(path string, w volume.NewNode) *volume.Inode {
	x.Helper()
	dir, name := filepath.Split(path)
	n, err := x.v.Create(context.Background(), x.inode(dir), name, w)
	x.must(err)
	return n
}

// mkdir makes a directory, or a bucket with a policy.
func (x *testVolume) mkdir(path string, policy ...string) {
	x.Helper()
	w := volume.NewNode{Mode: record.TypeDir | 0o755}
	if len(policy) > 0 {
		p, err := crypto.ParsePolicy(policy[0])
		x.must(err)
		w.Policy = &p
	}
	x.v.Unpin(x.create(path, w))
}

// file makes a regular file with contents.
func (x *testVolume) file(path string, contents []byte) {
	x.Helper()
	n := x.create(path, volume.NewNode{Mode: record.TypeFile | 0o644})
	defer x.v.Unpin(n)
	x.write(n, 0, contents)
}

func (x *testVolume) write(n *volume.Inode, off uint64, contents []byte) {
	x.Helper()
	x.must(x.v.Open(context.Background(), n, kms.Drive()))
	for len(contents) > 0 {
		k := min(len(contents), 1<<20)
		x.must(x.v.Write(n, off, contents[:k]))
		off, contents = off+uint64(k), contents[k:]
	}
}

// writeAt writes into a file that exists.
func (x *testVolume) writeAt(path string, off uint64, contents []byte) {
	x.Helper()
	n, err := x.v.Resolve(path)
	x.must(err)
	defer x.v.Unpin(n)
	x.write(n, off, contents)
}

func (x *testVolume) truncate(path string, size uint64) {
	x.Helper()
	n, err := x.v.Resolve(path)
	x.must(err)
	defer x.v.Unpin(n)
	x.must(x.v.Open(context.Background(), n, kms.Drive()))
	x.must(x.v.SetAttr(n, volume.Change{Size: &size}))
}

func (x *testVolume) setXattr(path, name, value string) {
	x.Helper()
	n, err := x.v.Resolve(path)
	x.must(err)
	defer x.v.Unpin(n)
	x.must(x.v.SetXattr(n, name, []byte(value), volume.XattrAny))
}

// noise returns n bytes that look random and depend on the seed alone.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed)))
	_, _ = r.Read(b) // never fails
	return b
}

// raw is the store's records as they are, for damaging them.
type raw map[string][]byte

// dump returns all records under a prefix.
func (x *testVolume) dump(prefix []byte) raw {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	m := make(raw)
	x.must(view.Iterate(prefix, nil, func(key, value []byte) error {
		m[string(key)] = bytes.Clone(value)
		return nil
	}))
	return m
}

// value returns one record as it is stored.
func (x *testVolume) value(key []byte) []byte {
	x.Helper()
	v, ok := x.dump(key)[string(key)]
	if !ok {
		x.Fatalf("no record under %x", key)
	}
	return v
}

// owned returns all records of an inode but its entries.
func (x *testVolume) owned(ino uint64) raw {
	m := make(raw)
	for _, k := range []record.Kind{record.KindInode, record.KindMap, record.KindXattr, record.KindPack, record.KindData} {
		for key, value := range x.dump(record.Prefix(k, ino)) {
			m[key] = value
		}
	}
	return m
}

// tamper changes records behind the volume's back. A nil value deletes. The
// head is sealed anew, so that the store's version does not give it away; as
// an epoch, unless the changes have a head of their own.
func (x *testVolume) tamper(changes raw) {
	x.Helper()
	b := &store.Batch{}
	for key, value := range changes {
		if value == nil {
			b.Delete([]byte(key))
		} else {
			b.Put([]byte(key), bytes.Clone(value))
		}
	}
	if _, ok := changes[string(record.HeadKey())]; !ok {
		h := x.head()
		h.Version = x.db.NextVersion()
		h.Epoch = h.Version
		b.Put(record.HeadKey(), x.seal(record.HeadKey(), h.Append(nil)))
	}
	_, err := x.db.Commit(b)
	x.must(err)
}

// restore puts records back as they were and removes those that came since.
func (x *testVolume) restore(now, then raw) {
	x.Helper()
	changes := make(raw)
	for key := range now {
		changes[key] = nil
	}
	for key, value := range then {
		changes[key] = value
	}
	x.tamper(changes)
}

func (x *testVolume) sealer() *crypto.RecordSealer {
	x.Helper()
	s, err := crypto.NewRecordSealer(x.keys.Metadata, x.id)
	x.must(err)
	return s
}

func (x *testVolume) seal(key, plain []byte) []byte { return x.sealer().Seal(nil, key, plain) }

// open returns the plaintext of a record.
func (x *testVolume) open(key []byte) []byte {
	x.Helper()
	plain, err := x.sealer().Open(nil, key, x.value(key))
	x.must(err)
	return plain
}

func (x *testVolume) head() *record.Head {
	x.Helper()
	h, err := record.DecodeHead(x.open(record.HeadKey()))
	x.must(err)
	return h
}

// inodeRecord returns an inode's record decoded.
func (x *testVolume) inodeRecord(ino uint64) *record.Inode {
	x.Helper()
	n, err := record.DecodeInode(x.open(record.InodeKey(ino)))
	x.must(err)
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
	x.must(err)
	switch k.Kind {
	case record.KindData, record.KindPack:
		return x.dump(record.Prefix(k.Kind, k.ID))
	}
	return x.dump(key)
}

func replaceInode(want string, ino uint64) string {
	return strings.ReplaceAll(want, "<inode SMALL>", fmt.Sprintf("<inode %d>", ino))
}

func fileNode() volume.NewNode { return volume.NewNode{Mode: record.TypeFile | 0o644} }
