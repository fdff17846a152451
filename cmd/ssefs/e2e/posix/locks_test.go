package posix

import (
	"errors"
	"path/filepath"
	"strconv"
	"testing"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"

	"golang.org/x/sys/unix"
)

// holdFlock is the helper that takes an exclusive flock and holds it until told to let go.
func holdFlock(p *drive.Peer) error {
	fd, err := unix.Open(p.Args[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return err
	}
	return hold(p)
}

// holdRecordLock is the helper that waits for a write lock on a range and holds it until told to let go.
func holdRecordLock(p *drive.Peer) error {
	fd, err := unix.Open(p.Args[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	lock, err := lockOf(p.Args[1], p.Args[2])
	if err != nil {
		return err
	}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_SETLKW, lock); err != nil {
		return err
	}
	return hold(p)
}

func hold(p *drive.Peer) error {
	if err := p.Say("locked"); err != nil {
		return err
	}
	_, err := p.Hear()
	return err
}

// tryLocks is the helper that says which locks it could take without waiting, for each line it hears.
func tryLocks(p *drive.Peer) error {
	fd, err := unix.Open(p.Args[0], unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	for {
		what, err := p.Hear()
		if err != nil {
			return nil
		}
		answer := "free"
		switch what {
		case "flock":
			err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
			if err == nil {
				err = unix.Flock(fd, unix.LOCK_UN)
			}
		case "shared flock":
			err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
			if err == nil {
				err = unix.Flock(fd, unix.LOCK_UN)
			}
		default:
			var lock *unix.Flock_t
			if lock, err = lockOf(what, "10"); err != nil {
				return err
			}
			err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, lock)
			if err == nil {
				lock.Type = unix.F_UNLCK
				err = unix.FcntlFlock(uintptr(fd), unix.F_SETLK, lock)
			}
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			answer = "taken"
		} else if err != nil {
			return err
		}
		if err := p.Say(answer); err != nil {
			return err
		}
	}
}

// lockOf is a write lock on length bytes from start.
func lockOf(start, length string) (*unix.Flock_t, error) {
	from, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(length, 10, 64)
	if err != nil {
		return nil, err
	}
	return &unix.Flock_t{Type: unix.F_WRLCK, Start: from, Len: n}, nil
}

func TestFlockBetweenProcesses(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, nil)
	try := drive.Start(t, "try", p)
	holder := drive.Start(t, "flock", p)
	holder.Expect("locked")
	try.Say("flock")
	try.Expect("taken")
	try.Say("shared flock")
	try.Expect("taken")
	// Another open of the same file is another owner even in one process.
	f := expect.Open(t, p, unix.O_RDWR, 0)
	expect.Errno(t, unix.Flock(f.Fd, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK, "flock of what is locked")
	// One that waits gets the lock when its holder ends, however that ends.
	waiter := drive.Start(t, "flock", p)
	holder.Kill()
	waiter.Expect("locked")
	waiter.Say("let go")
	waiter.Wait()
	try.Say("flock")
	try.Expect("free")
	// Shared locks go together.
	expect.OK(t, unix.Flock(f.Fd, unix.LOCK_SH|unix.LOCK_NB), "shared flock")
	try.Say("shared flock")
	try.Expect("free")
	try.Say("flock")
	try.Expect("taken")
	f.Close()
	try.Say("flock")
	try.Expect("free")
	try.Wait()
}

func TestRecordLocksBetweenProcesses(t *testing.T) {
	dir := place(t)
	p := filepath.Join(dir, "file")
	expect.Write(t, p, make([]byte, 1000))
	try := drive.Start(t, "try", p)
	holder := drive.Start(t, "posix", p, "100", "100")
	holder.Expect("locked")
	for start, answer := range map[string]string{"0": "free", "95": "taken", "150": "taken", "200": "free"} {
		try.Say(start)
		try.Expect(answer)
	}
	// F_GETLK tells who holds it and what.
	f := expect.Open(t, p, unix.O_RDWR, 0)
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 0, Len: 0}
	expect.OK(t, unix.FcntlFlock(uintptr(f.Fd), unix.F_GETLK, &lock), "F_GETLK")
	expect.Equal(t, lock.Type, unix.F_WRLCK, "type of the lock in the way")
	expect.Equal(t, [2]int64{lock.Start, lock.Len}, [2]int64{100, 100}, "range of the lock in the way")
	expect.Equal(t, lock.Pid, int32(holder.Pid()), "holder of the lock in the way")
	// Open-file-description locks stand in the way of the classic ones.
	ofd := unix.Flock_t{Type: unix.F_WRLCK, Start: 300, Len: 10}
	expect.OK(t, unix.FcntlFlock(uintptr(f.Fd), unix.F_OFD_SETLK, &ofd), "F_OFD_SETLK")
	try.Say("300")
	try.Expect("taken")
	g := expect.Open(t, p, unix.O_RDWR, 0)
	expect.Errno(t, unix.FcntlFlock(uintptr(g.Fd), unix.F_OFD_SETLK, &ofd), unix.EAGAIN, "F_OFD_SETLK through another open")
	f.Close()
	try.Say("300")
	try.Expect("free")
	waiter := drive.Start(t, "posix", p, "150", "10")
	holder.Say("let go")
	holder.Wait()
	waiter.Expect("locked")
	waiter.Kill()
	try.Say("150")
	try.Expect("free")
	try.Wait()
}
