// Package uringtest is for tests of mounts over io_uring: it changes settings of
// the whole machine for a moment, one test process at a time, and puts them
// back.
package uringtest

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/fs/uring"
)

// Forbidden is the sysctl that keeps processes from making rings.
const Forbidden = "/proc/sys/kernel/io_uring_disabled"

// Available reports whether this kernel has FUSE over io_uring. Tests that find
// it has not check that mounts go on without.
func Available(t testing.TB) bool {
	t.Helper()
	_, err := os.Stat(uring.SwitchFile)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if _, sysctl := os.Stat(Forbidden); err == nil && sysctl == nil && read(t, Forbidden) == "2" {
		t.Logf("io_uring is forbidden on this machine: testing what happens without")
		return false
	}
	if err != nil {
		t.Logf("this kernel has no FUSE over io_uring: testing what happens without")
	}
	return err == nil
}

// SwitchedOn calls f, which mounts, while the kernel offers io_uring, if it has
// it at all.
func SwitchedOn(t testing.TB, f func()) {
	t.Helper()
	with(t, uring.SwitchFile, "Y", f)
}

// SwitchedOff calls f while the kernel does not offer it.
func SwitchedOff(t testing.TB, f func()) {
	t.Helper()
	with(t, uring.SwitchFile, "N", f)
}

// WithoutRings calls f while the kernel offers it but nobody can make a ring.
func WithoutRings(t testing.TB, f func()) {
	t.Helper()
	SwitchedOn(t, func() { with(t, Forbidden, "2", f) })
}

// with calls f while a setting has a value. The lock is on the setting's own
// file, so that it ends with the process.
func with(t testing.TB, file, value string, f func()) {
	t.Helper()
	setting, err := os.OpenFile(file, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		f()
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := setting.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Flock(int(setting.Fd()), unix.LOCK_EX); err != nil {
		t.Fatalf("lock %s: %v", file, err)
	}
	before := read(t, file)
	write(t, file, value)
	defer write(t, file, before)
	f()
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func write(t testing.TB, file, value string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(value+"\n"), 0); err != nil {
		t.Errorf("set %s: %v", file, err)
	}
}
