package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// helperVariable makes the test binary, started again, the server of a mount: it
// names the mount point. A process must not use its own mount.
const helperVariable = "SSEFS_TRANSPORT_HELPER"

// nodes is a file system of the test's making: every name is a file with its
// name as contents, and nothing is remembered by the kernel. Looking up a name
// that begins with "block" takes until the test releases all of them, and so
// does reading one that begins with "slow".
type nodes struct {
	gofuse.RawFileSystem
	server   *gofuse.Server
	waiting  atomic.Int64  // blocked requests
	forgot   atomic.Uint64 // references given back
	lookedUp atomic.Uint64

	mu      sync.Mutex // guards what follows
	numbers map[string]uint64
	names   []string
	release chan struct{}
}

func newNodes() *nodes {
	return &nodes{RawFileSystem: gofuse.NewDefaultRawFileSystem(), numbers: map[string]uint64{}, release: make(chan struct{})}
}

func (n *nodes) String() string             { return "nodes" }
func (n *nodes) Init(server *gofuse.Server) { n.server = server }

func (n *nodes) Lookup(_ <-chan struct{}, _ *gofuse.InHeader, name string, out *gofuse.EntryOut) gofuse.Status {
	if strings.HasPrefix(name, "block") {
		n.block()
	}
	if strings.HasPrefix(name, "missing") {
		return gofuse.ENOENT
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.numbers[name] == 0 {
		n.names = append(n.names, name)
		n.numbers[name] = uint64(len(n.names)) + 1
	}
	n.lookedUp.Add(1)
	out.NodeId = n.numbers[name]
	fill(&out.Attr, out.NodeId, len(name))
	return gofuse.OK
}

// block waits for the test.
func (n *nodes) block() {
	n.mu.Lock()
	release := n.release
	n.mu.Unlock()
	n.waiting.Add(1)
	<-release
	n.waiting.Add(-1)
}

func fill(a *gofuse.Attr, number uint64, size int) {
	*a = gofuse.Attr{Ino: number, Mode: syscall.S_IFREG | 0o644, Nlink: 1, Size: uint64(size)}
	if number == gofuse.FUSE_ROOT_ID {
		a.Mode = syscall.S_IFDIR | 0o755
	}
}

func (n *nodes) name(number uint64) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if number < 2 {
		return ""
	}
	return n.names[number-2]
}

func (n *nodes) GetAttr(_ <-chan struct{}, in *gofuse.GetAttrIn, out *gofuse.AttrOut) gofuse.Status {
	fill(&out.Attr, in.NodeId, len(n.name(in.NodeId)))
	return gofuse.OK
}

func (n *nodes) Forget(_, references uint64) { n.forgot.Add(references) }

func (n *nodes) Open(_ <-chan struct{}, _ *gofuse.OpenIn, out *gofuse.OpenOut) gofuse.Status {
	out.OpenFlags = gofuse.FOPEN_DIRECT_IO
	return gofuse.OK
}

func (n *nodes) Read(_ <-chan struct{}, in *gofuse.ReadIn, buf []byte) (gofuse.ReadResult, gofuse.Status) {
	name := n.name(in.NodeId)
	if strings.HasPrefix(name, "slow") && in.Offset == 0 {
		n.block()
	}
	return gofuse.ReadResultData(buf[:copy(buf, name[min(in.Offset, uint64(len(name))):])]), gofuse.OK
}

// Write compares: a file takes only what it contains, repeated.
func (n *nodes) Write(_ <-chan struct{}, in *gofuse.WriteIn, data []byte) (uint32, gofuse.Status) {
	name := n.name(in.NodeId)
	for i, c := range data {
		if c != name[(int(in.Offset)+i)%len(name)] {
			return 0, gofuse.EIO
		}
	}
	return uint32(len(data)), gofuse.OK
}

func (n *nodes) GetXAttr(_ <-chan struct{}, _ *gofuse.InHeader, name string, dest []byte) (uint32, gofuse.Status) {
	if len(dest) < len(name) {
		return uint32(len(name)), gofuse.ERANGE
	}
	return uint32(copy(dest, name)), gofuse.OK
}

func (n *nodes) SetXAttr(_ <-chan struct{}, _ *gofuse.SetXAttrIn, name string, data []byte) gofuse.Status {
	if string(data) != name {
		return gofuse.EINVAL
	}
	return gofuse.OK
}

func (n *nodes) Ioctl(_ <-chan struct{}, in *gofuse.IoctlIn, data []byte, out *gofuse.IoctlOut, answer []byte) gofuse.Status {
	for i := range answer {
		answer[i] = data[len(data)-1-i]
	}
	return gofuse.OK
}

// command is what the test can ask of the server, in one line.
func (n *nodes) command(s *Server, line string) string {
	switch line {
	case "status":
		how := s.Status()
		return fmt.Sprintf("%s %d %s", how.Name, how.Rings, how.Reason)
	case "readers":
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return fmt.Sprint(bytes.Count(stacks, []byte(".readRequest(")), s.Status().Waiting)
	case "waiting":
		return fmt.Sprint(n.waiting.Load())
	case "kept":
		return fmt.Sprint(int64(n.lookedUp.Load()) - int64(n.forgot.Load()))
	case "notify":
		return fmt.Sprint(n.server.EntryNotify(gofuse.FUSE_ROOT_ID, "noticed"), n.server.InodeNotify(gofuse.FUSE_ROOT_ID, 0, -1))
	case "release":
		n.mu.Lock()
		defer n.mu.Unlock()
		close(n.release)
		n.release = make(chan struct{})
		return "released"
	}
	return "what?"
}

// help serves a mount until it is unmounted.
func help(point, mode, spoil string) error {
	wanted, err := ParseMode(mode)
	if err != nil {
		return err
	}
	n := newNodes()
	cfg := Config{
		Mount:      Mount{Point: point, FsName: "nodes", Subtype: "nodes", MaxRead: 1 << 20, AllowOther: true},
		FileSystem: n,
		Options: &gofuse.MountOptions{
			Name: "nodes", MaxWrite: 1 << 20, MaxBackground: 12, DisableSplice: true,
			ExtraCapabilities: gofuse.CAP_SETXATTR_EXT,
		},
		Mode: wanted, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if spoil != "" {
		cfg.Spoil = func(queue int) bool { return fmt.Sprint(queue) == spoil }
	}
	s, err := Serve(cfg)
	if err != nil {
		return err
	}
	fmt.Println("mounted")
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			fmt.Println(n.command(s, lines.Text()))
		}
	}()
	s.Wait()
	return nil
}
