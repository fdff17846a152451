package volume

import (
	"errors"
	"fmt"
	"sort"

	"ssefs/fs/record"
	"ssefs/store"
)

// xattrSet holds the extended attributes of an inode in memory, sorted by
// name. It is guarded by the inode's mutex.
type xattrSet struct {
	list  []record.Xattr
	bytes int // of names and values
	dirty bool
}

func (s *xattrSet) find(name string) (int, bool) {
	i := sort.Search(len(s.list), func(i int) bool { return s.list[i].Name >= name })
	return i, i < len(s.list) && s.list[i].Name == name
}

func (s *xattrSet) get(name string) ([]byte, bool) {
	i, ok := s.find(name)
	if !ok {
		return nil, false
	}
	return s.list[i].Value, true
}

func (s *xattrSet) set(name string, value []byte) error {
	i, ok := s.find(name)
	size := s.bytes + len(value)
	if ok {
		size -= len(s.list[i].Value)
	} else {
		size += len(name)
	}
	if size > record.MaxXattrs {
		return ErrXattrSpace
	}
	s.bytes = size
	s.dirty = true
	x := record.Xattr{Name: name, Value: append([]byte(nil), value...)}
	if ok {
		s.list[i] = x
		return nil
	}
	s.list = append(s.list, record.Xattr{})
	copy(s.list[i+1:], s.list[i:])
	s.list[i] = x
	return nil
}

func (s *xattrSet) remove(name string) bool {
	i, ok := s.find(name)
	if !ok {
		return false
	}
	s.bytes -= len(name) + len(s.list[i].Value)
	s.list = append(s.list[:i:i], s.list[i+1:]...)
	s.dirty = true
	return true
}

// loadXattrs brings the extended attributes into memory.
func (v *Volume) loadXattrs(n *Inode) error {
	n.mu.RLock()
	loaded := n.xattrs != nil
	n.mu.RUnlock()
	if loaded {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.xattrs != nil {
		return nil
	}
	if n.xattrVersion == 0 {
		n.xattrs = &xattrSet{}
		return nil
	}
	plain, err := v.get(record.XattrKey(n.Ino))
	if errors.Is(err, store.ErrNotFound) {
		return damaged(record.KindXattr, n.Ino, errors.New("missing"))
	}
	if err != nil {
		return damaged(record.KindXattr, n.Ino, err)
	}
	list, version, err := record.DecodeXattrs(plain)
	if err != nil {
		return damaged(record.KindXattr, n.Ino, err)
	}
	if version != n.xattrVersion {
		return damaged(record.KindXattr, n.Ino, fmt.Errorf("of version %d, not %d", version, n.xattrVersion))
	}
	s := &xattrSet{list: list}
	for _, x := range list {
		s.bytes += len(x.Name) + len(x.Value)
	}
	n.xattrs = s
	return nil
}

// Xattr returns the value of an extended attribute.
func (v *Volume) Xattr(n *Inode, name string) ([]byte, error) {
	if err := v.loadXattrs(n); err != nil {
		return nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	value, ok := n.xattrs.get(name)
	if !ok {
		return nil, ErrNoXattr
	}
	return value, nil
}

// Xattrs returns the names of all extended attributes.
func (v *Volume) Xattrs(n *Inode) ([]string, error) {
	if err := v.loadXattrs(n); err != nil {
		return nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	names := make([]string, len(n.xattrs.list))
	for i, x := range n.xattrs.list {
		names[i] = x.Name
	}
	return names, nil
}

// XattrMode says what SetXattr does about an attribute that exists.
type XattrMode int

// The modes of SetXattr, after setxattr(2).
const (
	XattrAny     XattrMode = iota
	XattrCreate            // fail if it exists
	XattrReplace           // fail if it does not exist
)

// SetXattr sets an extended attribute. A POSIX access ACL also changes the
// permission bits that stand for it.
func (v *Volume) SetXattr(n *Inode, name string, value []byte, mode XattrMode) error {
	switch {
	case len(name) > record.MaxName:
		return ErrXattrName
	case len(value) > record.MaxXattrValue:
		return ErrXattrTooBig
	}
	return v.changeXattrs(n, func() error {
		_, exists := n.xattrs.get(name)
		if exists && mode == XattrCreate {
			return ErrExist
		}
		if !exists && mode == XattrReplace {
			return ErrNoXattr
		}
		if isACL(name) {
			return n.setACL(name, value)
		}
		return n.xattrs.set(name, value)
	})
}

// ErrXattrName is returned for an attribute name that is too long.
var ErrXattrName = errors.New("name of the extended attribute is too long")

// RemoveXattr removes an extended attribute.
func (v *Volume) RemoveXattr(n *Inode, name string) error {
	return v.changeXattrs(n, func() error {
		if !n.xattrs.remove(name) {
			return ErrNoXattr
		}
		return nil
	})
}

func (v *Volume) changeXattrs(n *Inode, change func() error) error {
	if err := v.loadXattrs(n); err != nil {
		return err
	}
	if err := v.admit(); err != nil {
		return err
	}
	if err := v.space.reserve(1); err != nil {
		return err
	}
	e := v.begin()
	defer v.end()
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := change(); err != nil {
		return err
	}
	n.Ctime = v.clock()
	v.change(e, n)
	e.weight.Add(int64(n.xattrs.bytes))
	return nil
}
