package volume

import "time"

const (
	// DataKeyLife bounds how long the data key of a file that nobody uses stays
	// in memory. Keys of open files stay for as long as these are open, and there
	// are never more keys than inodes in memory, see Options.CachedInodes.
	DataKeyLife = time.Hour
	// keySweep is how often keys that are too old are looked for.
	keySweep = 5 * time.Minute
)

// keyAger wipes data keys that have been in memory for too long, until Close.
func (v *Volume) keyAger() {
	defer v.background.Done()
	tick := time.NewTicker(keySweep)
	defer tick.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
			v.table.dropOldKeys(v.now(), int64(DataKeyLife))
		}
	}
}

// dropOldKeys wipes the data keys of inodes without pins that were opened life
// nanoseconds before now, or after now: the clock was set back. It returns how
// many.
func (t *table) dropOldKeys(now, life int64) int {
	dropped := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for n := s.idle.next; n != &s.idle; n = n.next {
			age := now - n.keySince.Load()
			if n.cipher.Load() == nil || age >= 0 && age < life {
				continue
			}
			n.forgetKey() // nobody uses it, and nobody comes to while s.mu is held
			dropped++
		}
		s.mu.Unlock()
	}
	return dropped
}
