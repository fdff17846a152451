package volume

import (
	"errors"

	"ssefs/fs/record"
)

// RenameMode selects what Rename does about a name that exists.
type RenameMode int

// The modes of Rename.
const (
	RenameReplace   RenameMode = iota // replace what is there, as rename(2)
	RenameNoReplace                   // fail if there is something
	RenameExchange                    // swap the two
)

// side is one of the two names of a rename.
type side struct {
	d     *Inode
	name  string
	hash  record.NameHash
	entry record.Entry
	n     *Inode // nil: there is no such name
}

// Rename moves a name, within one bucket, or renames a bucket.
func (v *Volume) Rename(oldDir uint64, oldName string, newDir uint64, newName string, mode RenameMode) error {
	from, err := v.side(oldDir, oldName)
	if err != nil {
		return err
	}
	defer v.releaseSide(from)
	to, err := v.side(newDir, newName)
	if err != nil {
		return err
	}
	defer v.releaseSide(to)
	if err := v.admit(); err != nil {
		return err
	}
	if from.d != to.d {
		v.renameMu.Lock()
		defer v.renameMu.Unlock()
	}
	for {
		if err := v.loadSide(from); err != nil {
			return err
		}
		if err := v.loadSide(to); err != nil && !errors.Is(err, ErrNotExist) {
			return err
		}
		retry, err := v.renameLoaded(from, to, mode)
		if !retry {
			return err
		}
	}
}

func (v *Volume) side(dir uint64, name string) (*side, error) {
	d, err := v.Inode(dir)
	if err != nil {
		return nil, err
	}
	return &side{d: d, name: name, hash: v.hash(dir, name)}, nil
}

func (v *Volume) releaseSide(s *side) {
	if s.n != nil {
		v.Unpin(s.n)
	}
	v.Unpin(s.d)
}

// loadSide brings the inode that has the name into memory.
func (v *Volume) loadSide(s *side) error {
	if s.n != nil {
		v.Unpin(s.n)
		s.n = nil
	}
	n, err := v.Lookup(s.d.Ino, s.name)
	if err != nil {
		return err
	}
	s.n = n
	return nil
}

// current looks the name up again, now that the directory is locked, and
// reports whether it is still what was loaded.
func (v *Volume) current(s *side) (same bool, err error) {
	s.entry, err = v.entry(s.d, s.hash, s.name)
	if errors.Is(err, ErrNotExist) {
		return s.n == nil, nil
	}
	return s.n != nil && s.n.Ino == s.entry.Inode, err
}

// renameLoaded does the rename if both sides are still what was loaded, and
// asks for another try otherwise.
func (v *Volume) renameLoaded(from, to *side, mode RenameMode) (retry bool, err error) {
	below, err := v.isBelow(to.d, from.n)
	if err != nil {
		return false, err
	}
	above := false
	if to.n != nil {
		if above, err = v.isBelow(from.d, to.n); err != nil {
			return false, err
		}
	}
	first, second := from.d, to.d
	if from.d != to.d {
		if first, second, err = v.dirOrder(from.d, to.d); err != nil {
			return false, err
		}
	}
	e := v.begin()
	defer v.end()
	first.mu.Lock()
	defer first.mu.Unlock()
	if second != first {
		second.mu.Lock()
		defer second.mu.Unlock()
	}
	for _, s := range []*side{from, to} {
		if same, err := v.current(s); !same || err != nil {
			return !same && err == nil, err
		}
	}
	if to.d.Nlink == 0 {
		return false, ErrNotExist
	}
	if err := renameAllowed(from, to, mode, below, above); err != nil {
		return false, err
	}
	if to.n == from.n {
		return false, nil // two names of one inode: nothing to do
	}
	a, b := from.n, to.n
	if b != nil && lockedBefore(b, a) {
		a, b = b, a
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if b != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
	}
	if to.n != nil && mode == RenameReplace {
		if err := replaceable(from.n, to.n); err != nil {
			return false, err
		}
	}
	v.move(e, from, to, mode)
	return false, nil
}

