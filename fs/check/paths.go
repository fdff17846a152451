package check

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"ssefs/fs/record"
)

// maxDepth bounds how many directories a path goes through.
const maxDepth = 4096

// place is a name of an inode.
type place struct {
	dir  uint64
	name string
}

// paths finds out where inodes are. Only what problems need is looked up, so
// that a clean volume costs nothing.
type paths struct {
	c      *checker
	places map[uint64]place
}

func entryFinding(dir uint64, e *record.Entry, kind Kind, format string, a ...any) finding {
	return finding{
		Problem: Problem{Kind: kind, Severity: Error, Inode: e.Inode, Message: fmt.Sprintf(format, a...)},
		dir:     dir, name: e.Name,
	}
}

// resolvePaths gives all findings their paths.
func (c *checker) resolvePaths() error {
	p := paths{c: c, places: make(map[uint64]place)}
	files := make(map[uint64]bool)
	var dirs []uint64
	for i := range c.findings {
		f := &c.findings[i]
		switch {
		case f.dir != 0:
			dirs = append(dirs, f.dir)
		case f.Inode == 0:
		case c.inodes.findDir(f.Inode) != nil:
			dirs = append(dirs, f.Inode)
		default:
			files[f.Inode] = true
		}
	}
	found, err := p.findFiles(files)
	if err != nil {
		return err
	}
	if err := p.findDirs(append(dirs, found...)); err != nil {
		return err
	}
	for i := range c.findings {
		f := &c.findings[i]
		switch {
		case f.dir != 0:
			f.Path = p.join(p.path(f.dir), f.name)
		case f.Inode != 0:
			f.Path = p.path(f.Inode)
		}
	}
	return c.fatal
}

// findFiles searches all directories for names of the files, and returns the
// directories where it found some.
func (p *paths) findFiles(files map[uint64]bool) (dirs []uint64, err error) {
	if len(files) == 0 {
		return nil, nil
	}
	err = p.scan(record.Prefix(record.KindEntry), func(dir uint64, e *record.Entry) {
		if files[e.Inode] {
			delete(files, e.Inode)
			p.places[e.Inode] = place{dir, e.Name}
			dirs = append(dirs, dir)
		}
	})
	return dirs, err
}

// findDirs finds the names of directories and of those above them.
func (p *paths) findDirs(dirs []uint64) error {
	wanted := make(map[uint64]bool)
	parents := make(map[uint64]bool)
	for _, ino := range dirs {
		for ino != record.RootInode && !wanted[ino] {
			d := p.c.inodes.findDir(ino)
			if d == nil || d.namedIn == 0 {
				break
			}
			wanted[ino] = true
			parents[d.namedIn] = true
			ino = d.namedIn
		}
	}
	for _, parent := range slices.Sorted(maps.Keys(parents)) {
		err := p.scan(record.Prefix(record.KindEntry, parent), func(dir uint64, e *record.Entry) {
			d := p.c.inodes.findDir(e.Inode)
			if wanted[e.Inode] && d != nil && d.namedIn == dir {
				delete(wanted, e.Inode)
				p.places[e.Inode] = place{dir, e.Name}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scan calls fn for the readable entries under a prefix. What is not readable
// was noted before.
func (p *paths) scan(prefix []byte, fn func(dir uint64, e *record.Entry)) error {
	noted, omitted := len(p.c.findings), p.c.report.Omitted
	err := p.c.each(prefix, func(it item) error {
		if err := p.c.tick(0, 0, "paths"); err != nil {
			return err
		}
		if p.c.open(it.raw, it.sealed) != nil {
			return nil
		}
		if e, err := record.DecodeEntry(p.c.plain); err == nil {
			fn(it.key.ID, &e)
		}
		return nil
	})
	p.c.findings, p.c.report.Omitted = p.c.findings[:noted], omitted
	return err
}

// path returns the path of an inode as far as it is known.
func (p *paths) path(ino uint64) string {
	var parts []string
	seen := make(map[uint64]bool) // there may be loops
	for len(parts) < maxDepth && !seen[ino] {
		if ino == record.RootInode {
			return "/" + joinReversed(parts)
		}
		at, ok := p.places[ino]
		if !ok {
			break
		}
		seen[ino] = true
		parts = append(parts, at.name)
		ino = at.dir
	}
	return p.join("<inode "+strconv.FormatUint(ino, 10)+">", joinReversed(parts))
}

func (p *paths) join(dir, name string) string {
	if dir == "/" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}

func joinReversed(parts []string) string {
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// finish completes the report.
func (c *checker) finish() {
	c.report.Unverifiable = c.lockedKeys()
	sortFindings(c.findings)
	for i := range c.findings {
		p := &c.findings[i].Problem
		c.report.Problems = append(c.report.Problems, *p)
		level := slog.LevelError
		if p.Severity == Warning {
			level = slog.LevelWarn
		}
		c.Logger.Log(c.ctx, level, "fsck: "+p.Message, "kind", p.Kind, "path", p.Path, "inode", p.Inode)
	}
}
