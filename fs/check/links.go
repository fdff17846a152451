package check

import (
	"ssefs/fs/record"
)

// checkNames compares link counts with the names found, and looks for inodes
// that have none and for directories that the root does not reach.
func (c *checker) checkNames() error {
	root := c.inodes.find(record.RootInode)
	switch {
	case root == nil:
		c.problem(Unreadable, Error, record.RootInode, "the inode record of the root is missing")
	case root.flags&flagUnreadable == 0 && root.dir < 0:
		c.problem(Entry, Error, record.RootInode, "the root is a %s", typeName(root.typ))
	case root.dir >= 0 && c.inodes.dirs[root.dir].parent != record.RootInode:
		c.problem(Parent, Error, record.RootInode, "the root believes to be in directory %d", c.inodes.dirs[root.dir].parent)
	}
	if root != nil {
		root.links++ // nobody names it, and it needs no name
		root.flags |= flagReached
	}
	for i := range c.inodes.list {
		n := &c.inodes.list[i]
		c.checkLinks(n)
		if n.dir >= 0 {
			c.reach(n)
		}
	}
	return c.fatal
}

// checkLinks compares the link count of one inode with the entries that name it.
func (c *checker) checkLinks(n *inode) {
	if n.flags&flagUnreadable != 0 {
		if n.links == 0 && n.flags&flagLoose == 0 {
			c.problem(Unnamed, Error, n.ino, "no entry names the inode")
		}
		return
	}
	if n.nlink == 0 {
		if n.links > 0 {
			c.problem(Links, Error, n.ino, "%d entries name the inode, its link count is 0", n.links)
		}
		if n.dir >= 0 && c.inodes.dirs[n.dir].entries > 0 {
			c.problem(Links, Error, n.ino, "the directory has entries, its link count is 0")
		}
		return // that it has an orphan record was checked
	}
	if n.flags&flagLoose != 0 {
		return
	}
	if n.links == 0 {
		c.problem(Unnamed, Error, n.ino, "no entry names the inode, a %s with link count %d", typeName(n.typ), n.nlink)
		return
	}
	if n.dir < 0 {
		if n.links != n.nlink {
			c.problem(Links, Error, n.ino, "%d entries name the inode, its link count is %d", n.links, n.nlink)
		}
		return
	}
	if n.links > 1 {
		c.problem(Links, Error, n.ino, "%d entries name the directory", n.links)
	}
	if d := &c.inodes.dirs[n.dir]; uint64(n.nlink) != d.subdirs+2 {
		c.problem(Links, Error, n.ino, "the directory has %d subdirectories, its link count is %d", d.subdirs, n.nlink)
	}
}

// reach follows the directories that name n, one in the other, up to the root
// or to one that was followed before. A loop is noted once; what lies below
// one, or below a directory without a name, is not.
func (c *checker) reach(n *inode) {
	at := n
	for at.flags&(flagReached|flagVisiting|flagLoop) == 0 {
		at.flags |= flagVisiting
		up := c.inodes.find(c.inodes.dirs[at.dir].namedIn)
		if up == nil || up.dir < 0 {
			break // it has no name, which was noted
		}
		at = up
	}
	mark := uint8(flagReached)
	if at.flags&flagVisiting != 0 && c.isLoop(at) || at.flags&flagLoop != 0 {
		mark = flagLoop
	}
	for at = n; at != nil && at.dir >= 0 && at.flags&flagVisiting != 0; at = c.inodes.find(c.inodes.dirs[at.dir].namedIn) {
		at.flags = at.flags&^flagVisiting | mark
	}
}

// isLoop reports whether the walk that ended at a directory went round, and
// notes the loop then.
func (c *checker) isLoop(at *inode) bool {
	up := c.inodes.find(c.inodes.dirs[at.dir].namedIn)
	if up == nil || up.dir < 0 {
		return false
	}
	length := 1
	for n := up; n != at; n = c.inodes.find(c.inodes.dirs[n.dir].namedIn) {
		length++
	}
	c.problem(Loop, Error, at.ino, "the directory lies below itself, in a loop of %d directories that the root does not reach", length)
	return true
}

// stepName says what a step of the check is busy with, for progress.
func stepName(k record.Kind) string {
	switch k {
	case record.KindEntry:
		return "entries"
	case record.KindInode:
		return "inodes"
	}
	return k.String() + " records"
}
