package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ProtectMemory keeps the memory of this process to itself: no core dumps, no debugger of the same user. It also asks for
// as much locked memory as we may have, which is where keys lie. It is for every process that may come to hold a secret.
func ProtectMemory() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid memory dumps: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	raiseLockedMemory()
	return nil
}

// Harden is for processes that open a store: besides ProtectMemory, files that they make are their user's alone.
func Harden() error {
	if err := ProtectMemory(); err != nil {
		return err
	}
	unix.Umask(0o077)
	return nil
}

// raiseLockedMemory asks for as much locked memory as we may have; with less, keys share fewer locked pages.
func raiseLockedMemory() {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit) == nil && limit.Cur < limit.Max {
		limit.Cur = limit.Max
		_ = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &limit)
	}
}
