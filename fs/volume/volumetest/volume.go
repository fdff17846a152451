// Package volumetest is for tests of what works on a volume's records without the
// engine: it makes volumes with the engine, in temporary directories, and changes
// their records behind its back.
package volumetest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"ssefs/crypto"
	"ssefs/fs/volume"
	"ssefs/kms"
	"ssefs/store"
)

// Volume is a volume in a temporary directory. What fails ends the test.
type Volume struct {
	testing.TB
	Dir  *store.Dir
	DB   *store.DB
	ID   crypto.VolumeID
	Keys *crypto.VolumeKeys
	KMS  *kms.Service
	V    *volume.Volume // nil while it is not mounted
}

// New makes an empty volume and mounts it. It lives as long as the test.
func New(t testing.TB) *Volume {
	t.Helper()
	x := &Volume{TB: t, ID: crypto.VolumeID{1, 2, 3}}
	root, err := crypto.NewKey()
	x.Must(err)
	t.Cleanup(root.Wipe)
	x.Keys, err = crypto.DeriveVolumeKeys(root, x.ID)
	x.Must(err)
	t.Cleanup(x.Keys.Wipe)
	x.Dir, err = store.CreateDir(filepath.Join(t.TempDir(), "store"))
	x.Must(err)
	t.Cleanup(func() { x.Must(x.Dir.Close()) })
	x.DB, err = x.Dir.OpenDB(store.Options{MemTableSize: 16 << 20, ValueLogFileSize: 32 << 20})
	x.Must(err)
	t.Cleanup(func() { x.Must(x.DB.Close()) })
	settings := volume.Settings{DefaultPolicy: crypto.Policy{Algorithm: crypto.AlgorithmAES256}, Region: "local"}
	x.Must(volume.Create(x.Options(), settings, 0, 0))
	x.Mount()
	t.Cleanup(x.Unmount)
	x.KMS, err = kms.Create(kms.Options{
		Files: x.Dir, Key: x.Keys.Keystore, Volume: x.ID,
		RecordGeneration: func(g uint64) error { return x.V.RecordKeystore(g) },
	})
	x.Must(err)
	t.Cleanup(x.KMS.Close)
	x.V.SetKeyService(x.KMS)
	return x
}

// Must ends the test if there is an error.
func (x *Volume) Must(err error) {
	x.Helper()
	if err != nil {
		x.Fatal(err)
	}
}

// Options are what the volume is opened with.
func (x *Volume) Options() volume.Options {
	return volume.Options{DB: x.DB, Dir: x.Dir, Keys: x.Keys, ID: x.ID}
}

// Mount opens the volume.
func (x *Volume) Mount() {
	x.Helper()
	v, err := volume.Open(x.Options())
	x.Must(err)
	if x.KMS != nil {
		v.SetKeyService(x.KMS)
	}
	x.V = v
}

// Unmount closes the volume if it is open.
func (x *Volume) Unmount() {
	x.Helper()
	if x.V != nil {
		x.Must(x.V.Close())
		x.V = nil
	}
}

// Sync makes durable what was done to the volume.
func (x *Volume) Sync() { x.Helper(); x.Must(x.V.Sync()) }

// Resolve returns what is at a path, pinned.
func (x *Volume) Resolve(path string) *volume.Inode {
	x.Helper()
	n, err := x.V.Resolve(path)
	if err != nil {
		x.Fatalf("%s: %v", path, err)
	}
	return n
}

// Inode returns the inode number of a path.
func (x *Volume) Inode(path string) uint64 {
	x.Helper()
	n := x.Resolve(path)
	defer x.V.Unpin(n)
	return n.Ino
}

// Create makes something at a path and returns it pinned.
func (x *Volume) Create(path string, w volume.NewNode) *volume.Inode {
	x.Helper()
	dir, name := filepath.Split(path)
	n, err := x.V.Create(context.Background(), x.Inode(dir), name, w)
	if err != nil {
		x.Fatalf("create %s: %v", path, err)
	}
	return n
}

// Link gives what is at the path old another name.
func (x *Volume) Link(old, path string) {
	x.Helper()
	n := x.Resolve(old)
	defer x.V.Unpin(n)
	dir, name := filepath.Split(path)
	x.Must(x.V.Link(n, x.Inode(dir), name))
}

// Write writes into a file, opening it.
func (x *Volume) Write(n *volume.Inode, off uint64, contents []byte) {
	x.Helper()
	x.Must(x.V.Open(context.Background(), n, kms.Drive()))
	for len(contents) > 0 {
		k := min(len(contents), 1<<20)
		x.Must(x.V.Write(n, off, contents[:k]))
		off, contents = off+uint64(k), contents[k:]
	}
}

// WriteAt writes into the file at a path.
func (x *Volume) WriteAt(path string, off uint64, contents []byte) {
	x.Helper()
	n := x.Resolve(path)
	defer x.V.Unpin(n)
	x.Write(n, off, contents)
}

// SetXattr sets an extended attribute of what is at a path.
func (x *Volume) SetXattr(path, name, value string) {
	x.Helper()
	n := x.Resolve(path)
	defer x.V.Unpin(n)
	x.Must(x.V.SetXattr(n, name, []byte(value), volume.XattrAny))
}

// Noise returns n bytes that look random and depend on the seed alone.
func Noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, seed))).Read(b) // never fails
	return b
}
