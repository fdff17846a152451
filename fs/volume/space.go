package volume

import (
	"sync"

	"ssefs/crypto"
	"ssefs/store"
)

// space answers whether the disk has room for what is about to be accepted, so
// that a commit never finds it full. Asking the disk costs a system call, so
// its answer serves for a while: for a small part of what was free.
type space struct {
	db *store.DB
	v  *Volume

	mu     sync.Mutex // guards what follows
	budget int64      // bytes that may be accepted before the disk is asked again
}

// Bytes of disk for a block of contents: sealed, with its share of map and
// record keys; and what an epoch's metadata may take beside it.
const (
	diskPerBlock = crypto.BlockSize + 256
	diskMargin   = 8 << 20
)

// reserve accepts n blocks, or returns ErrNoSpace.
func (s *space) reserve(n int) error {
	need := int64(n) * diskPerBlock
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.budget >= need {
		s.budget -= need
		return nil
	}
	free, err := s.free()
	if err != nil {
		return err
	}
	if free < need {
		return ErrNoSpace
	}
	s.budget = min((free-need)/8, 64<<20)
	return nil
}

// check reports ErrNoSpace if the disk has no room for so many bytes now.
func (s *space) check(bytes uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, err := s.free()
	if err != nil {
		return err
	}
	if bytes/crypto.BlockSize > uint64(free)/diskPerBlock {
		return ErrNoSpace
	}
	return nil
}

// free returns the bytes left after what was accepted and is not stored yet.
func (s *space) free() (int64, error) {
	sp, err := s.db.Space()
	if err != nil {
		return 0, err
	}
	v := s.v
	v.epochMu.RLock()
	weight := v.epoch.weight.Load()
	v.epochMu.RUnlock()
	return sp.Free - int64(v.arena.used())*diskPerBlock - weight - v.dataWeight.Load() - diskMargin, nil
}

// Statfs is what statfs(2) tells.
type Statfs struct {
	Total, Free, Available uint64 // bytes
	Used                   uint64 // by the contents of files
	Inodes                 uint64
}

// Statfs returns the size of the disk that holds the store, and what may still
// be written to the drive.
func (v *Volume) Statfs() (Statfs, error) {
	sp, err := v.db.Space()
	if err != nil {
		return Statfs{}, err
	}
	free, err := v.space.free()
	if err != nil {
		return Statfs{}, err
	}
	free = max(0, free)
	return Statfs{
		Total: uint64(sp.Total), Free: uint64(free), Available: uint64(free),
		Used:   uint64(max(0, v.blocks.Load())) * crypto.BlockSize,
		Inodes: uint64(max(0, v.inodes.Load())),
	}, nil
}
