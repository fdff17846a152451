package transport

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ssefs/fs/uring"
)

// TestRequests: each way that requests and replies are laid out.
func TestRequests(t *testing.T) {
	s, _ := mustMount(t)
	if err := s.exists("missing"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a missing name: %v", err)
	}
	if b, err := os.ReadFile(s.path("a-name")); string(b) != "a-name" || err != nil {
		t.Errorf("contents %q, %v", b, err)
	}
	data := bytes.Repeat([]byte("pattern"), 3<<20/7)
	f, err := os.OpenFile(s.path("pattern"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write(data); err != nil {
		t.Errorf("write 3 MiB: %v", err)
	}
	if _, err := f.WriteAt([]byte("wrong"), 0); !errors.Is(err, unix.EIO) {
		t.Errorf("a write that is refused: %v", err)
	}
	value := make([]byte, 100)
	n, err := unix.Getxattr(s.path("x"), "user.attribute", value)
	if err != nil || string(value[:n]) != "user.attribute" {
		t.Errorf("getxattr: %q, %v", value[:max(n, 0)], err)
	}
	if n, err := unix.Getxattr(s.path("x"), "user.attribute", nil); n != 14 || err != nil {
		t.Errorf("getxattr without a buffer: %d, %v", n, err)
	}
	if _, err := unix.Getxattr(s.path("x"), "user.attribute", value[:3]); !errors.Is(err, unix.ERANGE) {
		t.Errorf("getxattr with a short buffer: %v", err)
	}
	if err := unix.Setxattr(s.path("x"), "user.set", []byte("user.set"), 0); err != nil {
		t.Errorf("setxattr: %v", err)
	}
	// Data in both directions share a buffer: the answer is the question reversed.
	question := []byte("0123456789abcdef")
	const readWrite16 = 3<<30 | 16<<16 | 'x'<<8 | 1
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), readWrite16, uintptr(unsafe.Pointer(&question[0]))); errno != 0 {
		t.Errorf("ioctl: %v", errno)
	}
	if string(question) != "fedcba9876543210" {
		t.Errorf("ioctl answers %q", question)
	}
	_ = f.Close()
	s.unmount()
}

// TestParallel: many threads at once, on all processors.
func TestParallel(t *testing.T) {
	s, _ := mustMount(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 300 {
				if b, err := os.ReadFile(s.path("file")); string(b) != "file" || err != nil {
					t.Errorf("contents %q, %v", b, err)
					return
				}
			}
		})
	}
	all.Wait()
	s.unmount()
}

// blocked starts lookups that take until they are released, from the first
// processor, and returns when all are in their handlers. The names differ: the
// kernel has one lookup of a name under way at a time.
func blocked(s *server, n int) (done *sync.WaitGroup) {
	s.t.Helper()
	done = &sync.WaitGroup{}
	for i := range n {
		done.Go(func() { _ = onProcessor0(func() error { return s.exists(fmt.Sprint("block-", i)) }) })
	}
	s.until("waiting", fmt.Sprint(n))
	return done
}

