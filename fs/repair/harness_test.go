package repair

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/check"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// raw is records as they are stored, by key. A nil value deletes.
type raw map[string][]byte

// site is a volume in a temporary directory that is damaged and repaired again
// and again, from one state.
type site struct {
	testing.TB
	dir  *store.Dir
	db   *store.DB
	id   crypto.VolumeID
	keys *crypto.VolumeKeys
	kms  *kms.Service
	v    *volume.Volume // while it is mounted

	good  raw               // all records of the state
	older raw               // of an earlier one
	paths map[string]uint64 // what is where
	bytes map[uint64][]byte // contents of regular files
}

func (x *site) must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// newSite makes a volume with something of everything.
func newSite(t testing.TB) *site {
	t.Helper()
	x := &site{TB: t, id: crypto.VolumeID{1, 2, 3}, paths: map[string]uint64{"/": record.RootInode}, bytes: make(map[uint64][]byte)}
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
	x.must(volume.Create(x.options(), volume.Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}, Region: "local"}, 5, 6))
	x.mount()
	x.kms, err = kms.Create(kms.Options{
		Files: x.dir, Key: x.keys.Keystore, Volume: x.id,
		RecordGeneration: func(g uint64) error { return x.v.RecordKeystore(g) },
	})
	x.must(err)
	t.Cleanup(x.kms.Close)
	x.v.SetKeyService(x.kms)
	x.fill()
	x.unmount()
	x.good = x.dump()
	return x
}

func (x *site) options() volume.Options {
	return volume.Options{DB: x.db, Dir: x.dir, Keys: x.keys, ID: x.id}
}

func (x *site) mount() {
	x.Helper()
	var err error
	x.v, err = volume.Open(x.options())
	x.must(err)
	if x.kms != nil {
		x.v.SetKeyService(x.kms)
	}
}

func (x *site) unmount() {
	x.Helper()
	x.must(x.v.Close())
	x.v = nil
}

// fill makes the volume's contents, and takes down an earlier state on the way.
func (x *site) fill() {
	for i, b := range []string{"aes", "none", "kms"} {
		p, err := crypto.ParsePolicy([]string{"AES256", "none", "KMS"}[i])
		x.must(err)
		x.make("/"+b, volume.NewNode{Mode: record.TypeDir | 0o755, Policy: &p, UID: 100, GID: 200})
		b, seed := "/"+b, uint64(100*i)
		x.make(b+"/dir", volume.NewNode{Mode: record.TypeDir | 0o750})
		x.make(b+"/dir/sub", volume.NewNode{Mode: record.TypeDir | 0o700})
		x.make(b+"/dir/none", volume.NewNode{Mode: record.TypeDir | 0o700})
		x.file(b+"/small", 0, noise(seed+1, 1000))
		x.file(b+"/other", 0, noise(seed+2, 5000))
		x.file(b+"/dir/big", 0, noise(seed+3, 270_077))
		x.file(b+"/dir/sub/deep", 0, noise(seed+4, 9000))
		x.xattr(b+"/small", "blue")
		x.xattr(b+"/dir", "green")
		x.make(b+"/dir/link", volume.NewNode{Mode: record.TypeLink | 0o777, Target: "sub/deep"})
		x.make(b+"/dir/fifo", volume.NewNode{Mode: record.TypeFifo | 0o644})
	}
	// A map of two levels, and packs.
	for i := range uint64(40) {
		x.file("/aes/holes", i<<20+i*4096, noise(i, 4096))
	}
	x.link("/aes/other", "/aes/dir/other too")
	x.make("/none/gone", volume.NewNode{Mode: record.TypeFile | 0o644})
	x.must(x.v.Sync())
	x.older = x.dump()
	// What changes then. Nothing is written over, so that old records of a file say
	// nothing else about bytes than new ones.
	x.must(x.v.Unlink(x.paths["/none"], "gone"))
	delete(x.paths, "/none/gone")
	for i := range uint64(40) {
		x.file("/aes/holes", i<<20+512<<10, noise(i+50, 4096))
	}
	x.file("/kms/small", 1000, noise(7, 9000))
	x.xattr("/aes/small", "red")
	x.xattr("/none/dir", "black")
	x.make("/aes/dir/late", volume.NewNode{Mode: record.TypeDir | 0o711})
	x.must(x.v.Rename(x.paths["/none"], "other", x.paths["/none/dir"], "renamed", volume.RenameReplace))
	x.paths["/none/dir/renamed"] = x.paths["/none/other"]
	delete(x.paths, "/none/other")
	x.must(x.v.Sync())
}

