package workload

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// The calls below are those of os.File with less around them: what the Go runtime does for a file that may be polled
// costs as much as the call itself where the kernel answers from its caches.

// again repeats a call that a signal cut short. Go programs get signals all the time, and some drives end a request for
// one.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// openFD opens a file.
func openFD(path string, flags int) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// createFile makes a file with the given contents.
func createFile(path string, contents []byte) error {
	fd, err := openFD(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY)
	if err != nil {
		return err
	}
	var k int
	err = again(func() error {
		k, err = unix.Write(fd, contents)
		return err
	})
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err == nil && k != len(contents) {
		err = fmt.Errorf("%d bytes of %d were written", k, len(contents))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readStart opens a file and reads once.
func readStart(path string, buf []byte) (int, error) {
	fd, err := openFD(path, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	var k int
	err = again(func() error {
		k, err = unix.Read(fd, buf)
		return err
	})
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return k, nil
}
