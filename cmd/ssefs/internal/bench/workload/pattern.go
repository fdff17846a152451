package workload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// blockSize is the unit in which contents are made and checked.
const blockSize = 4 << 10

// patternBlocks is after how many blocks random bytes repeat. Contents differ all the same, by their stamps.
const patternBlocks = 256

// stampSize is the number of bytes at the start of a block that say which it is.
const stampSize = 16

// pattern makes file contents that cost next to nothing to make and to check: random bytes that repeat each MiB, with a
// stamp on each block that says which block it is and which version of it. It is used by one goroutine.
type pattern struct {
	seed uint64
	buf  []byte // the random bytes, with the stamps of what was made last
}

func newPattern(seed uint64) *pattern {
	p := &pattern{seed: seed, buf: make([]byte, patternBlocks*blockSize)}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(p.buf) // never fails
	return p
}

// blocks returns the contents of n blocks from block first on. They are good until the next call. The range must not
// cross a multiple of patternBlocks.
func (p *pattern) blocks(first uint64, n int, version uint32) []byte {
	at := int(first % patternBlocks)
	for i := range n {
		p.stamp(p.buf[(at+i)*blockSize:], first+uint64(i), version)
	}
	return p.buf[at*blockSize : (at+n)*blockSize]
}

func (p *pattern) stamp(b []byte, block uint64, version uint32) {
	binary.LittleEndian.PutUint64(b, block<<32|uint64(version))
	binary.LittleEndian.PutUint64(b[8:], p.seed^block*0x9e3779b97f4a7c15)
}

// checkStamp checks that b begins like a version of a block. It costs nothing to speak of beside a read.
func (p *pattern) checkStamp(b []byte, block uint64, version uint32) error {
	var want [stampSize]byte
	p.stamp(want[:], block, version)
	if !bytes.HasPrefix(b, want[:]) {
		return fmt.Errorf("%w: block %d, version %d: begins with %x, not %x", ErrWrong, block, version, b[:min(len(b), stampSize)], want)
	}
	return nil
}

// check checks all bytes of blocks from block first on, of which versions tells the version.
func (p *pattern) check(b []byte, first uint64, version func(block uint64) uint32) error {
	for i := uint64(0); len(b) > 0; i++ {
		if len(b) < blockSize {
			return fmt.Errorf("%w: block %d is cut off", ErrWrong, first+i)
		}
		block := first + i
		if err := p.checkStamp(b, block, version(block)); err != nil {
			return err
		}
		at := block % patternBlocks * blockSize
		if !bytes.Equal(b[stampSize:blockSize], p.buf[at+stampSize:at+blockSize]) {
			return fmt.Errorf("%w: block %d has its stamp but not its bytes", ErrWrong, block)
		}
		b = b[blockSize:]
	}
	return nil
}

// always is the version of blocks that were written once.
func always(uint64) uint32 { return 0 }
