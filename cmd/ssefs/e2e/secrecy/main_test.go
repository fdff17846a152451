// Package secrecy has the tests of what others get to see. A thief of the store finds in it no contents of encrypted buckets,
// no names, attributes or link targets of any, live or deleted, and no two files that share ciphertext. Other users and other
// processes of the same user get at neither files nor memory nor control sockets. Whoever takes a daemon over gets at nothing but its store.
package secrecy

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	drive.Main(m, map[string]drive.Helper{"older": withoutLandlock})
}

// scan calls see for every stretch of data in the files of a store, or beside one, with overlap bytes of the one before, so that nothing
// is cut in two unseen. Holes are left out.
func scan(t *testing.T, store string, overlap int, see func(file string, off int64, data []byte)) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(store, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != store {
			return nil // a daemon at work has removed it
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files++
		scanFile(t, p, overlap, see)
		return nil
	})
	expect.OK(t, err, "walk the store")
	if files == 0 {
		t.Fatalf("there are no files in %s", store)
	}
}

func scanFile(t *testing.T, p string, overlap int, see func(file string, off int64, data []byte)) {
	t.Helper()
	f, err := os.Open(p)
	if errors.Is(err, fs.ErrNotExist) {
		return // as above
	}
	expect.OK(t, err, "open %s", p)
	defer func() { expect.OK(t, f.Close(), "close %s", p) }()
	const stretch = 8 << 20
	for at := int64(0); ; {
		from, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return
		}
		expect.OK(t, err, "seek in %s", p)
		from = max(0, from-int64(overlap))
		b := make([]byte, stretch)
		n, err := f.ReadAt(b, from)
		if n == 0 {
			return
		}
		see(p, from, b[:n])
		if err != nil {
			return // the end: a read cut short says io.EOF
		}
		at = from + int64(n) - int64(overlap)
	}
}

// count returns how often each of the markers occurs in the store, and where one does last.
func count(t *testing.T, store string, markers map[string]string) (found map[string]int, where map[string]string) {
	t.Helper()
	found, where = map[string]int{}, map[string]string{}
	scan(t, store, 64, func(file string, _ int64, data []byte) {
		for what, marker := range markers {
			if n := bytes.Count(data, []byte(marker)); n > 0 {
				found[what] += n
				where[what] = file
			}
		}
	})
	return found, where
}
