package volume

import (
	"crypto/rand"

	"ssefs/store"
)

// Snapshot makes everything durable that the daemon knows, and returns a view of
// the store with just that, for the caller to release: nothing is stored in
// between, not even data ahead of the next epoch. A volume that is open for
// reading is shown as it was stored.
func (v *Volume) Snapshot() (*store.View, error) {
	v.commitMu.Lock()
	defer v.commitMu.Unlock()
	if v.o.ReadOnly {
		return v.db.View(), nil
	}
	if v.writable() == nil {
		v.storeAtimes()
	}
	if err := v.commit(v.takeDirty); err != nil {
		return nil, err
	}
	return v.db.View(), nil
}

// BeginLineage gives the volume another lineage, durably: it was brought back to
// an earlier state and goes on from there.
func (v *Volume) BeginLineage() error {
	if err := v.admit(); err != nil {
		return err
	}
	v.commitMu.Lock()
	_, err := rand.Read(v.head.Lineage[:])
	v.commitMu.Unlock()
	if err != nil {
		return err
	}
	e := v.begin()
	e.mu.Lock()
	e.touched(v.now())
	e.mu.Unlock()
	v.end()
	return v.Sync()
}
