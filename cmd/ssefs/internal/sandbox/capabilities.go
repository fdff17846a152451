package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// kept are the capabilities that a store may need: files of another user, the blocks that a file system sets aside for root,
// keys in locked memory.
func kept() []int { return []int{unix.CAP_DAC_OVERRIDE, unix.CAP_SYS_RESOURCE, unix.CAP_IPC_LOCK} }

// dropCapabilities takes all capabilities but those of the store and more from all threads, for good, since no program
// can be started that would bring them back.
func dropCapabilities(more []int) error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{}
	if err := unix.Capget(header, &data[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	var keep [2]uint32
	for _, c := range append(kept(), more...) {
		keep[c/32] |= 1 << (c % 32)
	}
	for i := range data {
		data[i].Effective &= keep[i]
		data[i].Permitted &= keep[i]
		data[i].Inheritable = 0
	}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capabilities: %w", errno)
	}
	return nil
}
