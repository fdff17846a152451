package fs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/fs/record"
)

// Sizes of replies.
const (
	sizeAttr  = 88
	sizeEntry = 40 + sizeAttr
	sizeOpen  = 16
)

// take checks the reply to a request that succeeded as the kernel does, and remembers the inodes and handles that it
// tells.
func (k *hostileKernel) take(r request, body []byte) error {
	if want, fixed := replySize(r.op); fixed && len(body) != want {
		return fmt.Errorf("a reply of %d bytes, want %d", len(body), want)
	}
	switch r.op {
	case opLookup:
		if binary.NativeEndian.Uint64(body) == 0 {
			return nil // there is no such name
		}
		return k.entry(body)
	case opSymlink, opMknod, opMkdir, opLink:
		return k.entry(body)
	case opCreate, opTmpfile:
		k.opened(body[sizeEntry:])
		return k.entry(body)
	case opOpen:
		k.opened(body)
	case opOpendir:
		k.mu.Lock()
		k.listings = append(k.listings, binary.NativeEndian.Uint64(body))
		k.mu.Unlock()
	case opGetattr, opSetattr:
		return attrOK(body[16:])
	case opRead:
		if size := binary.NativeEndian.Uint32(r.body[16:]); len(body) > int(size) {
			return fmt.Errorf("%d bytes where %d were asked for", len(body), size)
		}
	case opReaddir, opReaddirplus:
		return k.listed(r, body)
	case opWrite:
		if n, size := binary.NativeEndian.Uint32(body), len(r.body)-40-r.dropped-int(r.ext)*8; int(n) > max(size, 0) {
			return fmt.Errorf("%d bytes of %d were written", n, size)
		}
	case opLseek:
		if off := binary.NativeEndian.Uint64(body); off > math.MaxInt64 {
			return fmt.Errorf("offset %#x", off)
		}
	case opReadlink:
		if len(body) == 0 || len(body) > record.MaxSymlink {
			return fmt.Errorf("a target of %d bytes", len(body))
		}
	}
	return nil
}

func replySize(op uint32) (size int, fixed bool) {
	switch op {
	case opLookup, opSymlink, opMknod, opMkdir, opLink:
		return sizeEntry, true
	case opCreate, opTmpfile:
		return sizeEntry + sizeOpen, true
	case opOpen, opOpendir:
		return sizeOpen, true
	case opGetattr, opSetattr:
		return 16 + sizeAttr, true
	case opWrite, opLseek, opCopyFileRange:
		return 8, true
	case opStatfs:
		return 80, true
	case opStatx:
		return 288, true
	case opUnlink, opRmdir, opRename, opRename2, opRelease, opReleasedir, opFsync, opFsyncdir, opSetxattr, opRemovexattr,
		opFallocate, opAccess, opDestroy:
		return 0, true
	}
	return 0, false
}

// entry takes the reply that tells an inode.
func (k *hostileKernel) entry(body []byte) error {
	node := binary.NativeEndian.Uint64(body)
	if node == 0 {
		return errors.New("node 0")
	}
	k.tell(node, binary.NativeEndian.Uint32(body[100:]))
	return attrOK(body[40:])
}

// tell notes a node.
func (k *hostileKernel) tell(node uint64, mode uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nodes = append(k.nodes, node)
	if mode&record.TypeMask == record.TypeDir {
		k.dirs = append(k.dirs, node)
	}
}

func (k *hostileKernel) opened(body []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.handles = append(k.handles, binary.NativeEndian.Uint64(body))
}

// attrOK checks attributes as the kernel's fuse_invalid_attr does, and what it would pass on unseen.
func attrOK(attr []byte) error {
	size, mode := binary.NativeEndian.Uint64(attr[8:]), binary.NativeEndian.Uint32(attr[60:])
	if size > math.MaxInt64 {
		return fmt.Errorf("size %#x", size)
	}
	switch mode & record.TypeMask {
	case record.TypeDir, record.TypeFile, record.TypeLink, record.TypeFifo, record.TypeChar, record.TypeBlock, record.TypeSocket:
	default:
		return fmt.Errorf("mode %#o", mode)
	}
	if mode>>16 != 0 {
		return fmt.Errorf("mode %#o", mode)
	}
	for i := range 3 {
		if nsec := binary.NativeEndian.Uint32(attr[48+4*i:]); nsec >= 1e9 {
			return fmt.Errorf("%d nanoseconds", nsec)
		}
	}
	return nil
}

// listed takes the reply to a READDIR or READDIRPLUS.
func (k *hostileKernel) listed(r request, body []byte) error {
	var entries []gofuse.DirEntry
	var told []gofuse.EntryOut
	var err error
	if r.op == opReaddirplus {
		entries, told, err = gofuse.ParseDirLookupEntries(body)
	} else {
		entries, err = gofuse.ParseDirEntries(body)
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name == "" || strings.ContainsAny(e.Name, "/\x00") || len(e.Name) > record.MaxName {
			return fmt.Errorf("an entry named %q", e.Name)
		}
	}
	for _, t := range told {
		if t.NodeId == 0 {
			continue // nothing but the name
		}
		k.tell(t.NodeId, t.Mode)
	}
	return nil
}
