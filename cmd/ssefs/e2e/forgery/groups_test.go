package forgery

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"

	"golang.org/x/sys/unix"
)

// group is an attack on whole files, directories or buckets: on all of their records together.
type group struct {
	name   string
	forge  func(s *site, f *forger)
	reads  string   // a path that reading has to refuse
	old    string   // what is below this path may be as it was once
	fsck   []string // paths that fsck has to name
	refuse bool     // the store may not be mounted
}

const (
	groupDir  = "/AES256/group"
	groupFile = groupDir + "/file"
	groupSub  = groupDir + "/sub"
)

// groupFiles makes what groups are aimed at, and alterGroups changes it.
func groupFiles(t testing.TB, d *drive.Drive) {
	t.Helper()
	expect.Mkdir(t, d.Path("gone"))
	expect.Mkdir(t, d.Path(groupDir))
	scattered(t, d.Path(groupFile))
	recolor(t, d.Path(groupFile))
	expect.Mkdir(t, d.Path(groupSub))
	for _, name := range []string{"one", "two", "three"} {
		small(t, d.Path(groupSub, name))
	}
	expect.Mkdir(t, d.Path("KMS", "later"))
}

func alterGroups(t testing.TB, d *drive.Drive) {
	t.Helper()
	overwrite(t, d.Path(groupFile))
	expect.SetXattr(t, d.Path(groupFile), "user.color", "green")
	small(t, d.Path(groupSub, "four"))
	unlink(t, d.Path(groupSub, "one"))
	longer(t, d.Path(groupSub, "two"))
	rename(t, d.Path(groupSub, "three"))
	small(t, d.Path("KMS", "later", "new"))
	expect.OK(t, unix.Rmdir(d.Path("gone")), "remove a bucket")
	d.MustCLI("kms", "create")
	d.MustCLI("key", "add", "--new-key-file", d.KeyFile()+".new")
	d.Remount("--default-policy", "none")
}

