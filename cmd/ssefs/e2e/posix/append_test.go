package posix

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

const (
	appendRounds = 500
	appendLength = 37 // of a record: no divisor of a block
)

// appendRecords is the helper that appends records, all of one letter, to a file.
func appendRecords(p *drive.Peer) error {
	path, letter := p.Args[0], p.Args[1]
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND, 0)
	if err != nil {
		return err
	}
	if err := p.Say("open"); err != nil {
		return err
	}
	if _, err := p.Hear(); err != nil {
		return err
	}
	record := []byte(strings.Repeat(letter, appendLength-1) + "\n")
	for range appendRounds {
		if n, err := unix.Write(fd, record); err != nil || n != len(record) {
			return fmt.Errorf("append: %d bytes, %w", n, err)
		}
	}
	return unix.Close(fd)
}

// TestAppendFromTwoProcesses: appends land one behind the other, none over another, whoever makes them.
func TestAppendFromTwoProcesses(t *testing.T) {
	d, dir := bucket(t)
	p := filepath.Join(dir, "log")
	expect.Write(t, p, nil)
	letters := []string{"a", "b"}
	var helpers []*drive.Process
	for _, letter := range letters {
		h := drive.Start(t, "append", p, letter)
		h.Expect("open")
		helpers = append(helpers, h)
	}
	for _, h := range helpers {
		h.Say("go")
	}
	for _, h := range helpers {
		h.Wait()
	}
	check := func() {
		t.Helper()
		b := expect.Read(t, p)
		expect.Equal(t, len(b), len(letters)*appendRounds*appendLength, "size of the log")
		for _, letter := range letters {
			record := []byte(strings.Repeat(letter, appendLength-1) + "\n")
			expect.Equal(t, bytes.Count(b, record), appendRounds, "whole records of %s", letter)
		}
	}
	check()
	d.Remount()
	check()
}

func TestAppend(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, []byte("one,"))
	f := expect.Open(t, p, unix.O_RDWR|unix.O_APPEND, 0)
	f.Write([]byte("two,"))
	f.SeekTo(0, unix.SEEK_SET)
	f.Write([]byte("three,"))
	f.Pwrite([]byte("four,"), 0) // Linux appends here too
	expect.Contents(t, p, []byte("one,two,three,four,"))
	// What another descriptor cuts off, appends follow.
	expect.OK(t, unix.Truncate(p, 4), "truncate")
	f.Write([]byte("five"))
	expect.Contents(t, p, []byte("one,five"))
	// The flag can be turned off and on.
	flags, err := unix.FcntlInt(uintptr(f.Fd), unix.F_GETFL, 0)
	expect.OK(t, err, "get the flags")
	_, err = unix.FcntlInt(uintptr(f.Fd), unix.F_SETFL, flags&^unix.O_APPEND)
	expect.OK(t, err, "clear O_APPEND")
	f.Pwrite([]byte("ONE"), 0)
	expect.Contents(t, p, []byte("ONE,five"))
}
