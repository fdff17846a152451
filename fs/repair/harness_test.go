package repair

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/check"
	"ssefs/fs/record"
	"ssefs/fs/volume"
	"ssefs/fs/volume/volumetest"
	"ssefs/kms"
)

// raw is records as they are stored, and changes of them.
type raw = volumetest.Records

// site is a volume that is damaged and repaired again and again, from one state.
type site struct {
	*volumetest.Volume
	good  raw               // all records of the state
	older raw               // of an earlier one
	paths map[string]uint64 // what is where
	bytes map[uint64][]byte // contents of regular files
}

// newSite makes a volume with something of everything.
func newSite(t testing.TB) *site {
	t.Helper()
	x := &site{Volume: volumetest.New(t), paths: map[string]uint64{"/": record.RootInode}, bytes: make(map[uint64][]byte)}
	x.fill()
	x.Unmount()
	x.good = x.Dump(nil)
	return x
}

// fill makes the volume's contents, and takes down an earlier state on the way.
func (x *site) fill() {
	for i, b := range []string{"aes", "none", "kms"} {
		p, err := crypto.ParsePolicy([]string{"AES256", "none", "KMS"}[i])
		x.Must(err)
		x.make("/"+b, volume.NewNode{Mode: record.TypeDir | 0o755, Policy: &p, UID: 100, GID: 200})
		b, seed := "/"+b, uint64(100*i)
		x.make(b+"/dir", volume.NewNode{Mode: record.TypeDir | 0o750})
		x.make(b+"/dir/sub", volume.NewNode{Mode: record.TypeDir | 0o700})
		x.make(b+"/dir/none", volume.NewNode{Mode: record.TypeDir | 0o700})
		x.file(b+"/small", 0, volumetest.Noise(seed+1, 1000))
		x.file(b+"/other", 0, volumetest.Noise(seed+2, 5000))
		x.file(b+"/dir/big", 0, volumetest.Noise(seed+3, 270_077))
		x.file(b+"/dir/sub/deep", 0, volumetest.Noise(seed+4, 9000))
		x.SetXattr(b+"/small", "user.color", "blue")
		x.SetXattr(b+"/dir", "user.color", "green")
		x.make(b+"/dir/link", volume.NewNode{Mode: record.TypeLink | 0o777, Target: "sub/deep"})
		x.make(b+"/dir/fifo", volume.NewNode{Mode: record.TypeFifo | 0o644})
	}
	// A map of two levels, and packs.
	for i := range uint64(40) {
		x.file("/aes/holes", i<<20+i*4096, volumetest.Noise(i, 4096))
	}
	x.Link("/aes/other", "/aes/dir/other too")
	x.paths["/aes/dir/other too"] = x.paths["/aes/other"]
	x.make("/none/gone", volume.NewNode{Mode: record.TypeFile | 0o644})
	x.Sync()
	x.older = x.Dump(nil)
	// What changes then. Nothing is written over, so that old records of a file say
	// nothing else about bytes than new ones.
	x.Must(x.V.Unlink(x.paths["/none"], "gone"))
	delete(x.paths, "/none/gone")
	for i := range uint64(40) {
		x.file("/aes/holes", i<<20+512<<10, volumetest.Noise(i+50, 4096))
	}
	x.file("/kms/small", 1000, volumetest.Noise(7, 9000))
	x.SetXattr("/aes/small", "user.color", "red")
	x.SetXattr("/none/dir", "user.color", "black")
	x.make("/aes/dir/late", volume.NewNode{Mode: record.TypeDir | 0o711})
	x.Must(x.V.Rename(x.paths["/none"], "other", x.paths["/none/dir"], "renamed", volume.RenameReplace))
	x.paths["/none/dir/renamed"] = x.paths["/none/other"]
	delete(x.paths, "/none/other")
	x.Sync()
}

func (x *site) make(path string, w volume.NewNode) {
	x.Helper()
	n := x.Create(path, w)
	x.paths[path] = n.Ino
	x.V.Unpin(n)
}

// file writes into a file, which is made if it is not there.
func (x *site) file(path string, off uint64, contents []byte) {
	x.Helper()
	if _, ok := x.paths[path]; !ok {
		x.make(path, volume.NewNode{Mode: record.TypeFile | 0o660})
	}
	ino := x.paths[path]
	x.WriteAt(path, off, contents)
	all := x.bytes[ino]
	if need := int(off) + len(contents); len(all) < need {
		all = append(all, make([]byte, need-len(all))...)
	}
	copy(all[off:], contents)
	x.bytes[ino] = all
}

// open returns the plaintext of a record of the good state.
func (x *site) open(key []byte) []byte { x.Helper(); return x.Open(key, x.good[string(key)]) }

// head is the head of the good state.
func (x *site) head() *record.Head {
	x.Helper()
	h, err := record.DecodeHead(x.open(record.HeadKey()))
	x.Must(err)
	return h
}

// tamper changes records behind the volume's back.
func (x *site) tamper(changes raw) { x.Helper(); x.Tamper(changes, x.head) }

// restore brings the good state back.
func (x *site) restore() {
	x.Helper()
	changes := make(raw)
	now := x.Dump(nil)
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
	changes[string(record.HeadKey())] = x.NextHead(x.head())
	x.Commit(changes)
}

// check checks the store as it is.
func (x *site) check() *check.Report {
	x.Helper()
	view := x.DB.View()
	defer view.Release()
	r, err := check.Run(context.Background(), check.Options{View: view, Keys: x.Keys, ID: x.ID, KMS: x.KMS, Contents: check.VerifyContents})
	x.Must(err)
	return r
}

// repair repairs the store. change may change the options.
func (x *site) repair(change func(*Options)) (*Report, error) {
	o := Options{DB: x.DB, Keys: x.Keys, ID: x.ID, Mode: Carry, Keystore: 1, Header: 1}
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
	x.Mount()
	defer x.Unmount()
	for ino, want := range x.bytes {
		n, err := x.V.Inode(ino)
		if err != nil {
			if !dirty[ino] {
				x.Errorf("%s: inode %d: %v", what, ino, err)
			}
			continue
		}
		if !replayed[ino] {
			x.wantBytes(what, n, want, dirty[ino])
		}
		x.V.Unpin(n)
	}
	for path, ino := range x.paths {
		if x.pathTouched(path, changes, dirty) {
			continue
		}
		n, err := x.V.Resolve(path)
		if err != nil {
			x.Errorf("%s: %s: %v", what, path, err)
			continue
		}
		if n.Ino != ino {
			x.Errorf("%s: %s is inode %d, not %d", what, path, n.Ino, ino)
		}
		x.V.Unpin(n)
	}
}

// wantBytes reads a file, block by block if some may not be readable.
func (x *site) wantBytes(what string, n *volume.Inode, want []byte, mayFail bool) {
	x.Helper()
	if err := x.V.Open(context.Background(), n, kms.Drive()); err != nil {
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
		k, err := x.V.Read(n, buf, uint64(off))
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
	at := uint64(record.RootInode)
	full := ""
	for _, name := range strings.Split(strings.Trim(path, "/"), "/") {
		if name == "" {
			break
		}
		if _, ok := changes[string(x.EntryKey(at, name))]; ok || dirty[at] {
			return true
		}
		full += "/" + name
		at = x.paths[full]
	}
	return dirty[at]
}
