package volume

import (
	"sync"

	"ssefs/fs/extent"
)

// maxWasteful bounds the files of which dead blocks are counted.
const maxWasteful = 16 << 10

// waste counts, for files written to in this mount, the blocks that have died in
// data records that live on. It is above the truth where such a record died
// later, and it forgets files when there are too many.
type waste struct {
	mu    sync.Mutex // guards what follows
	files map[uint64]int64
	all   int64
}

// add counts what a map let go of.
func (w *waste) add(ino uint64, drops []extent.Drop) {
	blocks := int64(0)
	for _, d := range drops {
		if !d.Last {
			blocks += int64(d.Blocks)
		}
	}
	if blocks == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.files[ino]; !ok && len(w.files) >= maxWasteful {
		return
	}
	if w.files == nil {
		w.files = make(map[uint64]int64)
	}
	w.files[ino] += blocks
	w.all += blocks
}

// forget forgets a file.
func (w *waste) forget(ino uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all -= w.files[ino]
	delete(w.files, ino)
}

// most returns the file with the most, 0 if there is none, and the sum of all.
func (w *waste) most() (ino uint64, all int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	most := int64(0)
	for i, n := range w.files {
		if n > most {
			ino, most = i, n
		}
	}
	return ino, w.all
}