func (x *site) make(path string, w volume.NewNode) {
	x.Helper()
	dir, name := filepath.Split(path)
	n, err := x.v.Create(context.Background(), x.paths[filepath.Clean(dir)], name, w)
	x.must(err)
	x.paths[path] = n.Ino
	x.v.Unpin(n)
}

// file writes into a file, which is made if it is not there.
func (x *site) file(path string, off uint64, contents []byte) {
	x.Helper()
	if _, ok := x.paths[path]; !ok {
		x.make(path, volume.NewNode{Mode: record.TypeFile | 0o660})
	}
	ino := x.paths[path]
	n, err := x.v.Inode(ino)
	x.must(err)
	defer x.v.Unpin(n)
	x.must(x.v.Open(context.Background(), n, kms.Drive()))
	x.must(x.v.Write(n, off, contents))
	all := x.bytes[ino]
	if need := int(off) + len(contents); len(all) < need {
		all = append(all, make([]byte, need-len(all))...)
	}
	copy(all[off:], contents)
	x.bytes[ino] = all
}

func (x *site) xattr(path, value string) {
	x.Helper()
	n, err := x.v.Inode(x.paths[path])
	x.must(err)
	defer x.v.Unpin(n)
	x.must(x.v.SetXattr(n, "user.color", []byte(value), volume.XattrAny))
}

func (x *site) link(old, path string) {
	x.Helper()
	n, err := x.v.Inode(x.paths[old])
	x.must(err)
	defer x.v.Unpin(n)
	dir, name := filepath.Split(path)
	x.must(x.v.Link(n, x.paths[filepath.Clean(dir)], name))
	x.paths[path] = n.Ino
}

// noise returns n bytes that look random and depend on the seed alone.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed))).Read(b) // never fails
	return b
}

// dump returns all records.
func (x *site) dump() raw {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	m := make(raw)
	x.must(view.Iterate(nil, []byte{0}, func(key, value []byte) error {
		m[string(key)] = bytes.Clone(value)
		return nil
	}))
	return m
}

func (x *site) sealer() *crypto.RecordSealer {
	x.Helper()
	s, err := crypto.NewRecordSealer(x.keys.Metadata, x.id)
	x.must(err)
	return s
}

func (x *site) seal(key, plain []byte) []byte { return x.sealer().Seal(nil, key, plain) }

// open returns the plaintext of a record of the good state.
func (x *site) open(key []byte) []byte {
	x.Helper()
	plain, err := x.sealer().Open(nil, key, x.good[string(key)])
	x.must(err)
	return plain
}

// tamper changes records behind the volume's back. Unless the head is among them
// it is made that of the commit, so that it does not give the change away.
func (x *site) tamper(changes raw) {
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
		b.Put(record.HeadKey(), x.headNow())
	}
	_, err := x.db.Commit(b)
	x.must(err)
}

// headNow is the head of the good state as of the next commit.
func (x *site) headNow() []byte {
	x.Helper()
	h, err := record.DecodeHead(x.open(record.HeadKey()))
	x.must(err)
	h.Version = x.db.NextVersion()
	h.Epoch = h.Version
	return x.seal(record.HeadKey(), h.Append(nil))
}

// restore brings the good state back.
func (x *site) restore() {
	x.Helper()
	changes := make(raw)
	now := x.dump()
	for key := range now {
		if _, ok := x.good[key]; !ok {
			changes[key] = nil
		}
	}
	for key, value := range x.good {
		if !bytes.Equal(now[key], value) {
			changes[key] = value
		}
	}
	changes[string(record.HeadKey())] = x.headNow()
	x.tamper(changes)
}

// check checks the store as it is.
func (x *site) check() *check.Report {
	x.Helper()
	view := x.db.View()
	defer view.Release()
	r, err := check.Run(context.Background(), check.Options{View: view, Keys: x.keys, ID: x.id, KMS: x.kms, Contents: check.VerifyContents})
	x.must(err)
	return r
}

// repair repairs the store. change may change the options.
func (x *site) repair(change func(*Options)) (*Report, error) {
	o := Options{DB: x.db, Keys: x.keys, ID: x.id, Mode: Carry, Keystore: 1, Header: 1}
	if change != nil {
		change(&o)
	}
	return Run(context.Background(), o)
}

