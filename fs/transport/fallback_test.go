package transport

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/fs/uring/uringtest"
)

// lockThread keeps this goroutine's thread from others; it ends with it.
func lockThread() { runtime.LockOSThread() }

// usable checks that a mount answers, in parallel and after an error.
func (s *server) usable() {
	s.t.Helper()
	if b, err := os.ReadFile(s.path("name")); string(b) != "name" || err != nil {
		s.t.Errorf("contents %q, %v", b, err)
	}
}

// fallsBack checks that a mount does without io_uring in mode auto, for a reason
// that is told, and does not come to be in mode on. around makes the trouble.
func fallsBack(t *testing.T, spoil, reason string, around func(testing.TB, func())) {
	t.Helper()
	var s *server
	var err error
	around(t, func() { s, err = mount(t, "auto", spoil) })
	if err != nil {
		t.Fatalf("auto: %v", err)
	}
	s.isOn(false)
	if got := s.ask("status"); !strings.Contains(got, reason) {
		t.Errorf("the reason is %q, want something about %q", got, reason)
	}
	s.usable()
	s.unmount()

	around(t, func() { s, err = mount(t, "on", spoil) })
	if err == nil {
		t.Fatal("on: mounted all the same")
	}
	if !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "io_uring=on") {
		t.Errorf("on: %v, want something about %q", err, reason)
	}
	if s.mounted() {
		t.Error("on: a mount is left")
	}
}

func TestSwitchedOff(t *testing.T) {
	reason := "switched off"
	if !uringtest.Available(t) {
		reason = "not available"
	}
	fallsBack(t, "", reason, uringtest.SwitchedOff)
}

func TestRingsForbidden(t *testing.T) {
	reason := "kernel.io_uring_disabled"
	if !uringtest.Available(t) {
		reason = "not available"
	}
	fallsBack(t, "", reason, uringtest.WithoutRings)
}

// TestRegistrationFails: at the first queue, and at the last one, when the kernel
// has been told to use the rings and waits for them.
func TestRegistrationFails(t *testing.T) {
	reason := "register a ring"
	if !uringtest.Available(t) {
		reason = "not available"
	}
	fallsBack(t, "0", reason, uringtest.SwitchedOn)
	fallsBack(t, lastProcessor(t), reason, uringtest.SwitchedOn)
}

// lastProcessor returns the number of the last queue.
func lastProcessor(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/sys/devices/system/cpu/possible")
	if err != nil {
		t.Fatal(err)
	}
	list := strings.TrimSpace(string(b))
	return list[strings.LastIndexAny(list, "-,")+1:]
}

// TestLittleLockedMemory: rings and buffers do not count as locked memory.
func TestLittleLockedMemory(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &before); err != nil {
			t.Error(err)
		}
	}()
	s, _ := mustMount(t)
	s.usable()
	s.unmount()
}

// TestOff: io_uring is not used where it is not wanted.
func TestOff(t *testing.T) {
	var s *server
	var err error
	uringtest.SwitchedOn(t, func() { s, err = mount(t, "off", "") })
	if err != nil {
		t.Fatal(err)
	}
	s.isOn(false)
	s.usable()
	s.unmount()
}

// TestSwitchedOffLater: a mount keeps what it has.
func TestSwitchedOffLater(t *testing.T) {
	s, rings := mustMount(t)
	f := s.hold()
	uringtest.SwitchedOff(t, func() {
		s.usable()
		done := blocked(s, 5) // which needs more rings
		s.ask("release")
		done.Wait()
	})
	_ = f.Close()
	s.isOn(rings)
	s.unmount()
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "on": On, "off": Off} {
		if m, err := ParseMode(text); m != want || err != nil {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"yes", "ON", "1", "on "} {
		if m, err := ParseMode(text); err == nil {
			t.Errorf("%q: %v", text, m)
		}
	}
}
