package repair

import (
	"maps"
	"strconv"
	"testing"

	"ssefs/fs/record"
)

// change returns an inode's record changed and sealed anew.
func (x *site) change(path string, change func(*record.Inode)) raw {
	x.Helper()
	key := record.InodeKey(x.paths[path])
	n, err := record.DecodeInode(x.open(key))
	x.Must(err)
	change(n)
	return raw{string(key): x.Seal(key, n.Append(nil))}
}

// entry returns an entry, sealed.
func (x *site) entry(dir, name, of string, typ uint32) raw {
	x.Helper()
	at := x.paths[dir]
	key := x.EntryKey(at, name)
	e := record.Entry{Version: 2, Inode: x.paths[of], Type: typ, Name: name}
	return raw{string(key): x.Seal(key, e.Append(nil))}
}

// unnamed returns the removal of an entry.
func (x *site) unnamed(dir, name string) raw {
	return raw{string(x.EntryKey(x.paths[dir], name)): nil}
}

func merge(all ...raw) raw {
	m := make(raw)
	for _, r := range all {
		maps.Copy(m, r)
	}
	return m
}

// TestSealedDamage: records that open and say what is not so, as a bug would leave them.
func TestSealedDamage(t *testing.T) {
	x := newSite(t)
	orphan := func(path string, below, version uint64) raw {
		key := record.OrphanKey(x.paths[path])
		o := record.Orphan{Version: version, Below: below}
		return raw{string(key): x.Seal(key, o.Append(nil))}
	}
	head := func(change func(*record.Head)) raw {
		h := x.head()
		h.Version = x.DB.NextVersion()
		h.Epoch = h.Version
		change(h)
		return raw{string(record.HeadKey()): x.Seal(record.HeadKey(), h.Append(nil))}
	}
	for name, damaged := range map[string]func() raw{
		"link count":               func() raw { return x.change("/aes/small", func(n *record.Inode) { n.Nlink++ }) },
		"link count of 0":          func() raw { return x.change("/aes/small", func(n *record.Inode) { n.Nlink = 0 }) },
		"directory's link count":   func() raw { return x.change("/aes/dir", func(n *record.Inode) { n.Nlink++ }) },
		"directory's link count 0": func() raw { return x.change("/aes/dir", func(n *record.Inode) { n.Nlink = 0 }) },
		"bucket's link count 0":    func() raw { return x.change("/aes", func(n *record.Inode) { n.Nlink = 0 }) },
		"entries":                  func() raw { return x.change("/aes/dir", func(n *record.Inode) { n.Entries++ }) },
		"subdirectories":           func() raw { return x.change("/aes/dir", func(n *record.Inode) { n.Subdirs++; n.Nlink++ }) },
		"set":                      func() raw { return x.change("/aes/dir", func(n *record.Inode) { n.EntrySet[0]++ }) },
		"parent":                   func() raw { return x.change("/aes/dir/sub", func(n *record.Inode) { n.Parent = 1 }) },
		"parent of the root":       func() raw { return x.change("/", func(n *record.Inode) { n.Parent = 2 }) },
		"blocks":                   func() raw { return x.change("/aes/small", func(n *record.Inode) { n.Blocks++ }) },
		"blocks of a large file":   func() raw { return x.change("/aes/holes", func(n *record.Inode) { n.Blocks-- }) },
		"node's blocks":            func() raw { return x.change("/aes/holes", func(n *record.Inode) { n.Map.Refs[0].Blocks++ }) },
		"node's version":           func() raw { return x.change("/aes/holes", func(n *record.Inode) { n.Map.Refs[0].Version++ }) },
		"version of the future":    func() raw { return x.change("/aes/dir/none", func(n *record.Inode) { n.Version = 1 << 30 }) },
		"data shared without pack": func() raw {
			return x.change("/aes/small", func(n *record.Inode) { n.Map.Leaves[0].Leaf.Recs[0].Shared = true })
		},
		"xattrs that are not there": func() raw { return x.change("/aes/other", func(n *record.Inode) { n.XattrVersion = 2 }) },
		"two names of a directory":  func() raw { return x.entry("/aes/dir/sub", "again", "/aes/dir/none", record.TypeDir) },
		"two in one directory": func() raw { // which of them stays, nobody can say
			return merge(x.entry("/aes/dir", "again", "/aes/dir/none", record.TypeDir), x.entry("/aes/dir", "none", "/aes/dir/none", record.TypeDir))
		},
		"of another bucket":      func() raw { return x.entry("/aes/dir", "foreign", "/none/small", record.TypeFile) },
		"a file in the root":     func() raw { return x.entry("/", "file", "/none/small", record.TypeFile) },
		"a bucket in itself":     func() raw { return x.entry("/aes/dir", "bucket", "/aes", record.TypeDir) },
		"the root in a bucket":   func() raw { return x.entry("/aes/dir", "root", "/", record.TypeDir) },
		"a name too many":        func() raw { return x.entry("/aes/dir", "more", "/aes/small", record.TypeFile) },
		"type in the entry":      func() raw { return x.entry("/aes", "small", "/aes/small", record.TypeFifo) },
		"orphan of a named file": func() raw { return orphan("/aes/small", 0, 2) },
		"orphan of a directory":  func() raw { return orphan("/aes/dir", 5, 2) },
		"orphan of the future":   func() raw { return orphan("/aes/holes", 1, 1<<40) },
		"head's inodes":          func() raw { return head(func(h *record.Head) { h.Inodes++ }) },
		"head's blocks":          func() raw { return head(func(h *record.Head) { h.Blocks++ }) },
		"head's bucket set":      func() raw { return head(func(h *record.Head) { h.BucketSet[3]++ }) },
		"head's next inode":      func() raw { return head(func(h *record.Head) { h.NextInode = 5 }) },
		"head's next record":     func() raw { return head(func(h *record.Head) { h.NextRecord = 5 }) },
		"head's settings":        func() raw { return head(func(h *record.Head) { h.Settings = 99 }) },
		"head's epoch":           func() raw { return head(func(h *record.Head) { h.Epoch -= 3 }) },
		"head's version":         func() raw { return head(func(h *record.Head) { h.Version, h.Epoch = 3, 3 }) },
		"a directory below itself": func() raw {
			return merge(x.unnamed("/aes", "dir"), x.entry("/aes/dir/sub", "dir", "/aes/dir", record.TypeDir))
		},
		"a directory in itself": func() raw {
			return merge(x.unnamed("/aes/dir", "sub"), x.entry("/aes/dir/sub", "self", "/aes/dir/sub", record.TypeDir))
		},
		"a bucket without a name": func() raw { return x.unnamed("/", "kms") },
		"everything unnamed": func() raw {
			all := raw{}
			for key := range x.good {
				if key[0] == byte(record.KindEntry) {
					all[key] = nil
				}
			}
			return all
		},
		"no directories": func() raw {
			all := raw{}
			for path := range x.paths {
				if n, err := record.DecodeInode(x.open(record.InodeKey(x.paths[path]))); err == nil && n.IsDir() {
					all[string(record.InodeKey(x.paths[path]))] = nil
				}
			}
			return all
		},
		"no buckets": func() raw {
			all := raw{}
			for key := range x.good {
				if key[0] == byte(record.KindBucket) {
					all[key] = nil
				}
			}
			return all
		},
		"no head, settings and buckets": func() raw {
			all := raw{string(record.HeadKey()): nil, string(record.SettingsKey()): nil}
			for key := range x.good {
				if key[0] == byte(record.KindBucket) {
					all[key] = nil
				}
			}
			return all
		},
	} {
		t.Run(name, func(t *testing.T) {
			x.TB = t
			changes := damaged()
			defer x.restore()
			x.tamper(changes)
			if x.check().Clean() {
				t.Fatal("that is no damage")
			}
			report, err := x.repair(nil)
			x.Must(err)
			x.finished(name, changes, report)
		})
	}
}

