package volume

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ssefs/crypto"
)

const block = crypto.BlockSize

// fileModel is what a file should be: its bytes, and which blocks are holes.
type fileModel struct {
	data []byte
	full []bool // by block: something was written there since it was a hole
}

func (m *fileModel) resize(size int) {
	if size < len(m.data) {
		m.data = m.data[:size]
		m.full = m.full[:(size+block-1)/block]
		return
	}
	m.data = append(m.data, make([]byte, size-len(m.data))...)
	m.full = append(m.full, make([]bool, (size+block-1)/block-len(m.full))...)
}

func (m *fileModel) write(off int, b []byte) {
	if off+len(b) > len(m.data) {
		m.resize(off + len(b))
	}
	copy(m.data[off:], b)
	for i := off / block; i <= (off+len(b)-1)/block; i++ {
		m.full[i] = true
	}
}

// zero is what punching and zeroing do to the bytes before the end.
func (m *fileModel) zero(off, end int) {
	end = min(end, len(m.data))
	if off >= end {
		return
	}
	clear(m.data[off:end])
	for i := (off + block - 1) / block; i < len(m.full) && ((i+1)*block <= end || end == len(m.data)); i++ {
		m.full[i] = false
	}
}

func (m *fileModel) blocks() uint64 {
	n := uint64(0)
	for _, f := range m.full {
		if f {
			n++
		}
	}
	return n
}

// seek is SeekData and SeekHole by looking at every block.
func (m *fileModel) seek(off int, data bool) (uint64, bool) {
	for i := off / block; i < len(m.full); i++ {
		if m.full[i] == data {
			return uint64(min(max(off, i*block), len(m.data))), true
		}
	}
	return uint64(len(m.data)), !data
}

// edgy returns an offset below limit that is likely to be at or beside the edge
// of a block, a leaf or a record.
func edgy(r *rand.Rand, limit int) int {
	at := r.IntN(limit)
	switch r.IntN(4) {
	case 0:
		at = at / block * block
	case 1:
		at = at / leafBytes * leafBytes
	case 2:
		at = at / (ownRecord * block) * ownRecord * block
	}
	if r.IntN(2) == 0 {
		at += r.IntN(5) - 2
	}
	return min(max(at, 0), limit)
}

func length(r *rand.Rand) int {
	switch r.IntN(6) {
	case 0:
		return 1 + r.IntN(20)
	case 1:
		return block
	case 2:
		return 1 + r.IntN(3*block)
	case 3:
		return ownRecord*block + r.IntN(3) - 1
	case 4:
		return leafBytes - r.IntN(2*block)
	}
	return 1 + r.IntN(300<<10)
}

// TestContents does random things to files and compares them with models in
// memory all the time.
func TestContents(t *testing.T) {
	for _, policy := range []string{"AES256", "none"} {
		t.Run(policy, func(t *testing.T) { testContents(t, policy) })
	}
}

func testContents(t *testing.T, policy string) {
	r := newRand(t)
	x := newTestVolume(t, Options{})
	x.mkdir("/m", policy)
	const files, limit = 3, 5 << 20
	models := make([]fileModel, files)
	path := func(i int) string { return fmt.Sprintf("/m/%d", i) }
	open := make([]*Inode, files)
	for i := range open {
		open[i] = x.newFile(path(i))
	}
	check := func() {
		for i, n := range open {
			x.wantContents(n, models[i].data)
		}
	}
	reopen := func(how func()) {
		for _, n := range open {
			x.v.Unpin(n)
		}
		how()
		for i := range open {
			open[i] = x.file(path(i))
			if got, want := open[i].Stat().Blocks, models[i].blocks(); got != want {
				t.Fatalf("file %d has %d blocks after a mount, want %d", i, got, want)
			}
		}
		check()
	}
	for step := range 350 {
		i := r.IntN(files)
		n, m := open[i], &models[i]
		off, k := edgy(r, limit), length(r)
		switch op := r.IntN(100); {
		case op < 40:
			b := noise(uint64(step), min(k, leafBytes))
			m.write(off, b)
			if r.IntN(2) == 0 {
				x.must(x.v.Write(n, uint64(off), b))
			} else {
				x.must(x.v.WriteBack(n, uint64(off), b))
			}
		case op < 48:
			m.resize(off)
			x.truncate(n, uint64(off))
		case op < 54:
			m.zero(off, off+k)
			x.must(x.v.Allocate(n, uint64(off), uint64(k), AllocatePunch))
		case op < 57:
			m.zero(off, off+k)
			x.must(x.v.Allocate(n, uint64(off), uint64(k), AllocateZeroKeepSize))
		case op < 60:
			m.zero(off, off+k)
			if off+k > len(m.data) {
				m.resize(off + k)
			}
			x.must(x.v.Allocate(n, uint64(off), uint64(k), AllocateZero))
		case op < 62:
			if off+k > len(m.data) {
				m.resize(off + k)
			}
			x.must(x.v.Allocate(n, uint64(off), uint64(k), AllocateExtend))
		case op < 72:
			got := x.read(n, uint64(off), k)
			want := m.data[min(off, len(m.data)):min(off+k, len(m.data))]
			if d := differ(got, want); d >= 0 {
				t.Fatalf("step %d: file %d differs at %d", step, i, off+d)
			}
		case op < 80:
			x.wantSeek(n, m, off)
		case op < 84:
			from := r.IntN(files)
			src := min(edgy(r, limit), len(models[from].data))
			b := slices.Clone(models[from].data[src:min(src+k, len(models[from].data))])
			if got := x.read(open[from], uint64(src), len(b)); len(b) > 0 {
				m.write(off, b)
				x.write(n, uint64(off), got)
			}
		case op < 88:
			x.must(x.v.SyncInode(n))
		case op < 91:
			x.must(x.v.Sync())
		case op < 95:
			x.must(x.v.writeBack(n))
		case op < 97:
			check()
		case op < 98:
			reopen(x.reopen)
		default:
			x.must(x.v.Sync())
			reopen(x.crash)
		}
	}
	reopen(x.reopen)
	for _, n := range open {
		x.v.Unpin(n)
	}
}

