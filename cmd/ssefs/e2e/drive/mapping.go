package drive

import (
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// pageSize is the size of a page of a mapping in bytes.
const pageSize = 4096

// UseMapping is a helper that maps the file it is given, says "mapped", and then, for each page number it hears, what
// byte that page begins with, or SIGBUS. After a page number may follow the byte to be written there first.
func UseMapping(p *Peer) error {
	m, err := mapFile(p.Args[0])
	if err != nil {
		return err
	}
	debug.SetPanicOnFault(true)
	read := func(page int) (found string) {
		defer func() {
			if recover() != nil {
				found = "SIGBUS"
			}
		}()
		return fmt.Sprint(m[page*pageSize])
	}
	if err := p.Say("mapped"); err != nil {
		return err
	}
	for {
		line, err := p.Hear()
		if err != nil {
			return nil
		}
		var page, change int
		if n, err := fmt.Sscan(line, &page, &change); err != nil && n == 0 {
			return err
		} else if n == 2 {
			m[page*pageSize] = byte(change)
		}
		if err := p.Say(read(page)); err != nil {
			return err
		}
	}
}

// mapFile maps the whole of a file, shared and writable.
func mapFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	m, err := unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return m, errors.Join(err, unix.Close(fd))
}