// onProcessor0 calls f on a thread bound to the first processor.
func onProcessor0(f func() error) error {
	result := make(chan error)
	go func() {
		lockThread()
		var set unix.CPUSet
		set.Set(0)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

// TestBlockedHandlers: requests whose handlers block hold nobody up, not even on
// their processor. The first that finds all rings of its queue taken waits with
// nothing else going on.
func TestBlockedHandlers(t *testing.T) {
	s, rings := mustMount(t)
	f := s.hold()
	for _, n := range []int{1, 2, 3, 4, 5, uring.MaxRings / 2} {
		done := blocked(s, n)
		if err := onProcessor0(func() error { return s.exists("other") }); err != nil {
			t.Errorf("beside %d blocked requests: %v", n, err)
		}
		s.ask("release")
		done.Wait()
	}
	_ = f.Close()
	if how := s.ask("status"); rings && s.rings() <= uring.MaxRings/2 {
		t.Errorf("after as many blocked requests at once there are few rings: %s", how)
	}
	s.unmount()
}

// TestInterrupts: a process that gets a signal while its request is in a handler
// waits for the answer and disturbs nobody.
// TestWaiting: after many requests at a time, as many read as Status says.
func TestWaiting(t *testing.T) {
	s, err := mount(t, "off", "")
	if err != nil {
		t.Fatal(err)
	}
	done := blocked(s, 40)
	s.ask("release")
	done.Wait()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var readers, waiting int
		if _, err := fmt.Sscan(s.ask("readers"), &readers, &waiting); err != nil {
			t.Fatal(err)
		}
		if readers == waiting {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines read requests, not %d", readers, waiting)
		}
	}
	s.unmount()
}

func TestInterrupts(t *testing.T) {
	s, _ := mustMount(t)
	stat := exec.Command("stat", s.path("block"))
	if err := stat.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("waiting", "1")
	for _, sig := range []syscall.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGTERM} {
		if err := stat.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		if err := s.exists("other"); err != nil {
			t.Errorf("after %v: %v", sig, err)
		}
	}
	s.ask("release")
	if err := stat.Wait(); err == nil {
		t.Error("SIGTERM did not end the process")
	}
	s.unmount()
}

// TestForget: references to files are given back while requests are in flight.
func TestForget(t *testing.T) {
	s, _ := mustMount(t)
	done := blocked(s, 1)
	for range 10 {
		if err := s.exists("file"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.ask("kept"); got == "0" {
		t.Fatal("no reference is kept: the test proves nothing")
	}
	// Directory entries that are not used go when the kernel is asked to free them.
	for s.ask("kept") != "0" {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.ask("release")
	done.Wait()
	s.unmount()
}

// TestNotify: notifications go out while requests are in flight.
func TestNotify(t *testing.T) {
	s, _ := mustMount(t)
	if err := s.exists("noticed"); err != nil {
		t.Fatal(err)
	}
	// Not lookups: while they hold the directory, the kernel cannot drop its names.
	var done sync.WaitGroup
	for i := range 3 {
		done.Go(func() { _, _ = os.ReadFile(s.path(fmt.Sprint("slow-", i))) })
	}
	s.until("waiting", "3")
	if got := s.ask("notify"); got != "OK OK" {
		t.Errorf("notify: %s", got)
	}
	s.ask("release")
	done.Wait()
	s.unmount()
}

// TestKilled: a server that is killed with requests in flight leaves a mount that
// can be unmounted, and nobody waiting.
func TestKilled(t *testing.T) {
	s, _ := mustMount(t)
	f := s.hold()
	result := make(chan error, 12)
	for i := range cap(result) {
		go func() { result <- s.exists(fmt.Sprint("block-", i)) }()
	}
	s.until("waiting", fmt.Sprint(cap(result)))
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	for range cap(result) {
		switch err := <-result; {
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECANCELED):
		default:
			t.Errorf("a request in flight: %v", err)
		}
	}
	if err := s.exists("other"); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("a request afterwards: %v", err)
	}
	_ = f.Close()
	if err := unix.Unmount(s.point, 0); err != nil {
		t.Errorf("unmount: %v", err)
	}
}

// TestUnmountUnderLoad: a mount that is taken away from under its users ends them
// with errors and the server well.
func TestUnmountUnderLoad(t *testing.T) {
	for range 5 {
		s, _ := mustMount(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for s.exists("file") == nil && s.mounted() {
					if b, err := os.ReadFile(s.path("file")); err == nil && string(b) != "file" {
						t.Errorf("contents %q", b)
					}
				}
			})
		}
		if err := s.exists("file"); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(s.point, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		<-s.ended
		if s.err != nil {
			t.Errorf("the server ended with %v\n%s", s.err, s.errors)
		}
	}
}