// unreadable are the kinds of problems that a repair leaves, where they are about
// a part of a file: reading it is EIO.
func unreadable(p *check.Problem) bool {
	return p.Range != nil && slices.Contains([]check.Kind{check.Unreadable, check.StoreFailure, check.Map, check.Data, check.Contents}, p.Kind)
}

// wantRepaired checks that a check finds nothing but bytes that cannot be read.
func (x *site) wantRepaired(what string) {
	x.Helper()
	r := x.check()
	for i := range r.Problems {
		if !unreadable(&r.Problems[i]) {
			x.Errorf("%s: after the repair: %s: %s", what, r.Problems[i].Severity, r.Problems[i].String())
		}
	}
}

// wantContents checks that the repaired volume mounts, that nothing was changed
// that was not damaged, and that nothing reads as other bytes than it had. dirty
// are the inodes whose own records were damaged.
func (x *site) wantContents(what string, changes raw) {
	x.Helper()
	dirty, replayed := touched(changes, x.older)
	x.mount()
	defer x.unmount()
	for ino, want := range x.bytes {
		n, err := x.v.Inode(ino)
		if err != nil {
			if !dirty[ino] {
				x.Errorf("%s: inode %d: %v", what, ino, err)
			}
			continue
		}
		if !replayed[ino] {
			x.wantBytes(what, n, want, dirty[ino])
		}
		x.v.Unpin(n)
	}
	for path, ino := range x.paths {
		if x.pathTouched(path, changes, dirty) {
			continue
		}
		n, err := x.v.Resolve(path)
		if err != nil {
			x.Errorf("%s: %s: %v", what, path, err)
			continue
		}
		if n.Ino != ino {
			x.Errorf("%s: %s is inode %d, not %d", what, path, n.Ino, ino)
		}
		x.v.Unpin(n)
	}
}

// wantBytes reads a file, block by block if some may not be readable.
func (x *site) wantBytes(what string, n *volume.Inode, want []byte, mayFail bool) {
	x.Helper()
	if err := x.v.Open(context.Background(), n, kms.Drive()); err != nil {
		x.Errorf("%s: opening inode %d: %v", what, n.Ino, err)
		return
	}
	if size := n.Stat().Size; size != uint64(len(want)) {
		x.Errorf("%s: inode %d has %d bytes, not %d", what, n.Ino, size, len(want))
	}
	buf := make([]byte, 1<<20)
	if mayFail {
		buf = buf[:4096]
	}
	for off := 0; off < len(want); off += len(buf) {
		k, err := x.v.Read(n, buf, uint64(off))
		switch {
		case err != nil && mayFail && errors.Is(err, volume.ErrDamaged):
		case err != nil:
			x.Errorf("%s: inode %d at %d: %v", what, n.Ino, off, err)
			return
		case !bytes.Equal(buf[:k], want[off:min(off+len(buf), len(want))]):
			x.Errorf("%s: inode %d has other bytes at %d than it had", what, n.Ino, off)
			return
		}
	}
}

// touched returns the inodes whose own records change, and those of them whose
// inode record is put back.
func touched(changes, older raw) (dirty, replayed map[uint64]bool) {
	dirty, replayed = make(map[uint64]bool), make(map[uint64]bool)
	for key, value := range changes {
		k, err := record.ParseKey([]byte(key))
		if err != nil {
			continue
		}
		switch k.Kind {
		case record.KindInode, record.KindMap, record.KindData, record.KindPack, record.KindXattr, record.KindOrphan:
			dirty[k.ID] = true
		}
		if k.Kind == record.KindInode && value != nil && bytes.Equal(value, older[key]) {
			replayed[k.ID] = true
		}
	}
	return dirty, replayed
}

// pathTouched reports whether an entry or an inode on a path changes.
func (x *site) pathTouched(path string, changes raw, dirty map[uint64]bool) bool {
	names := crypto.NewNameHasher(x.keys.Names)
	at := uint64(record.RootInode)
	full := ""
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if name == "" {
			break
		}
		if _, ok := changes[string(record.EntryKey(at, names.Hash(at, []byte(name))))]; ok || dirty[at] {
			return true
		}
		full += "/" + name
		at = x.paths[full]
	}
	return dirty[at]
}
