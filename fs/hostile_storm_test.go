package fs

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"ssefs/fs/record"
)

// stormWorkers and stormSteps are how many change names at once, and how often each.
const (
	stormWorkers = 8
	stormSteps   = 1500
)

// TestNameStorm has requests change a few names in a few directories all at once, as the kernel, which locks directories,
// never does: what a handler looks up before it changes something is another thing by then.
func TestNameStorm(t *testing.T) {
	limitTime(t)
	k := newHostileKernel(t)
	k.furnish()
	bucket := k.dirs[1]
	dirs := []uint64{bucket}
	for _, name := range []string{"a", "b", "c"} {
		d := k.make(opMkdir, bucket, new(fields).u32(0o755, 0).name(name))
		k.make(opMkdir, d, new(fields).u32(0o755, 0).name("stays")) // so that it is neither removed nor replaced
		dirs = append(dirs, d)
	}
	var all sync.WaitGroup
	for i := range stormWorkers {
		all.Go(func() { k.changeNames(rand.New(rand.NewPCG(uint64(i), 3)), dirs) })
	}
	all.Wait()
	k.finish()
}

// changeNames changes names in directories at random.
func (k *hostileKernel) changeNames(r *rand.Rand, dirs []uint64) {
	name := func() string { return string(rune('a' + r.IntN(3))) }
	dir := func() uint64 { return dirs[r.IntN(len(dirs))] }
	file := k.knows().nodes[1]
	for range stormSteps {
		d := dir()
		switch n := r.IntN(20); {
		case n < 6:
			a := k.send(request{op: opCreate, node: d, body: *new(fields).u32(unix.O_RDWR, record.TypeFile|0o644, 0, 0).name(name())})
			if a.status != 0 || a.without {
				continue
			}
			file = binary.NativeEndian.Uint64(a.body)
			fh := binary.NativeEndian.Uint64(a.body[sizeEntry:])
			k.send(request{op: opWrite, node: file, body: writeBody(fh, 0, 0, 0, []byte("contents"))})
			k.send(request{op: opRelease, node: file, body: *new(fields).u64(fh).u32(0, 0).u64(0)})
			if r.IntN(2) == 0 {
				k.send(request{op: opForget, node: file, body: *new(fields).u64(1)})
			}
		case n < 9:
			k.send(request{op: opUnlink, node: d, body: *new(fields).name(name())})
		case n < 10:
			k.send(request{op: opRmdir, node: d, body: *new(fields).name(name())})
		case n < 11:
			k.send(request{op: opMkdir, node: d, body: *new(fields).u32(0o755, 0).name(name())})
		case n < 13:
			k.send(request{op: opLink, node: d, body: *new(fields).u64(file).name(name())})
		case n < 15:
			a := k.send(request{op: opLookup, node: d, body: *new(fields).name(name())})
			if a.status == 0 && !a.without && binary.NativeEndian.Uint64(a.body) != 0 {
				k.send(request{op: opForget, node: binary.NativeEndian.Uint64(a.body), body: *new(fields).u64(1)})
			}
		default:
			mode := [...]uint32{0, unix.RENAME_EXCHANGE, unix.RENAME_NOREPLACE}[r.IntN(3)]
			k.send(request{op: opRename2, node: d, body: *new(fields).u64(dir()).u32(mode, 0).name(name(), name())})
		}
	}
}
