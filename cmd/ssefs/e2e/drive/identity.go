package drive

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Identity is whom a system call is made as.
type Identity struct {
	UID, GID int
	Groups   []int // supplementary
}

// User returns the identity of an ordinary user with a group of the same number and no other.
func User(id int) Identity { return Identity{UID: id, GID: id} }

// As runs fn as another user and returns its error. The user, its groups and a umask of 022 belong to one thread,
// which ends with the call; fn must not start goroutines. Processes that fn starts are that user's too. A test that fails
// for good within fn ends.
func As(t testing.TB, who Identity, fn func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		defer close(result) // t.FailNow ends the goroutine and no more
		// Not unlocked: the runtime ends a thread whose locked goroutine returns.
		runtime.LockOSThread()
		if err := become(who); err != nil {
			result <- fmt.Errorf("become user %d: %w", who.UID, err)
			return
		}
		result <- fn()
	}()
	err, ok := <-result
	if !ok {
		t.FailNow()
	}
	return err
}

// become changes the calling thread alone: the wrappers of package syscall would change all threads.
func become(who Identity) error {
	// Threads share the umask and the working directory unless told otherwise.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	unix.Umask(0o022)
	if err := setgroups(who.Groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	gid, uid := uintptr(who.GID), uintptr(who.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("setresuid: %w", errno)
	}
	return nil
}

// WithUmask runs fn, as the test's own user, with a umask that no other thread sees.
func WithUmask(t testing.TB, mask int, fn func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // as in As
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			result <- err
			return
		}
		unix.Umask(mask)
		result <- fn()
	}()
	return <-result
}

// setgroups sets the supplementary groups of the calling thread alone.
func setgroups(groups []int) error {
	ids := make([]uint32, len(groups)+1) // never empty, so that it has an address
	for i, g := range groups {
		ids[i] = uint32(g)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&ids[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
