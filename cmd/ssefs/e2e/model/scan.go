package model

import (
	"time"

	"golang.org/x/sys/unix"
)

// Scan is a tree read back from a file system: names and attributes, contents not included. Names with one inode
// number are one node.
type Scan struct {
	FS    *FS
	Mtime map[ID]time.Time
	Ino   map[ID]uint64
	// Size holds the sizes of regular files.
	Size  map[ID]int64
	byIno map[uint64]ID
}

// NewScan begins a scan of a tree; its FS has an empty top directory.
func NewScan() *Scan {
	return &Scan{FS: New(0o755, 0, 0), Mtime: map[ID]time.Time{}, Ino: map[ID]uint64{}, Size: map[ID]int64{},
		byIno: map[uint64]ID{}}
}

// Enter adds a name found in a directory and returns the node's ID in the scan.
func (s *Scan) Enter(dir ID, name string, st *unix.Stat_t, target string, xattrs map[string]string) ID {
	id, known := s.byIno[st.Ino]
	if !known {
		id = s.FS.next
		s.FS.next++
		n := &Node{ID: id, Mode: st.Mode, UID: st.Uid, GID: st.Gid, Nlink: uint32(st.Nlink), Target: target,
			Xattrs: xattrs}
		switch n.Type() {
		case unix.S_IFDIR:
			n.Entries = map[string]ID{}
		case unix.S_IFCHR, unix.S_IFBLK:
			n.Rdev = st.Rdev
		case unix.S_IFREG:
			s.Size[id] = st.Size
		}
		s.FS.nodes[id] = n
		s.byIno[st.Ino] = id
		s.Ino[id] = st.Ino
		s.Mtime[id] = time.Unix(st.Mtim.Unix())
	}
	s.FS.nodes[dir].Entries[name] = id
	return id
}