// groups are all of them. A path in fsck that ends in a colon and a kind is a problem of that kind.
func groups() []group {
	ino := func(st state, path string) uint64 { return st.ino(path) }
	below := func(st state, dir string) []uint64 {
		var all []uint64
		for path, n := range st {
			if within(path, dir) {
				all = append(all, n.ino)
			}
		}
		return all
	}
	allOf := func(s *site, f *forger, bucket string) []string {
		keys := []string{keyOf(record.KindBucket, ino(s.is, bucket))}
		for _, i := range append(below(s.is, bucket), below(s.was, bucket)...) {
			keys = append(keys, owned(f.now, i)...)
			keys = append(keys, owned(f.then, i)...)
		}
		return keys
	}
	putBack := func(f *forger, keys []string) {
		for _, key := range keys {
			if r, ok := f.then[key]; ok {
				f.changes.Put(key, r.Value)
			} else {
				f.changes.Remove(key)
			}
		}
	}
	return []group{
		{name: "file rolled back", old: groupFile, fsck: []string{"/AES256:inode-set"},
			forge: func(s *site, f *forger) { f.rollBack(ino(s.is, groupFile)) }},
		{name: "file removed", reads: groupFile, fsck: []string{groupFile},
			forge: func(s *site, f *forger) { f.remove(ino(s.is, groupFile)) }},
		{name: "file rolled back but for its xattrs", reads: groupFile, old: groupFile, fsck: []string{groupFile},
			forge: func(s *site, f *forger) {
				f.rollBack(ino(s.is, groupFile))
				delete(f.changes, keyOf(record.KindXattr, ino(s.is, groupFile)))
			}},
		{name: "file rolled back but for its map", reads: groupFile, old: groupFile, fsck: []string{groupFile},
			forge: func(s *site, f *forger) {
				f.rollBack(ino(s.is, groupFile))
				for _, key := range f.now.Keys(keyOf(record.KindMap, ino(s.is, groupFile))) {
					delete(f.changes, key)
				}
			}},
		{name: "map rolled back", reads: groupFile, fsck: []string{groupFile},
			forge: func(s *site, f *forger) { putBack(f, f.then.Keys(keyOf(record.KindMap, ino(s.is, groupFile)))) }},
		{name: "directory's entries rolled back", reads: groupSub, old: groupSub, fsck: []string{groupSub + ":entry-set"},
			forge: func(s *site, f *forger) {
				prefix := keyOf(record.KindEntry, ino(s.is, groupSub))
				putBack(f, append(f.now.Keys(prefix), f.then.Keys(prefix)...))
			}},
		{name: "directory rolled back", old: groupSub, fsck: []string{"/AES256:inode-set"},
			forge: func(s *site, f *forger) {
				f.rollBack(append(below(s.is, groupSub), below(s.was, groupSub)...)...)
			}},
		{name: "directory removed", reads: groupSub, fsck: []string{groupSub},
			forge: func(s *site, f *forger) { f.remove(below(s.is, groupSub)...) }},
		{name: "directory removed with its entry", reads: groupDir, old: groupDir, fsck: []string{groupDir + ":entry-set"},
			forge: func(s *site, f *forger) {
				f.remove(below(s.is, groupSub)...)
				// The attacker does not know which entry is the one: all go.
				for _, key := range f.now.Keys(keyOf(record.KindEntry, ino(s.is, groupDir))) {
					f.changes.Remove(key)
				}
			}},
		{name: "inodes of a bucket rolled back", old: "/KMS", fsck: []string{"/KMS:inode-set"},
			forge: func(s *site, f *forger) { putBack(f, allOf(s, f, "/KMS")[1:]) }},
		{name: "bucket rolled back", refuse: true, fsck: []string{":bucket-set"},
			forge: func(s *site, f *forger) { putBack(f, allOf(s, f, "/KMS")) }},
		{name: "bucket removed", refuse: true, fsck: []string{":bucket-set"},
			forge: func(s *site, f *forger) {
				for _, key := range allOf(s, f, "/KMS") {
					f.changes.Remove(key)
				}
			}},
		{name: "bucket that was removed put back", refuse: true, fsck: []string{":bucket-set"},
			forge: func(s *site, f *forger) {
				key := keyOf(record.KindBucket, ino(s.was, "/gone"))
				f.put(key, f.then[key].Value)
				f.rollBack(below(s.was, "/gone")...)
			}},
		{name: "head alone put back", refuse: true, fsck: []string{":head"},
			forge: func(_ *site, f *forger) { putBack(f, []string{string(record.HeadKey())}) }},
		{name: "head and settings put back", refuse: true, fsck: []string{":head"},
			forge: func(_ *site, f *forger) {
				putBack(f, []string{string(record.HeadKey()), string(record.SettingsKey())})
			}},
		{name: "all records put back under the newest version", refuse: true, fsck: []string{":head"},
			forge: func(_ *site, f *forger) {
				for key := range f.now {
					f.changes.Remove(key)
				}
				for key, r := range f.then {
					f.changes.Put(key, r.Value)
				}
			}},
	}
}

// TestVolume attacks what a volume is made of: groups of records, those that mounting reads, and files.
func TestVolume(t *testing.T) {
	t.Parallel()
	s := build(t, groupFiles, alterGroups)
	t.Run("groups", func(t *testing.T) { testGroups(t, s) })
	t.Run("rollback", func(t *testing.T) { testRollback(t, s) })
	t.Run("records", func(t *testing.T) { testVolumeRecords(t, s) })
	t.Run("files", func(t *testing.T) { testFiles(t, s) })
}

// testGroups makes each of them in a store of its own.
func testGroups(t *testing.T, s *site) {
	counts := tally{}
	for _, g := range groups() {
		f := &forger{now: s.now, then: s.then, other: s.other, changes: raw.Changes{}}
		g.forge(s, f)
		v := newVictim(t, s.store, s.key)
		v.change(f.changes)
		counts.add("group", g.judge(t, s, v))
		v.remove()
	}
	counts.report(t)
}

