package volume

import "ssefs/crypto"

// Status is how a volume does at the moment.
type Status struct {
	Epoch       uint64 // version of the last commit
	DirtyBytes  int64  // contents that are not stored yet, at most
	DirtyLimit  int64  // what they may grow to
	InMemory    int    // inodes in memory
	KernelKnows int    // inodes that the kernel refers to
	Failed      error  // why the volume is read-only, nil if it is not
}

// Status returns how the volume does.
func (v *Volume) Status() Status {
	s := Status{
		Epoch:      v.db.Committed(),
		DirtyBytes: int64(v.arena.used()) * crypto.BlockSize,
		DirtyLimit: int64(v.arena.total) * crypto.BlockSize,
	}
	s.InMemory, s.KernelKnows = v.table.counts()
	if err := v.failure.Load(); err != nil {
		s.Failed = *err
	}
	return s
}
