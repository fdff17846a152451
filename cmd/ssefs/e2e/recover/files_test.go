package recover

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
)

// harm is one way to damage a file; nil contents mean that it is removed.
type harm struct {
	name string
	do   func(s *site, path string, b []byte) []byte
}

func harms() []harm {
	list := []harm{
		{"removed", func(*site, string, []byte) []byte { return nil }},
		{"emptied", func(*site, string, []byte) []byte { return []byte{} }},
		{"of garbage", func(_ *site, _ string, b []byte) []byte { return expect.Random(uint64(len(b)), len(b)) }},
		{"replaced by that of another store", (*site).foreign},
	}
	for _, part := range []int{1, 30, 60, 99} {
		list = append(list, harm{fmt.Sprintf("cut to %d%%", part), func(_ *site, _ string, b []byte) []byte { return b[:len(b)*part/100] }})
	}
	for _, at := range []int{0, 25, 50, 75, 100} {
		list = append(list, harm{fmt.Sprintf("with a page of zeros at %d%%", at), func(_ *site, _ string, b []byte) []byte {
			begin := max(0, len(b)-4096) * at / 100
			clear(b[begin:min(len(b), begin+4096)])
			return b
		}})
		list = append(list, harm{fmt.Sprintf("with a bit flipped at %d%%", at), func(_ *site, _ string, b []byte) []byte {
			b[(len(b)-1)*at/100] ^= 4
			return b
		}})
	}
	return append(list, harm{"cut by a byte", func(_ *site, _ string, b []byte) []byte { return b[:len(b)-1] }})
}

// foreign returns the file of the same name as it was after the first use of the store, if there was one.
func (s *site) foreign(path string, b []byte) []byte {
	name := filepath.Base(path)
	other, err := filepath.Glob(filepath.Join(s.kept, "db", "*"+filepath.Ext(name)))
	expect.OK(s.t, err, "list the store")
	for _, o := range other {
		if filepath.Base(o) != name {
			return expect.Read(s.t, o)
		}
	}
	return append([]byte("something else"), b...)
}

// databaseFiles returns the files of the store, besides those that say nothing.
func (s *site) databaseFiles() []string {
	s.t.Helper()
	var files []string
	for _, pattern := range []string{"db/*", "head", "keystore.*", "journal.*"} {
		found, err := filepath.Glob(filepath.Join(s.store, pattern))
		expect.OK(s.t, err, "list the store")
		for _, path := range found {
			info, err := os.Stat(path)
			expect.OK(s.t, err, "stat")
			if info.Size() > 0 && filepath.Base(path) != "LOCK" {
				files = append(files, path)
			}
		}
	}
	return files
}

// TestDamagedFiles damages each file of the store. Whatever that does, a salvage gets out what is left and changes
// nothing, a check tells or cannot begin, a repair leaves a drive that mounts, and the drive shows nothing wrong.
func TestDamagedFiles(t *testing.T) {
	s := newSite(t)
	s.crash()
	for _, c := range s.choose() {
		s.renew()
		what := strings.TrimPrefix(c.path, s.store+"/") + " " + c.harm.name
		b := c.harm.do(s, c.path, expect.Read(t, c.path))
		if b == nil {
			expect.OK(t, os.Remove(c.path), "remove")
		} else {
			expect.OK(t, os.WriteFile(c.path, b, 0o600), "damage %s", what)
		}
		s.lossy = filepath.Ext(c.path) == ".mem" || strings.Contains(c.path, "journal")
		s.ordeal(what)
		if t.Failed() {
			t.Fatalf("with %s", what)
		}
	}
}

// crash makes the store one whose daemon was killed, so that there are a write-ahead log and a journal.
func (s *site) crash() {
	s.t.Helper()
	d := drive.New(s.t, drive.Options{Store: s.store, KeyFile: s.key, Private: true})
	d.Damaged()
	point := s.point
	s.point = d.Mountpoint()
	sync := func() {
		if r := drive.CLI(s.t, "sync", d.Mountpoint()); r.Code != 0 {
			s.t.Fatalf("sync: exit %d: %s", r.Code, r.Stderr)
		}
	}
	s.fill(3)
	sync()
	for n := range uint64(5) { // small changes, for the journal
		s.write(fmt.Sprintf("aes/last%d", n), expect.Random(n, 300))
		sync()
	}
	s.point = point
	d.Kill()
	expect.OK(s.t, os.RemoveAll(s.kept), "remove the older state")
	drive.Must(s.t, "cp", "-a", "--sparse=always", s.store, s.kept)
}

type chosen struct {
	path string
	harm harm
}

// choose returns which damages to make: all, or some of them that are the same each time.
func (s *site) choose() []chosen {
	var all []chosen
	for _, path := range s.databaseFiles() {
		for _, h := range harms() {
			all = append(all, chosen{path, h})
		}
	}
	if part := os.Getenv("SSEFS_RECOVER_FILES"); part != "" {
		return slices.DeleteFunc(all, func(c chosen) bool { return !strings.Contains(c.path, part) })
	}
	random(1).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	left := map[string]int{".sst": 2, ".mem": 1, ".vlog": 1, "MANIFEST": 1, "journal": 1, "keystore": 1}
	return slices.DeleteFunc(all, func(c chosen) bool {
		kind := filepath.Base(c.path)
		if ext := filepath.Ext(kind); left[ext] > 0 {
			kind = ext
		} else {
			kind = strings.TrimSuffix(kind, ext)
		}
		left[kind]--
		return left[kind] < 0
	})
}

// ordeal has all commands deal with the store as it is.
func (s *site) ordeal(what string) {
	s.t.Helper()
	salvaged := s.salvage(what)
	check := s.fsck("--data")
	if check.Code == 0 && salvaged == 4 {
		s.t.Logf("%s: fsck finds nothing, the salvage does", what)
	}
	mounted := s.mount()
	s.t.Logf("%s: salvage %d, fsck %d %.150q, mount %d %.300s", what, salvaged, check.Code, check.Stderr, mounted.Code, mounted.Stderr)
	if mounted.Code == 0 {
		s.judgeDrive(what)
		s.unmount()
	} else {
		drive.OneLine(s.t, mounted)
		expect.Equal(s.t, mounted.Code, 7, "exit of a mount with %s: %s", what, mounted.Stderr)
	}
	repaired := s.fsck("--repair", "--data")
	if !slices.Contains([]int{0, 1, 4}, repaired.Code) {
		s.t.Errorf("%s: repair: exit %d: %s", what, repaired.Code, repaired.Stderr)
	}
	if repaired.Stdout == "" {
		drive.OneLine(s.t, repaired) // the database cannot be opened
		return
	}
	again := s.fsck("--data")
	if repaired.Code != 4 && again.Code != 0 || !bytes.Contains([]byte("04"), []byte{byte('0' + again.Code)}) {
		s.t.Errorf("%s: a repair ended with %d, and then a check with %d:\n%s%s", what, repaired.Code, again.Code, repaired.Stdout, again.Stdout)
	}
	for line := range strings.Lines(again.Stdout) {
		if strings.HasPrefix(line, "error: ") && !strings.Contains(line, " [bytes ") && !strings.Contains(line, "(keystore)") && !strings.Contains(line, "(header)") {
			s.t.Errorf("%s: left after the repair: %s", what, line)
		}
	}
	if mounted := s.mount(); mounted.Code == 0 {
		s.judgeDrive(what + ", repaired")
		s.unmount()
	} else if !strings.Contains(mounted.Stderr, "key") {
		s.t.Errorf("%s: the repaired store does not mount: %s", what, mounted.Stderr)
	}
}