// lockedBefore reports whether a, of two inodes in one or two directories, is
// locked before b: directories first, for another caller may hold one and want
// a file in it, which can be b.
func lockedBefore(a, b *Inode) bool {
	if a.IsDir() != b.IsDir() { // the type never changes
		return a.IsDir()
	}
	return a.Ino < b.Ino
}

// renameAllowed checks what does not depend on the inodes' own state.
func renameAllowed(from, to *side, mode RenameMode, below, above bool) error {
	switch {
	case from.n == nil:
		return ErrNotExist
	case below:
		return ErrInvalid // a directory into itself
	case mode == RenameNoReplace && to.n != nil:
		return ErrExist
	case mode == RenameExchange && to.n == nil:
		return ErrNotExist
	case mode == RenameExchange && above:
		return ErrInvalid
	case above:
		return ErrNotEmpty
	case from.d.Bucket != to.d.Bucket:
		return ErrCrossBucket
	}
	return nil
}

// replaceable reports why old cannot take the place of target.
func replaceable(n, target *Inode) error {
	switch {
	case n.IsDir() && !target.IsDir():
		return ErrNotDir
	case !n.IsDir() && target.IsDir():
		return ErrIsDir
	case target.IsDir() && target.dir.entries > 0:
		return ErrNotEmpty
	}
	return nil
}

// move changes the two directories. Everything is locked.
func (v *Volume) move(e *epoch, from, to *side, mode RenameMode) {
	now := v.clock()
	ent := record.Entry{Inode: from.n.Ino, Type: from.entry.Type, Name: to.name}
	switch {
	case mode == RenameExchange:
		back := record.Entry{Inode: to.n.Ino, Type: to.entry.Type, Name: from.name}
		v.replaceEntry(e, to.d, to.hash, to.entry, ent)
		v.replaceEntry(e, from.d, from.hash, from.entry, back)
		v.moved(to.n, from.d.Ino, from.name)
		to.n.Ctime = now
		v.change(e, to.n)
	case to.n != nil:
		v.removeEntry(e, from.d, from.hash, from.entry)
		v.replaceEntry(e, to.d, to.hash, to.entry, ent)
		v.dropLink(e, to.n)
		// What replaces a file must not appear without its contents.
		from.n.mustFlush = true
		from.n.holesStay()
	default:
		v.removeEntry(e, from.d, from.hash, from.entry)
		v.addEntry(e, to.d, to.hash, ent)
		from.n.mustFlush = true
		from.n.holesStay()
	}
	v.moved(from.n, to.d.Ino, to.name)
	from.n.Ctime = now
	v.change(e, from.n)
}

func (v *Volume) moved(n *Inode, dir uint64, name string) {
	n.parent, n.name = dir, name
	v.table.moved(n.Ino, dir)
}

// isBelow reports whether dir is n or lies under it.
func (v *Volume) isBelow(dir, n *Inode) (bool, error) {
	at := dir.Ino
	for {
		if at == n.Ino {
			return true, nil
		}
		if at == RootInode || at == 0 {
			return false, nil
		}
		d, err := v.Inode(at)
		if err != nil {
			return false, err
		}
		d.mu.RLock()
		at = d.parent
		d.mu.RUnlock()
		v.Unpin(d)
	}
}

// dirOrder returns two directories in the order in which they are locked. The
// caller holds renameMu, so that no directory moves.
func (v *Volume) dirOrder(a, b *Inode) (first, second *Inode, err error) {
	if below, err := v.isBelow(b, a); err != nil || below {
		return a, b, err
	}
	if below, err := v.isBelow(a, b); err != nil || below {
		return b, a, err
	}
	if a.Ino < b.Ino {
		return a, b, nil
	}
	return b, a, nil
}
