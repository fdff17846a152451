package uring

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// disabledFile is the sysctl that forbids io_uring: 1 to all but CAP_SYS_ADMIN, 2 to everybody.
const disabledFile = "/proc/sys/kernel/io_uring_disabled"

// Capabilities returns what a process must keep so that more rings can be had while a mount is served.
func Capabilities() []int {
	if b, err := os.ReadFile(disabledFile); err == nil && strings.TrimSpace(string(b)) == "1" {
		return []int{unix.CAP_SYS_ADMIN}
	}
	return nil
}
