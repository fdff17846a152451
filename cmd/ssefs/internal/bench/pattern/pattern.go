// Package pattern makes file contents that cost next to nothing to make and to check.
package pattern

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
)

// ErrWrong is wrapped when contents are not as they were written.
var ErrWrong = errors.New("wrong contents")

// BlockSize is the unit in which contents are made and checked.
const BlockSize = 4 << 10

// Period is after how many blocks the random bytes repeat. Contents differ all the same, by their stamps.
const Period = 256

// stampSize is the number of bytes at the start of a block that say which it is.
const stampSize = 16

// Pattern makes and checks the contents of a file: random bytes that repeat each MiB, with a stamp on each block that says
// which block it is and which version of it. It is used by one goroutine.
type Pattern struct {
	seed uint64
	buf  []byte // the random bytes, with the stamps of what was made last
}

// New returns the pattern of a seed. The contents of different seeds differ.
func New(seed uint64) *Pattern {
	p := &Pattern{seed: seed, buf: make([]byte, Period*BlockSize)}
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(p.buf) // never fails
	return p
}

// Blocks returns the contents of n blocks from block first on. They are good until the next call. The range must not
// cross a multiple of Period.
func (p *Pattern) Blocks(first uint64, n int, version uint32) []byte {
	at := int(first % Period)
	for i := range n {
		p.stamp(p.buf[(at+i)*BlockSize:], first+uint64(i), version)
	}
	return p.buf[at*BlockSize : (at+n)*BlockSize]
}

func (p *Pattern) stamp(b []byte, block uint64, version uint32) {
	binary.LittleEndian.PutUint64(b, block<<32|uint64(version))
	binary.LittleEndian.PutUint64(b[8:], p.seed^block*0x9e3779b97f4a7c15)
}

// CheckStamp checks that b begins like a version of a block. It costs nothing to speak of beside a read.
func (p *Pattern) CheckStamp(b []byte, block uint64, version uint32) error {
	var want [stampSize]byte
	p.stamp(want[:], block, version)
	if !bytes.HasPrefix(b, want[:]) {
		return fmt.Errorf("%w: block %d, version %d: begins with %x, not %x", ErrWrong, block, version, b[:min(len(b), stampSize)], want)
	}
	return nil
}

// Check checks all bytes of blocks from block first on, of which versions tells the version.
func (p *Pattern) Check(b []byte, first uint64, version func(block uint64) uint32) error {
	for i := uint64(0); len(b) > 0; i++ {
		if len(b) < BlockSize {
			return fmt.Errorf("%w: block %d is cut off", ErrWrong, first+i)
		}
		block := first + i
		if err := p.CheckStamp(b, block, version(block)); err != nil {
			return err
		}
		at := block % Period * BlockSize
		if !bytes.Equal(b[stampSize:BlockSize], p.buf[at+stampSize:at+BlockSize]) {
			return fmt.Errorf("%w: block %d has its stamp but not its bytes", ErrWrong, block)
		}
		b = b[BlockSize:]
	}
	return nil
}

// Always is the version of blocks that were written once.
func Always(uint64) uint32 { return 0 }
