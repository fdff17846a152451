package powerloss

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is what there is on a drive, apart from contents: for each path what kind of thing, with its mode, and for
// a bucket its policy.
type namespace map[string]string

// step is a change of the namespace. Steps become durable in order.
type step struct {
	begun, acked int // as of a state
	change       func(namespace)
}

// put makes something, or changes what is there.
func put(path, kind string) func(namespace) {
	return func(n namespace) { n[path] = kind }
}

// remove removes something.
func remove(path string) func(namespace) {
	return func(n namespace) { delete(n, path) }
}

// move renames something, and all below it, in the place of what was there.
func move(from, to string) func(namespace) {
	return func(n namespace) {
		for path, kind := range maps.Clone(n) {
			if rest, below := strings.CutPrefix(path, from); below && (rest == "" || rest[0] == '/') {
				delete(n, path)
				n[to+rest] = kind
			}
		}
	}
}

// look returns the namespace that is found on a drive.
func look(root string) (namespace, error) {
	n := namespace{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name := strings.TrimPrefix(path, root+"/")
		info, err := e.Info()
		if err != nil {
			return err
		}
		n[name] = kindOf(info.Mode())
		if !strings.Contains(name, "/") {
			policy := make([]byte, 200)
			size, err := unix.Getxattr(path, "user.sse.policy", policy)
			if err != nil {
				return fmt.Errorf("policy of %s: %w", name, err)
			}
			n[name] += " " + string(policy[:size])
		}
		return nil
	})
	return n, err
}

// kindOf describes a file's mode.
func kindOf(mode os.FileMode) string { return mode.String() }

// Kinds of what the workload makes.
var (
	plainFile = kindOf(0o644)
	plainDir  = kindOf(0o755 | os.ModeDir)
)

// change notes a step that is about to be taken.
func (h *history) change(position int, change func(namespace)) {
	h.steps = append(h.steps, step{begun: position, acked: never, change: change})
}

// compareNames fails the test unless the drive has the names as they were after some step: none that was durable is
// missing, and none came before another.
func (h *history) compareNames(t testing.TB, root string, position int) {
	t.Helper()
	got, err := look(root)
	if err != nil {
		t.Errorf("look at the drive: %v", err)
		return
	}
	n := maps.Clone(h.names)
	durable := 0
	for ; durable < len(h.steps) && h.steps[durable].acked <= position; durable++ {
		h.steps[durable].change(n)
	}
	oldest := maps.Clone(n)
	for i := durable; ; i++ {
		if maps.Equal(got, n) {
			return
		}
		if i == len(h.steps) || h.steps[i].begun > position {
			break
		}
		h.steps[i].change(n)
	}
	t.Errorf("the names are not those after any step that may be the last: compared with the oldest, %s; with the newest, %s",
		difference(oldest, got), difference(n, got))
}

// difference describes what is different in got.
func difference(want, got namespace) string {
	var all []string
	for path, kind := range want {
		if got[path] != kind {
			all = append(all, fmt.Sprintf("%s is %q, not %q", path, got[path], kind))
		}
	}
	for path, kind := range got {
		if _, ok := want[path]; !ok {
			all = append(all, fmt.Sprintf("%s (%s) is there", path, kind))
		}
	}
	if len(all) == 0 {
		return "nothing is different"
	}
	return strings.Join(all[:min(len(all), 8)], "; ")
}
