package salvage

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"ssefs/fs/record"
)

// directory is an open directory of the copy.
type directory struct {
	fd   int
	path string // for the report
}

func (d directory) join(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// at is a path that leads to a name in the directory, however long the
// directory's own is.
func (d directory) at(name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.fd, name) }

// open opens a directory in the directory.
func (d directory) open(name string) (directory, error) {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return directory{}, fmt.Errorf("open: %w", err)
	}
	return directory{fd: fd, path: d.join(name)}, nil
}

// make makes and opens a directory. One that exists is opened.
func (d directory) make(name string) (directory, error) {
	if err := unix.Mkdirat(d.fd, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return directory{}, fmt.Errorf("mkdir: %w", err)
	}
	return d.open(name)
}

func (d directory) close() { _ = unix.Close(d.fd) } // nothing was written by way of it

// free returns the first of name, name.1, name.2... that is not taken.
func (d directory) free(name string) (string, error) {
	for i := 0; ; i++ {
		try := name
		if i > 0 {
			try += "." + strconv.Itoa(i)
		}
		var st unix.Stat_t
		err := unix.Fstatat(d.fd, try, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT):
			return try, nil
		case err != nil:
			return "", fmt.Errorf("stat: %w", err)
		}
	}
}

// linksName is where inodes with more names are kept while the copy is made.
const linksName = ".ssefs-salvage-links"

func (s *salvager) makeLinks() (err error) {
	s.links, err = s.out.make(linksName)
	return err
}

func (s *salvager) removeLinks() error {
	var err error
	for i := range s.inodes.list {
		if n := &s.inodes.list[i]; n.flags&flagKept != 0 {
			err = errors.Join(err, unix.Unlinkat(s.links.fd, strconv.FormatUint(n.ino, 10), 0))
		}
	}
	s.links.close()
	return errors.Join(err, unix.Unlinkat(s.out.fd, linksName, unix.AT_REMOVEDIR))
}

// keep gives an object that was just made a name in the directory for those that
// have more.
func (s *salvager) keep(d directory, name string, n *inode) error {
	if err := unix.Linkat(d.fd, name, s.links.fd, strconv.FormatUint(n.ino, 10), 0); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	n.flags |= flagKept
	return nil
}

// again gives a kept object another name.
func (s *salvager) again(d directory, name string, n *inode) error {
	if err := unix.Linkat(s.links.fd, strconv.FormatUint(n.ino, 10), d.fd, name, 0); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

// dress gives an object of the copy the attributes of its inode. What the file
// system or the user's rights do not allow is noted.
func (s *salvager) dress(d directory, name string, ino uint64, n *record.Inode) {
	if s.root {
		s.set("the owner could not be set", unix.Fchownat(d.fd, name, int(n.UID), int(n.GID), unix.AT_SYMLINK_NOFOLLOW))
	}
	s.copyXattrs(d, name, ino, n)
	if !n.IsSymlink() {
		mode := n.Mode & 0o7777
		if !s.root {
			mode &^= 0o6000 // it would be of another user
		}
		s.set("the mode could not be set", unix.Fchmodat(d.fd, name, mode, 0))
	}
	times := []unix.Timespec{{Sec: n.Atime.Sec, Nsec: int64(n.Atime.Nsec)}, {Sec: n.Mtime.Sec, Nsec: int64(n.Mtime.Nsec)}}
	s.set("the times could not be set", unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

func (s *salvager) set(what string, err error) {
	if err != nil {
		s.notSet[what+" ("+err.Error()+")"]++
	}
}

func (s *salvager) copyXattrs(d directory, name string, ino uint64, n *record.Inode) {
	if n.XattrVersion == 0 {
		return
	}
	var list []record.Xattr
	version := uint64(0)
	err := s.get(record.XattrKey(ino))
	if err == nil {
		list, version, err = record.DecodeXattrs(s.plain)
	}
	if err == nil && version != n.XattrVersion {
		err = fmt.Errorf("they are of version %d, not %d", version, n.XattrVersion)
	}
	if err != nil {
		s.lose(Loss{Kind: Xattrs, Inode: ino, Path: d.join(name), Message: "extended attributes, ACLs included: " + why(err)})
		return
	}
	for _, x := range list {
		s.set("the attribute "+x.Name+" could not be set", unix.Lsetxattr(d.at(name), x.Name, x.Value, 0))
	}
}
