package model

import (
	"fmt"
	"maps"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

const (
	// verifyEvery is the number of operations between two comparisons of the whole trees.
	verifyEvery = 12
	// historyLimit is the number of operations after which everything is synced, which bounds what a kill has to
	// be compared with.
	historyLimit = 150
	// shownOperations is how many of the last operations a failure shows.
	shownOperations = 120
)

// handle is an open file.
type handle struct {
	fd    int
	file  ID
	flags int
}

func (h *handle) readable() bool { return h.flags&unix.O_ACCMODE != unix.O_WRONLY }
func (h *handle) writable() bool { return h.flags&unix.O_ACCMODE != unix.O_RDONLY }
func (h *handle) synced() bool   { return h.flags&unix.O_DSYNC != 0 }

// machine does one check: the same operations on the model and on the drive.
type machine struct {
	t    *rapid.T
	r    *real
	root string

	fs      *FS
	history *History
	handles []*handle
	// linkable are the files made without a name that may still get one.
	linkable map[ID]bool
	// inos are the inode numbers that the drive gave; a number stays and is never given again.
	inos map[ID]uint64
	ids  map[uint64]ID

	count int
	log   []string
	// killing: the daemon may be gone at any time; dead: an operation has noticed it.
	killing, dead bool
	// stopNoise ends what works beside the check, nil if nothing does.
	stopNoise func()
}

func newMachine(t *rapid.T, r *real) *machine {
	policy := rapid.SampledFrom([]string{"AES256", "none", "KMS"}).Draw(t, "policy")
	root, err := r.bucket(policy)
	if err != nil {
		t.Fatalf("make a bucket: %v", err)
	}
	m := &machine{t: t, r: r, root: root, fs: New(0o755, 0, 0), linkable: map[ID]bool{}, inos: map[ID]uint64{},
		ids: map[uint64]ID{}}
	m.history = NewHistory(m.fs)
	t.Cleanup(m.rest)
	if rapid.Bool().Draw(t, "noise") {
		m.makeNoise()
	}
	return m
}

// at returns the real path of a path in the model.
func (m *machine) at(p string) string { return m.root + "/" + p }

// fail ends the check with the operations that led to it.
func (m *machine) fail(format string, args ...any) {
	m.t.Helper()
	from := max(0, len(m.log)-shownOperations)
	m.t.Fatalf("%s\nin %s after %d operations:\n%s", fmt.Sprintf(format, args...), m.root, len(m.log),
		strings.Join(m.log[from:], "\n"))
}

// operation is what both sides do.
type operation struct {
	what string
	// model changes the next state; drive does the same for real.
	model func(next *FS) syscall.Errno
	drive func() error
	// namespace says that names or attributes change; changes describes what happens to contents, after the fact.
	namespace bool
	changes   func(next *FS) []Change
}

// do performs an operation on both sides and compares the answers. It reports whether the operation succeeded.
func (m *machine) do(op operation) bool {
	m.t.Helper()
	next := m.fs.Clone()
	next.Now = m.coarseNow()
	want := op.model(next)
	if want == ErrOutside {
		nothing("outside of the model")
	}
	err := op.drive()
	got := errnoOf(err)
	m.count++
	line := fmt.Sprintf("%3d %s", len(m.log), op.what)
	if err != nil {
		line += " -> " + err.Error()
	}
	m.log = append(m.log, line)
	if m.killing && died(got) {
		// Whether it was done nobody knows; a sync that was not acknowledged promises nothing.
		m.dead = true
		if want == 0 {
			var doubtful []Change
			if op.changes != nil {
				doubtful = unacknowledged(op.changes(next))
			}
			m.history.Add(next, op.namespace, doubtful...)
		}
		return false
	}
	if got != want {
		m.fail("%s: the answer is %v, want %v", op.what, err, want.Error())
	}
	if want != 0 {
		return false
	}
	var changes []Change
	if op.changes != nil {
		changes = op.changes(next)
	}
	m.fs = next
	m.history.Add(next, op.namespace, changes...)
	return true
}

// coarseNow reads the clock that the kernel takes times of files from. It ticks, and by how much it is behind depends on
// how busy the machine is.
func (m *machine) coarseNow() time.Time {
	m.t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		m.fail("read the coarse clock: %v", err)
	}
	return time.Unix(now.Unix())
}

