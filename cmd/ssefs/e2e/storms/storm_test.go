package storms

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/e2e/drive"
	"ssefs/cmd/ssefs/e2e/expect"
	"ssefs/fs/uring/uringtest"
)

// roundsVariable says how many storms each test has in the place of one, and seedVariable which is the first.
const (
	roundsVariable = "SSEFS_STORM_ROUNDS"
	seedVariable   = "SSEFS_STORM_SEED"
)

// processes is how many there are in a storm.
const processes = 6

func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	expect.OK(t, err, "%s", variable)
	return n
}

// gale is a storm on a drive.
type gale struct {
	*testing.T
	d     *drive.Drive
	paths []string
	logs  []string
	procs []*drive.Process
	h     history
}

// begin makes the directories and starts the processes, each with so many operations to do.
func begin(t *testing.T, d *drive.Drive, round, seed, operations int) *gale {
	t.Helper()
	g := &gale{T: t, d: d, paths: dirPaths(d, round), h: history{world: world{made: map[uint64]int{}}}}
	for i, p := range g.paths {
		expect.OK(t, os.Mkdir(p, 0o755), "mkdir")
		g.h.dirs[i] = expect.Stat(t, p).Ino
		if !isBucket(i) {
			g.h.start[bucketOf(i)*perBucket][i%perBucket-1] = g.h.dirs[i]
		}
	}
	drive.Must(t, drive.Binary(t), "sync", d.Path())
	dir := drive.Dir(t)
	for i := range processes {
		log := filepath.Join(dir, fmt.Sprint("log", i))
		args := append([]string{log, fmt.Sprint(i), fmt.Sprint(seed), fmt.Sprint(operations)}, g.paths...)
		g.logs = append(g.logs, log)
		g.procs = append(g.procs, drive.Start(t, "storm", args...))
	}
	for _, p := range g.procs {
		p.Expect("ready")
	}
	for _, p := range g.procs {
		p.Say("go")
	}
	return g
}

// end waits for the processes and collects what they did.
func (g *gale) end() {
	g.Helper()
	for _, p := range g.procs {
		p.Wait()
	}
	for _, l := range g.logs {
		ops, err := readLog(l)
		expect.OK(g, err, "log")
		g.h.ops = append(g.h.ops, ops...)
	}
	told := map[uint64]string{}
	for i := range g.h.ops {
		o := &g.h.ops[i]
		if o.Lost {
			o.Ended = math.MaxInt64 - 1
		}
		if o.Kind != create || o.File == 0 {
			continue
		}
		// The file was made: what failed afterwards is its contents.
		if told[o.File] != "" {
			g.Errorf("two files have the number %d", o.File)
		}
		told[o.File], g.h.made[o.File] = o.Contents, bucketOf(o.At.Dir)
		o.Lost, o.Errno = false, 0
	}
	for i := range g.h.ops {
		o := &g.h.ops[i]
		if o.Kind == open && o.Contents != "" && o.Contents != told[o.Found] {
			g.Errorf("%s: the contents were %q", o, told[o.Found])
		}
	}
}

// look takes a snapshot of the drive, compares the links and contents of what is there, and adds it to the history.
func (g *gale) look() {
	g.Helper()
	o := operation{Kind: snapshot, Began: now(), tree: &tree{}}
	links, names := map[uint64]uint64{}, map[uint64]string{}
	for i, p := range g.paths {
		if isBucket(i) {
			g.walk(i, p, o.tree, links, names)
		}
	}
	for ino, n := range links {
		if found := o.tree.links(ino); uint64(found) != n {
			g.Errorf("%s has %d names and a link count of %d", names[ino], found, n)
		}
	}
	o.Ended = now()
	if g.h.killed {
		o.Began, o.Ended = math.MaxInt64, math.MaxInt64
	}
	g.h.ops = append(g.h.ops, o)
}

