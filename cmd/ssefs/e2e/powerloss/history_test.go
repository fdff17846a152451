package powerloss

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// never is the position of what was not acknowledged.
const never = int(^uint(0) >> 1)

// rule says what a file may be when several of its states are possible.
type rule uint8

const (
	whole  rule = iota // one of the states
	prefix             // as much of the newest as the oldest has, or more
	blocks             // each block of one of the states
	folder             // a directory
)

// state is what a file is from some change on.
type state struct {
	begun  int // position from which on it may be found
	acked  int // position from which on no earlier state may be found
	exists bool
	// named states come by changes of names, which become durable in order, with whatever is synced.
	named bool
	data  []byte
}

// object is a file or directory and what became of it.
type object struct {
	path   string // below the drive
	rule   rule
	states []state
}

// history is what a workload did, for comparing with what survived.
type history struct {
	objects map[string]*object
	names   namespace // before the first step
	steps   []step
}

// add notes a state that path is about to have.
func (h *history) add(path string, r rule, s state) {
	o := h.objects[path]
	if o == nil {
		o = &object{path: path, rule: r}
		h.objects[path] = o
	}
	s.acked = never
	o.states = append(o.states, s)
}

// ack notes that of the states so far those are durable that were synced.
func (h *history) ack(position int, synced func(path string, s state) bool) {
	for _, o := range h.objects {
		for i := range o.states {
			if s := &o.states[i]; s.acked == never && synced(o.path, *s) {
				s.acked = position
			}
		}
	}
	for i := len(h.steps) - 1; i >= 0 && h.steps[i].acked == never; i-- {
		h.steps[i].acked = position
	}
}

// adopt takes what is found on the drive for the whole history so far.
func (h *history) adopt(t testing.TB, root string) {
	t.Helper()
	names, err := look(root)
	if err != nil {
		t.Fatalf("look at the drive: %v", err)
	}
	h.names, h.steps = names, nil
	for path, o := range h.objects {
		if _, ok := names[path]; !ok {
			delete(h.objects, path)
			continue
		}
		s := state{exists: true, named: true}
		if o.rule == folder {
			o.states = []state{s}
			continue
		}
		if s.data, err = os.ReadFile(filepath.Join(root, path)); err != nil {
			t.Fatalf("read %s: %v", path, err)
		}
		o.states = []state{s}
	}
}

// between returns the oldest and the newest state that may be found after a cut; the oldest is -1 if the file need not
// have been there yet.
func (o *object) between(position int) (oldest, newest int) {
	oldest, newest = -1, -1
	for i, s := range o.states {
		if s.acked <= position {
			oldest = i
		}
		if s.begun <= position {
			newest = i
		}
	}
	return oldest, newest
}

// compare marks the test failed for each object that is not as it may be after a cut.
func (h *history) compare(t testing.TB, root string, position int) {
	t.Helper()
	h.compareNames(t, root, position)
	for _, o := range h.objects {
		if err := o.compare(root, position); err != nil {
			t.Errorf("%s: %v", o.path, err)
		}
	}
}

// compare returns what is wrong with the object.
func (o *object) compare(root string, position int) error {
	oldest, newest := o.between(position)
	may := o.states[max(oldest, 0) : newest+1]
	path := filepath.Join(root, o.path)
	info, err := os.Lstat(path)
	if os.IsNotExist(err) {
		if oldest >= 0 && !slices.ContainsFunc(may, func(s state) bool { return !s.exists }) {
			return fmt.Errorf("missing, and state %d was durable", oldest)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(may, func(s state) bool { return s.exists }) {
		return fmt.Errorf("there, and should not be: states %d to %d", oldest, newest)
	}
	if o.rule == folder {
		if !info.IsDir() {
			return fmt.Errorf("no directory")
		}
		return nil
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !o.rule.allows(got, may, oldest >= 0) {
		return fmt.Errorf("%d bytes, %.40q..., are nothing of states %d to %d (%s)", len(got), got, oldest, newest, sizes(may))
	}
	return nil
}

// allows tells whether contents may be found when states are possible. Without a state that was durable there may be
// nothing yet.
func (r rule) allows(got []byte, states []state, durable bool) bool {
	switch r {
	case whole:
		return slices.ContainsFunc(states, func(s state) bool { return s.exists && bytes.Equal(got, s.data) })
	case prefix:
		least := 0
		if durable {
			least = len(states[0].data)
		}
		for _, s := range states {
			least = min(least, len(s.data)) // it was cut
		}
		return len(got) >= least && slices.ContainsFunc(states, func(s state) bool { return bytes.HasPrefix(s.data, got) })
	case blocks:
		if !durable && len(got) == 0 {
			return true
		}
		for at := 0; at < len(got); at += blockSize {
			if !slices.ContainsFunc(states, func(s state) bool {
				return len(s.data) == len(got) && bytes.Equal(got[at:at+blockSize], s.data[at:at+blockSize])
			}) {
				return false
			}
		}
		return len(got) == len(states[len(states)-1].data)
	default:
		return false
	}
}

func sizes(states []state) string {
	var all []string
	for _, s := range states {
		all = append(all, fmt.Sprint(len(s.data)))
	}
	return strings.Join(all, " ")
}