// unacknowledged reduces the effects of an operation to what they can have been if it was cut short.
func unacknowledged(changes []Change) []Change {
	var out []Change
	for _, c := range changes {
		switch c.Effect {
		case WroteThrough:
			c.Effect = Wrote
		case Flushed, Synced, SyncedRange:
			continue
		case Wrote, WroteMapped, Truncated, Zeroed, Replaced:
		}
		out = append(out, c)
	}
	return out
}

// check runs after every action.
func (m *machine) check(*rapid.T) {
	if m.history.Len() > historyLimit {
		m.barrier()
	}
	if m.count%verifyEvery == 0 {
		m.verify()
	}
}

// rest leaves the drive alone.
func (m *machine) rest() {
	if m.stopNoise != nil {
		m.stopNoise()
	}
	m.closeAll()
}

// end finishes a check.
func (m *machine) end() {
	m.verify()
	m.rest()
	if err := os.RemoveAll(m.root); err != nil {
		m.fail("remove the bucket: %v", err)
	}
}

func (m *machine) closeAll() {
	for _, h := range m.handles {
		_ = unix.Close(h.fd) // after a kill it cannot succeed
	}
	m.handles = nil
}

// barrier makes everything durable.
func (m *machine) barrier() {
	m.t.Helper()
	m.log = append(m.log, "    ssefs sync")
	if err := m.r.barrier(); err != nil {
		m.fail("%v", err)
	}
	m.history.Barrier(m.fs)
}

// verify compares the whole trees: names, attributes, times, contents, and the open files.
func (m *machine) verify() {
	m.t.Helper()
	s, err := scan(m.root)
	if err != nil {
		m.fail("read the tree back: %v", err)
	}
	if got, want := s.FS.Node(Root).Nlink, m.fs.Node(Root).Nlink; got != want {
		m.fail("the top directory has %d links, want %d", got, want)
	}
	if d := SameNames(m.fs, s.FS); d != "" {
		m.fail("%s", d)
	}
	got := byPath(s.FS)
	now := time.Now()
	for _, p := range m.fs.Paths() {
		id, there := p.Node.ID, got[p.Path].ID
		m.sameIno(p.Path, id, s.Ino[there])
		if !p.Node.Mtime.Allows(s.Mtime[there], now) {
			m.fail("%q: mtime is %v, want %v", p.Path, s.Mtime[there], p.Node.Mtime)
		}
		if !p.Node.IsRegular() {
			continue
		}
		data, err := readPath(m.at(p.Path))
		if err != nil {
			m.fail("read %q: %v", p.Path, err)
		}
		if d := FirstDifference(p.Node.Data, data); d != "" {
			m.fail("%q: %s", p.Path, d)
		}
	}
	for _, h := range m.handles {
		m.verifyHandle(h)
	}
}

// sameIno holds the drive to the inode numbers it gave.
func (m *machine) sameIno(p string, id ID, ino uint64) {
	m.t.Helper()
	switch known := m.inos[id]; {
	case known == 0:
		if owner, taken := m.ids[ino]; taken && !m.r.native {
			m.fail("%q: inode number %d was that of another file (%d) before", p, ino, owner)
		}
		m.inos[id], m.ids[ino] = ino, id
	case known != ino:
		m.fail("%q: inode number is %d, was %d", p, ino, known)
	}
}

// verifyHandle compares an open file, which may have lost its name.
func (m *machine) verifyHandle(h *handle) {
	m.t.Helper()
	n := m.fs.Node(h.file)
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		m.fail("fstat of file %d: %v", h.file, err)
	}
	if st.Mode != n.Mode || uint32(st.Nlink) != n.Nlink || st.Size != n.Data.Size() || st.Uid != n.UID || st.Gid != n.GID {
		m.fail("open file %d: fstat says mode %#o, %d links, size %d, owner %d:%d; want %#o, %d, %d, %d:%d", h.file,
			st.Mode, st.Nlink, st.Size, st.Uid, st.Gid, n.Mode, n.Nlink, n.Data.Size(), n.UID, n.GID)
	}
	if !h.readable() {
		return
	}
	data, err := readData(h.fd, st.Size)
	if err != nil {
		m.fail("read open file %d: %v", h.file, err)
	}
	if d := FirstDifference(n.Data, data); d != "" {
		m.fail("open file %d: %s", h.file, d)
	}
}