// walk reads a directory, and all in it.
func (g *gale) walk(dir int, path string, t *tree, links map[uint64]uint64, names map[uint64]string) {
	g.Helper()
	for _, name := range expect.Names(g, path) {
		slot := slices.Index(slotNames[:], name)
		if slot < 0 {
			g.Errorf("%s has a name %q", path, name)
			continue
		}
		p := filepath.Join(path, name)
		st := expect.Lstat(g, p)
		t[dir][slot] = st.Ino
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			if d := g.h.dir(st.Ino); d < 0 || t.links(st.Ino) > 1 {
				g.Fatalf("%s is inode %d, which is no directory of these or is in two places", p, st.Ino)
			} else {
				g.walk(d, p, t, links, names)
			}
			continue
		}
		links[st.Ino], names[st.Ino] = st.Nlink, p
		g.contents(p, st.Ino)
	}
}

// contents compares what is in a file with what was written into it, all or, after a kill, nothing of it.
func (g *gale) contents(path string, ino uint64) {
	g.Helper()
	got := string(expect.Read(g, path))
	i := slices.IndexFunc(g.h.ops, func(o operation) bool { return o.Kind == create && o.File == ino })
	switch {
	case i < 0 && !g.h.killed:
		g.Errorf("%s is inode %d, which nobody made", path, ino)
	case i < 0 || g.h.killed && got == "":
		if got != "" {
			g.Errorf("%s, which nobody wrote to, has %q", path, got)
		}
		if i < 0 {
			g.h.lost = append(g.h.lost, ino)
		}
	case got != g.h.ops[i].Contents:
		g.Errorf("%s has %q, want %q", path, got, g.h.ops[i].Contents)
	}
}

// mounted is a drive that is mounted in one of the ways in which requests may come.
type mounted struct {
	*drive.Drive
	mount func(f func()) // calls f, which mounts
}

// everyWay runs a test over /dev/fuse and over io_uring, where this kernel has it.
func everyWay(t *testing.T, test func(t *testing.T, d mounted)) {
	t.Run("device", func(t *testing.T) {
		d := drive.New(t, drive.Options{Mount: []string{"--io-uring", "off"}})
		test(t, mounted{d, func(f func()) { f() }})
	})
	t.Run("rings", func(t *testing.T) {
		mode := "auto"
		if uringtest.Available(t) {
			mode = "on"
		}
		d := mounted{mount: func(f func()) { uringtest.SwitchedOn(t, f) }}
		d.mount(func() { d.Drive = drive.New(t, drive.Options{Mount: []string{"--io-uring", mode}}) })
		test(t, d)
	})
}

// TestStorm: what many processes do to a few names at once has an order, and its end is what is there, now and after the
// store was opened again.
func TestStorm(t *testing.T) {
	everyWay(t, func(t *testing.T, d mounted) {
		seed := number(t, seedVariable, 1)
		for round := range number(t, roundsVariable, 1) {
			g := begin(t, d.Drive, round, seed+round, 400)
			g.end()
			g.look()
			d.Unmount()
			d.mount(func() { d.Mount() })
			g.look()
			g.h.ordered(t)
			g.stop(seed + round)
		}
	})
}

// TestStormKilled: what a kill in the middle leaves is what there was at some point, after the last sync that was
// answered.
func TestStormKilled(t *testing.T) {
	everyWay(t, func(t *testing.T, d mounted) {
		seed := number(t, seedVariable, 1)
		for round := range number(t, roundsVariable, 1) {
			g := begin(t, d.Drive, round, seed+round, 10_000)
			g.h.killed = true
			g.waitFor(100 + rand.New(rand.NewPCG(uint64(seed+round), 0)).IntN(1500))
			d.Kill()
			g.end()
			d.Fsck()
			d.mount(func() { d.Mount() })
			g.look()
			g.h.lose()
			g.h.ordered(t)
			g.stop(seed + round)
		}
	})
}

// waitFor waits until the processes have noted so many operations.
func (g *gale) waitFor(operations int) {
	g.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		n := 0
		for _, l := range g.logs {
			b, err := os.ReadFile(l)
			expect.OK(g, err, "log")
			n += strings.Count(string(b), "\n")
		}
		switch {
		case n >= operations:
			return
		case time.Now().After(deadline):
			g.Fatalf("%d operations after two minutes", n)
		}
	}
}

// stop ends the test if a round has failed, and says which it was.
func (g *gale) stop(seed int) {
	g.Helper()
	if g.Failed() {
		g.Fatalf("failed with %s=%d", seedVariable, seed)
	}
}
