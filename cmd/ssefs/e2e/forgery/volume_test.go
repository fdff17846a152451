package forgery

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/cmd/ssefs/e2e/forgery/raw"
	"ssefs/fs/record"

	"golang.org/x/sys/unix"
)

// testVolumeRecords does each thing to the records that mounting reads: head, settings, buckets, and what is still to be
// deleted. Each takes a store of its own.
func testVolumeRecords(t *testing.T, s *site) {
	counts := tally{}
	f := &forger{now: s.now, then: s.then, other: s.other}
	head, settings := string(record.HeadKey()), string(record.SettingsKey())
	bucket := func(name string) string { return keyOf(record.KindBucket, s.is.ino("/"+name)) }
	used := map[string]bool{}
	for key := range s.now {
		used[key] = true
	}
	aims := map[record.Kind]aim{
		record.KindHead:     {key: head, foreign: head, old: s.then[head].Value, other: settings},
		record.KindSettings: {key: settings, foreign: settings, old: s.then[settings].Value, other: head},
		record.KindBucket: {key: bucket("AES256"), twin: bucket("KMS"), across: bucket("none"), foreign: bucket("AES256"),
			unused: unusedKey(used, bucket("AES256")), gone: keyOf(record.KindBucket, s.was.ino("/gone")),
			old: s.then[bucket("AES256")].Value, other: settings},
	}
	for kind, a := range aims {
		for _, x := range attacks() {
			f.changes = raw.Changes{}
			if x.special() && x.do(f, a) {
				counts.add(kindName(kind), s.strike(t, s.store, kind, x.name, f.changes, s.is))
			}
		}
	}
	counts.report(t)
}

// TestUnfinished does the same to the records of a store whose daemon was killed: of files without a name, and of data
// that no map names yet.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	s := crash(t)
	f := &forger{now: s.then, then: s.then, other: s.then}
	counts := tally{}
	used := map[string]bool{}
	for key := range s.then {
		used[key] = true
	}
	for _, kind := range []record.Kind{record.KindOrphan, record.KindPending} {
		of := s.then.Keys(string(record.Prefix(kind)))
		a := aim{key: of[0], other: string(record.SettingsKey()), unused: unusedKey(used, of[0]), foreign: string(record.HeadKey())}
		if len(of) > 1 {
			a.twin = of[1]
		}
		for _, x := range attacks() {
			f.changes = raw.Changes{}
			if x.special() && x.do(f, a) {
				counts.add(kindName(kind), s.strike(t, s.old, kind, x.name, f.changes, s.is))
			}
		}
		// Once they have done what they were for, they are put back.
		f.changes = raw.Changes{}
		f.put(a.key, s.then[a.key].Value)
		counts.add(kindName(kind), s.strike(t, s.store, kind, "put-back", f.changes, s.is))
	}
	counts.report(t)
}

// strike makes one change of one store, and tells who noticed: mount, by refusing it, or fsck alone.
func (s *site) strike(t *testing.T, store string, kind record.Kind, name string, c raw.Changes, want state) string {
	t.Helper()
	name = fmt.Sprintf("%s.%s", kindName(kind), name)
	v := newVictim(t, store, s.key)
	defer v.remove()
	v.change(c)
	report := v.fsck()
	if report.code != fsckErrors {
		t.Errorf("%s: fsck: exit %d: %s", name, report.code, report.text)
	}
	if !strings.Contains(report.text, strings.Fields(kind.String())[0]) {
		t.Errorf("%s: fsck does not name the kind: %s", name, report.text)
	}
	if !v.mount() {
		if !strings.Contains(v.printed, kind.String()+" record") && !strings.Contains(v.printed, "rolled back") {
			t.Errorf("%s: the mount is refused without naming the kind: %s", name, v.printed)
		}
		return "mount"
	}
	found := look(v.point, want)
	v.unmount()
	for path, n := range found {
		if want[path] == nil {
			continue
		}
		if d := n.differs(want[path]); d != "" || len(n.failed) > 0 {
			t.Errorf("%s: %s: %s %s", name, path, n.errors(), d)
		}
	}
	// Only what will be deleted anyway may be forged without a word from the mount.
	if kind != record.KindOrphan && (kind != record.KindPending || !strings.HasSuffix(name, ".remove")) {
		t.Errorf("%s: it is mounted", name)
	}
	return "fsck"
}

// crash returns a site whose old store is that of a daemon that was killed with two files open that have no name, and
// with data stored that no map names. In the other one all of that was cleared up.
func crash(t *testing.T) *site {
	t.Helper()
	for try := range int64(20) {
		d := drive.New(t, drive.Options{})
		b := d.Bucket("b")
		small(t, filepath.Join(b, "file"))
		for _, name := range []string{"x", "y"} {
			p := filepath.Join(b, name)
			f := expect.Create(t, p)
			f.Pwrite(expect.Random(1, 10_000), 0)
			expect.OK(t, unix.Unlink(p), "unlink")
			defer f.Drop()
		}
		drive.Must(t, drive.Binary(t), "sync", d.Mountpoint())
		f := expect.Open(t, filepath.Join(b, "big"), unix.O_WRONLY|unix.O_CREAT|unix.O_DIRECT, 0o600)
		part := aligned(1 << 20)
		for i := range 24 + try {
			f.Pwrite(part, i<<20)
		}
		d.Kill()
		f.Drop()
		s := &site{key: d.KeyFile(), store: d.Store(), old: filepath.Join(drive.Dir(t), "old")}
		copyStore(t, s.store, s.old)
		s.then = records(t, s.store)
		if len(s.then.Keys(string(record.Prefix(record.KindOrphan)))) < 2 || len(s.then.Keys(string(record.Prefix(record.KindPending)))) == 0 {
			continue
		}
		d.Mount()
		s.is = whole(t, d.Mountpoint())
		d.Unmount()
		return s
	}
	t.Fatalf("no store was left with data that no map names, in many tries")
	return nil
}

// aligned returns memory that direct I/O takes.
func aligned(n int) []byte {
	b := make([]byte, n+blockSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % blockSize)
	return b[skip : skip+n]
}
