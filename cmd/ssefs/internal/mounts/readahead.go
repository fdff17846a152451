package mounts

import (
	"os"
	"strconv"
)

// ReadAheadKiB is how far the kernel reads ahead on drives, in units of 1024 bytes. FUSE starts with 128, and its INIT can only
// lower that. Four times as much means a quarter of the requests; twice that again gains little, and a fault in a
// mapping reads as much around it.
const ReadAheadKiB = 512

// SetReadAhead sets how far the kernel reads ahead on this file system of who reads a file from front to back, in
// units of 1024 bytes. Only root may.
func (m Mount) SetReadAhead(kib int) error {
	f, err := os.OpenFile("/sys/class/bdi/"+m.Device+"/read_ahead_kb", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(kib))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
