// Package recover has the tests of what a user does with a damaged store: fsck finds and repairs, a salvage copies out
// what is left, and everything else says what the ways out are.
//
// The damage is done to the files of the store, as a disk, a bad copy or a careless hand does it. Each test checks that no
// command crashes or hangs, and that no file ever reads as bytes that it never had. SSEFS_RECOVER_FILES, a part of names such
// as ".sst", has TestDamagedFiles make every damage to every file of such a name.
package recover

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	drive.Main(m, nil)
}

// site is a store, what was ever in it, and the paths that go with it.
type site struct {
	t                       *testing.T
	base, store, point, key string
	kept                    string // the store in good order
	files                   map[string][][]byte
	// lossy says that files may be gone without anything that tells: after a repair, or when the write-ahead log or
	// the journal is gone, which leaves an older state of the store.
	lossy bool
}

// newSite makes a store that was mounted a few times, so that its database has several files of each kind.
func newSite(t *testing.T) *site {
	t.Helper()
	base := drive.Dir(t)
	s := &site{t: t, base: base, store: base + "/store", point: base + "/drive", key: base + "/key", kept: base + "/kept",
		files: make(map[string][][]byte)}
	expect.OK(t, os.Mkdir(s.point, 0o755), "make the mount point")
	t.Cleanup(func() { drive.NothingLeft(t, s.store, s.point) })
	for round := range 3 {
		s.mustMount("--create")
		s.fill(round)
		s.unmount()
	}
	expect.OK(t, os.Rename(s.store, s.kept), "keep the store")
	s.renew()
	return s
}

// fill writes files; some anew in each round, some over those of the one before.
func (s *site) fill(round int) {
	for i, bucket := range []string{"aes", "none"} {
		dir := filepath.Join(s.point, bucket, fmt.Sprintf("dir%d", round))
		expect.OK(s.t, os.MkdirAll(dir, 0o755), "make directories")
		if round == 0 && bucket == "none" {
			expect.OK(s.t, unix.Setxattr(filepath.Join(s.point, bucket), "user.sse.policy", []byte("none"), 0), "set the policy")
		}
		seed := uint64(1000*round + 100*i)
		for n := range uint64(12) {
			s.write(filepath.Join(bucket, fmt.Sprintf("dir%d", round), fmt.Sprintf("file%d", n)), expect.Random(seed+n, 700+int(n)*997))
		}
		s.write(filepath.Join(bucket, fmt.Sprintf("big%d", round)), expect.Random(seed+50, 600_000))
		s.write(filepath.Join(bucket, "again"), expect.Random(seed+51, 30_000))
		expect.OK(s.t, unix.Setxattr(dir, "user.round", []byte{byte(round)}, 0), "set an xattr")
	}
}

func (s *site) write(path string, contents []byte) {
	s.t.Helper()
	expect.OK(s.t, os.WriteFile(filepath.Join(s.point, path), contents, 0o640), "write %s", path)
	s.files[path] = append(s.files[path], contents)
}

// renew puts the store back in good order.
func (s *site) renew() {
	s.t.Helper()
	expect.OK(s.t, os.RemoveAll(s.store), "remove the store")
	drive.Must(s.t, "cp", "-a", "--sparse=always", s.kept, s.store)
}

func (s *site) mount(extra ...string) drive.Result {
	s.t.Helper()
	args := slices.Concat([]string{"mount", s.store, s.point, "--key-file", s.key, "--log-file", s.base + "/log"}, extra)
	return s.sane(drive.CLI(s.t, args...), "mount")
}

func (s *site) mustMount(extra ...string) {
	s.t.Helper()
	if r := s.mount(extra...); r.Code != 0 {
		s.t.Fatalf("mount: exit %d: %s", r.Code, r.Stderr)
	}
}

func (s *site) unmount() {
	s.t.Helper()
	if r := s.sane(drive.CLI(s.t, "umount", s.point), "umount"); r.Code != 0 {
		// A store whose files are damaged cannot always be closed.
		s.t.Logf("umount: exit %d: %s", r.Code, r.Stderr)
	}
}

// fsck runs a check with its data.
func (s *site) fsck(extra ...string) drive.Result {
	s.t.Helper()
	args := slices.Concat([]string{"fsck", s.store, "--key-file", s.key}, extra)
	return s.sane(drive.CLI(s.t, args...), strings.Join(args[:1], " "))
}

