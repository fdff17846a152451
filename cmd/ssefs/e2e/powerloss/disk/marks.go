package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Every request that changes something, or makes it durable, is a marked point: each step of whatever a process does to
// a store shows as one. A process can be killed there, before or after the step is taken.

// Kill ends the process that makes the request after Skip others. Processes of the tests themselves do not count.
type Kill struct {
	Skip int
	// Moment says when within the request.
	Moment Moment
}

// Moment is a side of a marked point.
type Moment string

const (
	// Before the request has any effect. What the kernel writes back for a process takes effect all the same: the pages
	// were changed already.
	Before Moment = "before"
	// After the request has taken effect, and before the process knows.
	After Moment = "after"
)

// marks finds the point at which a process is to be killed. It is guarded by tree.mu.
type marks struct {
	armed  bool
	kill   Kill
	victim int    // the process that made the last request
	where  string // the request at which it was killed
	seen   int    // requests since it was armed
	// processes are those that threads belong to.
	processes map[uint32]int
}

// mark counts a request of a thread, 0 if the kernel makes it, and kills the thread's process if its point has come. It
// reports whether the request is not to take effect.
func (m *marks) mark(thread uint32, what func() string) (undone bool) {
	if !m.armed {
		return false
	}
	if thread != 0 {
		process := m.process(thread)
		if process == os.Getppid() {
			return false
		}
		m.victim = process
	}
	if m.victim == 0 {
		return false
	}
	if m.seen++; m.seen <= m.kill.Skip {
		return false
	}
	m.armed = false
	m.where = what()
	// It may have ended meanwhile. Its threads go when they next would leave the kernel, this one with the answer.
	_ = unix.Kill(m.victim, unix.SIGKILL)
	return m.kill.Moment == Before && thread != 0
}

// process returns the process of a thread.
func (m *marks) process(thread uint32) int {
	if p, ok := m.processes[thread]; ok {
		return p
	}
	p := int(thread) // of a thread that is gone nobody can tell
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err == nil {
		for line := range bytes.Lines(status) {
			if text, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
				if n, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil {
					p = n
				}
			}
		}
	}
	m.processes[thread] = p
	return p
}

// Arm has a process killed. An earlier order is forgotten.
func (d *Disk) Arm(k Kill) {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	d.tree.marks = marks{armed: true, kill: k, processes: map[uint32]int{}}
}

// Disarm forgets the order, and returns the request at which a process was killed, "" if none was.
func (d *Disk) Disarm() string {
	d.tree.mu.Lock()
	defer d.tree.mu.Unlock()
	where := d.tree.marks.where
	d.tree.marks = marks{}
	return where
}

// named describes a request for a name.
func named(call, name string) func() string {
	return func() string { return call + " " + class(name) }
}

// of describes a request for a file. Guarded by mu.
func (t *tree) of(call string, node uint64) func() string {
	return func() string {
		for _, f := range t.now.files {
			for name, n := range f.entries {
				if n == node {
					return call + " " + class(name)
				}
			}
		}
		return call + " of a removed file"
	}
}

// class returns a name, without what numbers it.
func class(name string) string {
	if ext := filepath.Ext(name); ext == ".mem" || ext == ".sst" || ext == ".vlog" {
		return "*" + ext
	}
	return name
}