// judge checks how the attack ended and returns who noticed it.
func (g group) judge(t *testing.T, s *site, v *victim) string {
	t.Helper()
	report := v.fsck()
	if report.code != fsckErrors {
		t.Errorf("%s: fsck: exit %d: %s", g.name, report.code, report.text)
	}
	for _, want := range g.fsck {
		if !report.has(want) {
			t.Errorf("%s: fsck does not tell of %s: %s", g.name, want, report.text)
		}
	}
	if !v.mount() {
		if !g.refuse {
			t.Errorf("%s: it is not mounted: %s", g.name, v.printed)
		}
		return "mount"
	}
	found := look(v.point, s.is, s.was)
	v.unmount()
	if g.refuse {
		t.Errorf("%s: it is mounted", g.name)
	}
	refused := false
	for path, n := range found {
		attacked := g.reads != "" && within(path, g.reads)
		open := g.old != "" && within(path, g.old)
		switch {
		case n.absent() && (s.is[path] == nil || open):
			continue
		case n.refused() && attacked:
			refused = true
		case len(n.failed) > 0 && (!open || !n.refused()):
			t.Errorf("%s: %s: %s", g.name, path, n.errors())
		}
		if d := s.wrong(path, n, open); d != "" {
			t.Errorf("%s: %s: %s", g.name, path, d)
		}
	}
	if g.reads == "" {
		return "fsck"
	}
	if !refused {
		t.Errorf("%s: reading %s is not refused", g.name, g.reads)
	}
	if !logs(v.logged(), g.reads, "") {
		t.Errorf("%s: the log does not name %s: %s", g.name, g.reads, v.logged())
	}
	return "read"
}

// has tells whether there is a problem about path or what is below it, or, of "path:kind", one of a kind about the path.
func (c checked) has(want string) bool {
	path, kind, ok := strings.Cut(want, ":")
	if !ok {
		return c.names(path)
	}
	for _, p := range c.problems {
		if p.Path == path && p.Kind == kind {
			return true
		}
	}
	return false
}

// testRollback puts the whole store back, which has to pass, and all of it but one part, which must not. Of the parts
// that stay new, some change nothing that counts.
func testRollback(t *testing.T, s *site) {
	v := newVictim(t, s.old, s.key)
	if r := v.fsck(); r.code != 0 {
		t.Errorf("fsck of the whole store put back: exit %d: %s", r.code, r.text)
	}
	if !v.mount() {
		t.Fatalf("the whole store put back is not mounted: %s", v.printed)
	}
	for path, n := range look(v.point, s.was) {
		if s.was[path] == nil || len(n.failed) > 0 || n.differs(s.was[path]) != "" {
			t.Errorf("the whole store put back: %s: %s", path, n.errors())
		}
	}
	v.unmount()
	for _, part := range []string{"db", "head", "volume.json", "keystore.a", "keystore.b", "keystore.a keystore.b", "head keystore.a keystore.b",
		"db head", "db volume.json", "db keystore.a keystore.b", "db head volume.json", "db head keystore.a keystore.b",
		"db volume.json keystore.a keystore.b"} {
		for _, way := range []struct {
			what        string
			base, parts string
		}{{"older but for", s.old, s.store}, {"newer but for", s.store, s.old}} {
			v := newVictim(t, way.base, s.key)
			for _, name := range strings.Fields(part) {
				expect.OK(t, os.RemoveAll(filepath.Join(v.store, name)), "remove a part")
				replacePart(t, filepath.Join(way.parts, name), filepath.Join(v.store, name))
			}
			report := v.fsck()
			mounted := v.mount()
			if !mounted {
				expect.Equal(t, report.code, fsckErrors, "fsck of a store that is %s %s", way.what, part)
			}
			wholeAgain := ""
			if mounted {
				wholeAgain = v.isWhole(s)
				v.unmount()
			}
			t.Logf("%s %s: mounted %v, fsck %d, %s%s", way.what, part, mounted, report.code, wholeAgain, v.printed)
			if mounted && wholeAgain == "" {
				t.Errorf("%s %s: it is mounted and neither as it was nor as it is", way.what, part)
			}
			v.remove()
		}
	}
}

// replacePart copies a file or directory.
func replacePart(t *testing.T, from, to string) {
	t.Helper()
	var st unix.Stat_t
	expect.OK(t, unix.Stat(from, &st), "stat %s", from)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		copyStore(t, from, to)
		return
	}
	expect.OK(t, os.WriteFile(to, expect.Read(t, from), 0o600), "write %s", to)
}

// isWhole tells which state the mounted store is in, all of it, nothing if in none.
func (v *victim) isWhole(s *site) string {
	for name, st := range map[string]state{"as it is": s.is, "as it was": s.was} {
		same := true
		for path, n := range look(v.point, st) {
			same = same && st[path] != nil && len(n.failed) == 0 && n.differs(st[path]) == ""
		}
		if same {
			return name
		}
	}
	return ""
}