// sane checks that a command ended as commands do.
func (s *site) sane(r drive.Result, what string) drive.Result {
	s.t.Helper()
	for _, sign := range []string{"panic", "goroutine ", "runtime error", "SIG"} {
		if strings.Contains(r.Stderr+r.Stdout, sign) {
			s.t.Errorf("%s crashed:\n%s%s", what, r.Stdout, r.Stderr)
		}
	}
	if r.Code < 0 || r.Code > 32 {
		s.t.Errorf("%s: exit %d: %s", what, r.Code, r.Stderr)
	}
	return r
}

// loss is as a salvage reports it.
type loss struct {
	Kind, Path, Message string
	Offset, Length      uint64
}

// salvage salvages the store into a new directory and checks what comes out.
func (s *site) salvage(what string) (code int) {
	s.t.Helper()
	out := s.base + "/out"
	expect.OK(s.t, os.RemoveAll(out), "remove the old copy")
	before := digest(s.t, s.store)
	r := s.sane(drive.CLI(s.t, "fsck", s.store, "--key-file", s.key, "--salvage", out, "--json"), "salvage")
	if after := digest(s.t, s.store); after != before {
		s.t.Errorf("%s: the salvage changed the store", what)
	}
	if r.Code != 0 && r.Code != 4 {
		return r.Code
	}
	if r.Stdout == "" {
		drive.OneLine(s.t, r) // it could not even begin
		return r.Code
	}
	var report struct{ Losses []loss }
	expect.OK(s.t, json.Unmarshal([]byte(r.Stdout), &report), "%s: the report of the salvage %q", what, r.Stderr)
	if (r.Code == 0) != (len(report.Losses) == 0) {
		s.t.Errorf("%s: exit %d with %d losses", what, r.Code, len(report.Losses))
	}
	s.judge(what, out, report.Losses)
	return r.Code
}

// judge compares a copy with what the store had: nothing but what a file had once, or holes where the report says so.
func (s *site) judge(what, out string, losses []loss) {
	s.t.Helper()
	holes := make(map[string][]loss)
	excused := len(losses) > 0 || s.lossy
	for _, l := range losses {
		if l.Length > 0 {
			holes[l.Path] = append(holes[l.Path], l)
		}
	}
	for path, versions := range s.files {
		got, err := os.ReadFile(filepath.Join(out, path))
		if err != nil {
			if !excused || !errors.Is(err, fs.ErrNotExist) {
				s.t.Errorf("%s: %s: %v", what, path, err)
			}
			continue
		}
		if !slices.ContainsFunc(versions, func(want []byte) bool { return sameBut(got, want, holes[path]) }) {
			s.t.Errorf("%s: %s has bytes in the copy that it never had (%d bytes, holes %v)", what, path, len(got), holes[path])
		}
		if !excused && !bytes.Equal(got, versions[len(versions)-1]) {
			s.t.Errorf("%s: %s is not the newest", what, path)
		}
	}
}

// sameBut reports whether two contents are the same but for holes, which are zeros in the first.
func sameBut(got, want []byte, holes []loss) bool {
	if len(got) != len(want) {
		return false
	}
	want = bytes.Clone(want)
	for _, h := range holes {
		clear(want[h.Offset : h.Offset+h.Length])
	}
	return bytes.Equal(got, want)
}

// judgeDrive compares the mounted drive with what it had: what can be read is right.
func (s *site) judgeDrive(what string) {
	s.t.Helper()
	for path, versions := range s.files {
		got, err := os.ReadFile(filepath.Join(s.point, path))
		switch {
		case errors.Is(err, unix.EIO), errors.Is(err, fs.ErrNotExist):
		case err != nil:
			s.t.Errorf("%s: %s: %v", what, path, err)
		case !slices.ContainsFunc(versions, func(want []byte) bool { return bytes.Equal(got, want) }):
			s.t.Errorf("%s: %s has bytes that it never had", what, path)
		}
	}
}

// digest is a hash of all files below a directory.
func digest(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		sum := sha256.Sum256(b)
		_, _ = fmt.Fprintf(h, "%s %x\n", path, sum)
		return err
	})
	expect.OK(t, err, "read the store")
	return fmt.Sprintf("%x", h.Sum(nil))
}

// random returns a source of damage.
func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 99)) }
