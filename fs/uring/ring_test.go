package uring

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRing: submissions complete, one after the other, many times around.
func TestRing(t *testing.T) {
	r, err := newRing()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		if text := explain(err).Error(); !strings.Contains(text, "io_uring") {
			t.Errorf("without io_uring the reason is %q", text)
		}
		t.Logf("no io_uring here: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pipe[0]) }()
	if _, ok := r.peek(); ok {
		t.Error("a completion of nothing")
	}
	r.submit(func(e sqe) { e.poll(pipe[0], 1000) }) // stays
	for i := range uint64(100) {
		r.submit(func(e sqe) { e.refuse(pipe[0], i) }) // a pipe takes no commands
		if !r.unsent() {
			t.Fatal("nothing to send")
		}
		c, err := r.wait()
		if err != nil || c.tag != i || c.result != -int32(unix.EOPNOTSUPP) {
			t.Fatalf("completion %d: %+v, %v", i, c, err)
		}
		if _, ok := r.next(); ok || r.unsent() {
			t.Fatal("something is left")
		}
	}
	if err := unix.Close(pipe[1]); err != nil {
		t.Fatal(err)
	}
	if c, err := r.wait(); err != nil || c.tag != 1000 || c.result < 0 {
		t.Errorf("the end of the pipe completes with %+v, %v", c, err)
	}
}

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"0\n": 1, "0-1\n": 2, "0-63": 64, "0-127\n": 128} {
		if n, err := countCPUs(list); n != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", list, n, err, want)
		}
	}
	for _, list := range []string{"", "\n", "1", "1-3", "0-3,8-11", "0,2", "0-", "0--1", "0-99999", "x"} {
		if n, err := countCPUs(list); err == nil {
			t.Errorf("%q: %d, want an error", list, n)
		}
	}
}

func TestSwitchedOn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "enable_uring")
	if err := switchedOn(file); err == nil || !strings.Contains(err.Error(), "kernel") {
		t.Errorf("without the parameter: %v", err)
	}
	for value, want := range map[string]bool{"Y\n": true, "N\n": false, "": false} {
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := switchedOn(file); (err == nil) != want {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestPages(t *testing.T) {
	for size, want := range map[int]int{0: 0, 1: 4096, 4096: 4096, 4097: 8192, 1 << 20: 1 << 20} {
		if got := pages(size); got != want {
			t.Errorf("%d bytes are %d in pages, want %d", size, got, want)
		}
	}
}