func (x *testVolume) wantSeek(n *Inode, m *fileModel, off int) {
	x.Helper()
	for _, data := range []bool{true, false} {
		seek := x.v.SeekHole
		if data {
			seek = x.v.SeekData
		}
		got, err := seek(n, uint64(off))
		want, ok := m.seek(off, data)
		if off >= len(m.data) {
			ok = false
		}
		if !ok {
			if !errors.Is(err, ErrNoSeek) {
				x.Fatalf("seek for data %v from %d of %d: %d, %v, want ErrNoSeek", data, off, len(m.data), got, err)
			}
			continue
		}
		if err != nil || got != want {
			x.Fatalf("seek for data %v from %d of %d: %d, %v, want %d", data, off, len(m.data), got, err, want)
		}
	}
}

// TestSeekHuge: seeking in a file of 16 TiB takes no walk over its holes.
func TestSeekHuge(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	defer x.v.Unpin(n)
	x.truncate(n, 16<<40)
	if _, err := x.v.SeekData(n, 0); !errors.Is(err, ErrNoSeek) {
		t.Errorf("data in an empty file: %v", err)
	}
	for _, off := range []uint64{3 << 20, 7<<40 + 12345, 16<<40 - 1} {
		x.write(n, off, []byte("x"))
	}
	for range 2 {
		at := uint64(0)
		for _, want := range []uint64{3 << 20, (7<<40 + 12345) / block * block, 16<<40 - block} {
			got, err := x.v.SeekData(n, at)
			if err != nil || got != want {
				t.Fatalf("data after %d at %d, %v, want %d", at, got, err, want)
			}
			if at, err = x.v.SeekHole(n, got); err != nil || at != got+block {
				t.Fatalf("hole after %d at %d, %v", got, at, err)
			}
		}
		if b := n.Stat().Blocks; b != 3 {
			t.Errorf("%d blocks, want 3", b)
		}
		x.must(x.v.Sync())
	}
	if err := x.v.Write(n, MaxFileSize, []byte("x")); !errors.Is(err, ErrTooBig) {
		t.Errorf("write past the largest size: %v", err)
	}
	huge := uint64(MaxFileSize)
	x.truncate(n, huge)
	x.must(x.v.Write(n, huge-1, []byte("y")))
	x.must(x.v.Sync())
	x.must(x.v.Allocate(n, 0, huge, AllocatePunch))
	if b := n.Stat().Blocks; b != 0 {
		t.Errorf("%d blocks after punching everything", b)
	}
}

// TestLeafEviction: a leaf with dirty blocks is not lost to the limit on leaves
// in memory, nor what is punched out of it then.
func TestLeafEviction(t *testing.T) {
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	const leaves = maxCleanLeaves + 200
	data := noise(7, 8192)
	for i := range leaves {
		x.must(x.v.WriteBack(n, uint64(i)*leafBytes, data))
	}
	x.must(x.v.Sync())
	if k := len(n.fmap.leaves); k > maxCleanLeaves {
		t.Errorf("%d leaves are in memory", k)
	}
	x.v.Unpin(n)
	x.reopen()
	n = x.file("/b/f")
	defer x.v.Unpin(n)
	for i := range leaves {
		if i == maxCleanLeaves-5 {
			x.must(x.v.WriteBack(n, 5*leafBytes, data[:100])) // leaf 5 has a dirty block
		}
		x.read(n, uint64(i)*leafBytes, 10) // and is evicted soon, if it can be
	}
	x.must(x.v.Allocate(n, 5*leafBytes+block, block, AllocatePunch))
	x.must(x.v.Sync())
	want := slices.Concat(data[:block], make([]byte, block))
	if d := differ(x.read(n, 5*leafBytes, 2*block), want); d >= 0 {
		t.Errorf("leaf differs at %d", d)
	}
}

// TestConcurrentContents: readers, writers, syncs and early flushes of one file
// at once. Every block always holds one byte value throughout.
func TestConcurrentContents(t *testing.T) {
	watchdog(t)
	x := newTestVolume(t, Options{})
	n := x.newFile("/b/f")
	const blocks = 600
	x.truncate(n, blocks*block)
	stop := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 9))
			b := make([]byte, block)
			for time.Now().Before(stop) {
				for i := range b {
					b[i] = byte(w + 1)
				}
				if err := x.v.WriteBack(n, uint64(r.IntN(blocks))*block, b); err != nil {
					t.Error(err)
				}
				if r.IntN(20) == 0 {
					at := uint64(r.IntN(blocks)) * block
					if err := x.v.Allocate(n, at, 3*block, AllocatePunch); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 10))
			b := make([]byte, 20*block)
			for time.Now().Before(stop) {
				k, err := x.v.Read(n, b, uint64(r.IntN(blocks))*block)
				if err != nil {
					t.Error(err)
				}
				for i := 0; i < k; i += block {
					if b[i] != b[i+block-1] || b[i] != b[i+block/2] || b[i] > 3 {
						t.Errorf("torn block: %d, %d, %d", b[i], b[i+block/2], b[i+block-1])
						return
					}
				}
			}
		})
	}
	wg.Go(func() {
		for i := 0; time.Now().Before(stop); i++ {
			err := x.v.writeBack(n)
			if i%2 == 0 {
				err = x.v.SyncInode(n)
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	x.v.Unpin(n)
	x.reopen()
}
