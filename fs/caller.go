package fs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"

	"ssefs/kms"
)

// caller is the process that sent a request.
type caller struct {
	uid, gid, pid uint32
}

func callerOf(h *gofuse.InHeader) caller { return caller{h.Uid, h.Gid, h.Pid} }

// kms returns the caller as key management wants to know it. Supplementary
// groups are read only if a grant depends on them.
func (c caller) kms() kms.Caller {
	return kms.Caller{UID: c.uid, GID: c.gid, Groups: c.groups}
}

// groups reads the supplementary groups of the process, which FUSE does not
// tell. A process that cannot be read, of another pid namespace for one, has
// none to show and is refused.
func (c caller) groups() ([]uint32, error) {
	if c.pid == 0 {
		return nil, fmt.Errorf("groups of the caller are not known")
	}
	b, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(c.pid), 10) + "/status")
	if err != nil {
		return nil, fmt.Errorf("groups of process %d: %w", c.pid, err)
	}
	_, rest, ok := bytes.Cut(b, []byte("\nGroups:"))
	if !ok {
		return nil, fmt.Errorf("groups of process %d: not in its status", c.pid)
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	var list []uint32
	for _, f := range bytes.Fields(line) {
		g, err := strconv.ParseUint(string(f), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("groups of process %d: %w", c.pid, err)
		}
		list = append(list, uint32(g))
	}
	return list, nil
}