// actions lists what a check may do; what is listed several times is done more often.
func (m *machine) actions() map[string]func(*rapid.T) {
	all := map[string]func(*rapid.T){
		"": m.check,
	}
	weights := map[string]int{"write": 6, "open": 3, "create": 3, "mkdir": 2, "rename": 4, "truncate": 2, "fsync": 2}
	list := m.ordinary()
	maps.Copy(list, map[string]func(*rapid.T){"remount": m.remount, "kill": m.kill})
	for name, action := range list {
		for i := range max(1, weights[name]) {
			all[fmt.Sprintf("%s/%d", name, i)] = func(t *rapid.T) {
				if !attempt(t, action) {
					t.SkipNow() // rapid then draws another action
				}
			}
		}
	}
	return all
}

// nothingToDo ends an action that does not fit the state.
type nothingToDo string

func nothing(why string) { panic(nothingToDo(why)) }

// attempt runs an action and reports whether there was something to do.
func attempt(t *rapid.T, action func(*rapid.T)) (done bool) {
	defer func() {
		e := recover()
		if _, idle := e.(nothingToDo); e != nil && !idle {
			panic(e)
		}
		done = e == nil
	}()
	action(t)
	return true
}

// ordinary are the actions that a daemon may be killed under.
func (m *machine) ordinary() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"mkdir": m.mkdir, "create": m.create, "mknod": m.mknod, "symlink": m.symlink, "link": m.link,
		"unlink": m.unlink, "rmdir": m.rmdir, "rename": m.rename, "crowd": m.crowd, "listing": m.listing,
		"saveover": m.saveOver,
		"chmod":    m.chmod, "chown": m.chown, "utimes": m.utimes, "setxattr": m.setxattr,
		"removexattr": m.removexattr, "getxattr": m.getxattr,
		"open": m.open, "close": m.close, "tmpfile": m.tmpfile, "linktmp": m.linkOpen,
		"write": m.write, "read": m.read, "direct": m.direct, "truncate": m.truncate, "ftruncate": m.ftruncate,
		"fallocate": m.fallocate, "copyrange": m.copyRange, "mapped": m.mapped, "holes": m.holes,
		"bulk": m.bulk, "scatter": m.scatter, "policy": m.policy,
		"fsync": m.fsync, "fsyncdir": m.fsyncDir, "evict": m.evict,
	}
}

// anyPath draws the path of an existing node, or one that is probably not there.
func (m *machine) anyPath(t *rapid.T, label string) string {
	paths := m.fs.Paths()
	if len(paths) == 0 || rapid.IntRange(0, 9).Draw(t, label+"?") == 0 {
		return m.newPath(t, label)
	}
	return rapid.SampledFrom(paths).Draw(t, label).Path
}

// filePath is anyPath that prefers regular files.
func (m *machine) filePath(t *rapid.T, label string) string {
	var files []Path
	for _, p := range m.fs.Paths() {
		if p.Node.IsRegular() {
			files = append(files, p)
		}
	}
	if len(files) == 0 || rapid.IntRange(0, 7).Draw(t, label+"?") == 0 {
		return m.anyPath(t, label)
	}
	return rapid.SampledFrom(files).Draw(t, label).Path
}

// names that a new path may end in. They are few, so that operations meet.
func names() []string {
	return []string{
		"a", "b", "c", "d", "e", "f", "g", "h",
		" space \n", "ümläut", "bytes-\xff\xfe\x01", strings.Repeat("x", nameMax), ".hidden",
		strings.Repeat("y", nameMax+1), strings.Repeat("é", 128), // both too long
	}
}

// newPath draws a path that may or may not be free, mostly in a directory that exists.
func (m *machine) newPath(t *rapid.T, label string) string {
	name := rapid.SampledFrom(names()).Draw(t, label+" name")
	dirs := []string{""}
	var other []string
	for _, p := range m.fs.Paths() {
		switch {
		case p.Node.IsDir() && strings.Count(p.Path, "/") < 3:
			dirs = append(dirs, p.Path)
		case !p.Node.IsDir():
			other = append(other, p.Path) // symlinks to directories among them
		}
	}
	dir := rapid.SampledFrom(dirs).Draw(t, label+" dir")
	if len(other) > 0 && rapid.IntRange(0, 11).Draw(t, label+" odd") == 0 {
		dir = rapid.SampledFrom(other).Draw(t, label+" through")
	}
	return strings.TrimPrefix(path.Join(dir, name), "/")
}

// mode draws permission bits; a directory never becomes sticky and writable by all, where Linux has rules of its own
// about following links.
func drawMode(t *rapid.T) uint32 {
	return rapid.SampledFrom([]uint32{0o644, 0o600, 0o755, 0o700, 0, 0o777, 0o4755, 0o2755, 0o2644, 0o6711, 0o1755}).
		Draw(t, "mode")
}
