package forgery

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/expect"
)

// fileAttack is one thing that can be done to a file: from what it holds, what it held once and what the like file of the
// other volume holds, to what it holds then; nil if it goes away.
type fileAttack struct {
	name string
	do   func(r *rand.Rand, now, then, other []byte) []byte
}

func fileAttacks() []fileAttack {
	flip := func(at func(r *rand.Rand, n int) int) func(*rand.Rand, []byte, []byte, []byte) []byte {
		return func(r *rand.Rand, now, _, _ []byte) []byte {
			if len(now) == 0 {
				return nil
			}
			now[at(r, len(now))] ^= 1 << r.IntN(8)
			return now
		}
	}
	return []fileAttack{
		{"flip-first", flip(func(*rand.Rand, int) int { return 0 })},
		{"flip-any", flip(func(r *rand.Rand, n int) int { return r.IntN(n) })},
		{"flip-last", flip(func(_ *rand.Rand, n int) int { return n - 1 })},
		{"cut", func(r *rand.Rand, now, _, _ []byte) []byte { return now[:r.IntN(len(now)+1)] }},
		{"empty", func(*rand.Rand, []byte, []byte, []byte) []byte { return []byte{} }},
		{"grow", func(r *rand.Rand, now, _, _ []byte) []byte { return append(now, make([]byte, 1+r.IntN(5000))...) }},
		{"remove", func(*rand.Rand, []byte, []byte, []byte) []byte { return nil }},
		{"replay", func(_ *rand.Rand, _, then, _ []byte) []byte { return then }},
		{"graft", func(_ *rand.Rand, _, _, other []byte) []byte { return other }},
	}
}

// storeFiles returns the files of a store that mean something, by their paths in it.
func storeFiles(t testing.TB, store string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(store, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(store, p)
		if name != "ballast" && name != "lock" && name != "db/LOCK" {
			files = append(files, name)
		}
		return err
	})
	expect.OK(t, err, "list the store")
	return files
}

// unnoticed tells whether a file may be attacked in this way without anybody's notice: all is as it was, or what was lost
// is of no use to the drive. FORMAT.md and SECURITY.md say why.
func unnoticed(file, attack string) bool {
	switch {
	case file == "head": // of which an older one, or none, is what a crash leaves
		return attack == "replay" || attack == "remove"
	case strings.HasPrefix(file, "kms.usage"), strings.HasPrefix(file, "audit-use"): // counts; the end since the last change of keys
		return attack == "replay" || attack == "remove" || attack == "cut"
	case file == "keystore.b", file == "keystore.a": // one change behind
		return attack == "replay"
	case strings.HasPrefix(file, "db/"): // of these some bytes are of no use, and some hold nothing that is in use
		return true
	}
	return false
}

// testFiles does each thing to each file of the store. Whatever becomes of the store, it answers with what is right, or
// an error.
func testFiles(t *testing.T, s *site) {
	counts := tally{}
	r := rand.New(rand.NewPCG(number(t, "SSEFS_FORGERY_SEED", 1), 1))
	files := storeFiles(t, s.store)
	done := map[string]bool{}
	for _, file := range files {
		for _, x := range fileAttacks() {
			// One of the database's files is like the others of its kind.
			kind := fileKind(file) + " " + x.name
			if !everything() && (done[kind] || slices.Contains([]string{"flip-first", "flip-last", "empty", "grow"}, x.name)) {
				continue
			}
			done[kind] = true
			now := expect.Read(t, filepath.Join(s.store, file))
			forged := x.do(r, bytes.Clone(now), like(s.old, file), like(s.otherStore, file))
			if (x.name == "replay" || x.name == "graft") && forged == nil || forged != nil && bytes.Equal(forged, now) {
				continue // there is none, or it is the same
			}
			v := newVictim(t, s.store, s.key)
			path := filepath.Join(v.store, file)
			if forged == nil {
				expect.OK(t, os.Remove(path), "remove")
			} else {
				expect.OK(t, os.WriteFile(path, forged, 0o600), "write")
			}
			how := s.surviveFile(t, v, file, x.name)
			counts.add(fileKind(file), how)
			if testing.Verbose() {
				t.Logf("%s.%s: %s %s", file, x.name, how, v.printed)
			}
			v.remove()
		}
	}
	counts.report(t)
}

// like returns what a file of the same name, or of the same kind, holds in another store; nil if there is none.
func like(store, file string) []byte {
	b, err := os.ReadFile(filepath.Join(store, file))
	if err == nil {
		return b
	}
	same, err := filepath.Glob(filepath.Join(store, filepath.Dir(file), "*"+filepath.Ext(file)))
	if err != nil || len(same) == 0 || filepath.Dir(file) == "." {
		return nil
	}
	b, err = os.ReadFile(same[len(same)-1])
	if err != nil {
		return nil
	}
	return b
}

// fileKind is how the campaign calls a file.
func fileKind(file string) string {
	if ext := filepath.Ext(file); strings.HasPrefix(file, "db/") && ext != "" {
		return "*" + ext
	}
	return strings.TrimPrefix(file, "db/")
}

// surviveFile checks how an attack on a file ended and returns who noticed it.
func (s *site) surviveFile(t *testing.T, v *victim, file, attack string) string {
	t.Helper()
	name := fmt.Sprintf("%s.%s", file, attack)
	report := v.fsckAnyway()
	if !v.mountAnyway() {
		if report.code == 0 {
			t.Errorf("%s: fsck finds nothing, but it is not mounted: %s", name, v.printed)
		}
		return "mount"
	}
	found := look(v.point, s.is)
	v.unmount()
	refused := []string{}
	for path, n := range found {
		if s.is[path] == nil {
			t.Errorf("%s: %s is there and should not be", name, path)
			continue
		}
		if n.absent() && found.incomplete(filepath.Dir(path)) {
			continue
		}
		if d := n.differs(s.is[path]); d != "" {
			t.Errorf("%s: %s: %s", name, path, d)
		}
		switch {
		case n.refused():
			refused = append(refused, path)
		case len(n.failed) > 0:
			t.Errorf("%s: %s: %s", name, path, n.errors())
		}
	}
	switch {
	case len(refused) > 0:
		if report.code != fsckErrors {
			t.Errorf("%s: reading %q is refused, and fsck exits with %d", name, refused, report.code)
		}
		if !slices.ContainsFunc(refused, func(p string) bool { return logs(v.logged(), p, "") }) {
			t.Errorf("%s: the log names none of %q: %s", name, refused, v.logged())
		}
		return "read"
	case report.code != 0:
		return "fsck"
	case !unnoticed(file, attack):
		t.Errorf("%s: nobody notices", name)
	}
	return "harmless"
}