// TestSizeCutsBlocks: blocks past the end of a file are let go, and nothing else.
func TestSizeCutsBlocks(t *testing.T) {
	x := newSite(t)
	ino := x.paths["/aes/dir/big"]
	changes := x.change("/aes/dir/big", func(n *record.Inode) { n.Size = 100_000 })
	x.tamper(changes)
	report, err := x.repair(nil)
	x.Must(err)
	x.bytes[ino] = x.bytes[ino][:100_000]
	x.finished("a size that is too small", changes, report)
}

// TestLostFound: where what has lost its name is found again, and whose it is.
func TestLostFound(t *testing.T) {
	x := newSite(t)
	changes := merge(x.unnamed("/none/dir", "big"), x.unnamed("/none/dir", "sub"), x.unnamed("/", "kms"))
	x.tamper(changes)
	_, err := x.repair(nil)
	x.Must(err)
	x.wantRepaired("lost names")
	x.Mount()
	defer x.Unmount()
	n := x.Resolve("/none/lost+found")
	a := n.Stat()
	x.V.Unpin(n)
	if a.Mode != record.TypeDir|0o700 || a.UID != 100 || a.GID != 200 {
		t.Errorf("lost+found has mode %o and belongs to %d:%d", a.Mode, a.UID, a.GID)
	}
	for path, ino := range map[string]uint64{
		"/none/lost+found/" + number(x.paths["/none/dir/big"]):           x.paths["/none/dir/big"],
		"/none/lost+found/" + number(x.paths["/none/dir/sub"]) + "/deep": x.paths["/none/dir/sub/deep"],
		"/" + number(x.paths["/kms"]) + "/small":                         x.paths["/kms/small"],
	} {
		n, err := x.V.Resolve(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if n.Ino != ino {
			t.Errorf("%s is inode %d, not %d", path, n.Ino, ino)
		}
		x.V.Unpin(n)
	}
}

// number is the name that an inode gets.
func number(ino uint64) string { return "#" + strconv.FormatUint(ino, 10) }
