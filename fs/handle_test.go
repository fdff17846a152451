package fs

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"ssefs/fs/volume"
)

// countingHandler counts what is logged.
type countingHandler struct {
	slog.Handler
	n int
}

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *countingHandler) Handle(context.Context, slog.Record) error { h.n++; return nil }

// TestHandleTable: numbers are given out once at a time, and used again.
func TestHandleTable(t *testing.T) {
	var table handleTable
	n := &volume.Inode{}
	a, b := &handle{n: n}, &handle{writes: true}
	fa, fb := table.add(a), table.add(b)
	if fa == 0 || fa == fb {
		t.Fatalf("handles %d and %d", fa, fb)
	}
	if h, err := table.get(fa); err != nil || h != a {
		t.Errorf("handle %d is %p, %v", fa, h, err)
	}
	if table.writing(n) {
		t.Error("a file open for reading counts as being written")
	}
	if got := table.remove(fa); got != a {
		t.Errorf("removed %p", got)
	}
	for _, fh := range []uint64{0, fa, 99, 1<<64 - 1} {
		if _, err := table.get(fh); !errors.Is(err, errBadHandle) {
			t.Errorf("handle %d: %v", fh, err)
		}
		if h := table.remove(fh); h != nil {
			t.Errorf("removed %p as handle %d", h, fh)
		}
	}
	c := &handle{n: n, writes: true}
	if fc := table.add(c); fc != fa {
		t.Errorf("the free number is %d, a new handle has %d", fa, fc)
	}
	if !table.writing(n) {
		t.Error("a file open for writing does not count as being written")
	}
}

func TestHandleTableConcurrently(t *testing.T) {
	var table handleTable
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				h := &handle{}
				fh := table.add(h)
				if got, err := table.get(fh); err != nil || got != h {
					t.Errorf("handle %d is %p, %v", fh, got, err)
				}
				if table.remove(fh) != h {
					t.Errorf("handle %d was somebody else's", fh)
				}
			}
		})
	}
	wg.Wait()
	if len(table.list) > 8 {
		t.Errorf("%d numbers for 8 handles at a time", len(table.list))
	}
}

// TestCallerGroups reads the groups of processes.
func TestCallerGroups(t *testing.T) {
	want, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	list, err := caller{pid: uint32(os.Getpid())}.groups()
	if err != nil || len(list) != len(want) {
		t.Errorf("groups %v, %v, want %v", list, err, want)
	}
	for _, pid := range []uint32{0, 1<<31 - 1} {
		if list, err := (caller{pid: pid}).groups(); err == nil {
			t.Errorf("groups of process %d are %v", pid, list)
		}
	}
	if os.Getuid() != 0 {
		return // the rest changes groups
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{7, 4_000_000_000, 12}}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
	}()
	list, err = caller{pid: uint32(cmd.Process.Pid)}.groups()
	slices.Sort(list)
	if err != nil || !slices.Equal(list, []uint32{7, 12, 4_000_000_000}) {
		t.Errorf("groups of process %s: %v, %v", strconv.Itoa(cmd.Process.Pid), list, err)
	}
}

// TestFit: a reply that is too small says how big it must be.
func TestFit(t *testing.T) {
	value := []byte("value")
	for size, want := range map[int]uint32{0: 5, 4: 5, 5: 5, 9: 5} {
		dest := make([]byte, size)
		n, status := fit(dest, value)
		if n != want || (size < 5) != (status != 0) {
			t.Errorf("%d bytes of room: %d, %v", size, n, status)
		}
		if status == 0 && string(dest[:n]) != "value" {
			t.Errorf("%d bytes of room: %q", size, dest[:n])
		}
	}
}

func TestNamespaces(t *testing.T) {
	for name, want := range map[string]bool{
		"user.a": true, "trusted.a": true, "security.selinux": true, "system.posix_acl_access": true,
		"system.other": false, "a": false, "": false, "os2.x": false,
	} {
		if knownNamespace(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
