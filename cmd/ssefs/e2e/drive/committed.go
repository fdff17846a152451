package drive

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// markerBucket is the bucket that AwaitCommit writes to.
	markerBucket = "committed-markers"
	// gapAge is more than the time for which the daemon leaves a file out of its own commits, after a write that left
	// a gap before it.
	gapAge = 2500 * time.Millisecond
)

// AwaitCommit waits until the daemon has committed, by itself, all that it had before the call. Contents that only the
// kernel has are not among that.
//
// It does not guess how long that takes: it writes a marker into a bucket without encryption, and looks for it in the
// database. A second one shows that the commit of the first was over, for commits follow one another.
func (d *Drive) AwaitCommit() {
	d.t.Helper()
	time.Sleep(gapAge)
	dir := d.Path(markerBucket)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		d.t.Fatalf("make the bucket for markers: %v", err)
	}
	if err := unix.Setxattr(dir, "user.sse.policy", []byte("none"), 0); err != nil {
		d.t.Fatalf("take encryption off the bucket for markers: %v", err)
	}
	for range 2 {
		raw := make([]byte, 16)
		_, _ = rand.Read(raw) // never fails
		marker := []byte(hex.EncodeToString(raw))
		if err := os.WriteFile(filepath.Join(dir, string(marker[:8])), marker, 0o600); err != nil {
			d.t.Fatalf("write a marker: %v", err)
		}
		for deadline := time.Now().Add(mountLimit); !d.stores(marker); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				d.t.Fatalf("what was written %v ago is not committed", mountLimit)
			}
		}
	}
}

// stores reports whether a marker lies in the database. Records as small as a marker are in its logs and tables.
func (d *Drive) stores(marker []byte) bool {
	d.t.Helper()
	dir := filepath.Join(d.store, "db")
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.t.Fatalf("list the database: %v", err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext != ".mem" && ext != ".sst" {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it can be removed meanwhile
			d.t.Fatalf("search the database: %v", err)
		}
		if bytes.Contains(b, marker) {
			return true
		}
	}
	return false
}
