package store

import "time"

// Progress is told how far a step of a long work is. A total of 0 means that it
// is not known.
type Progress func(done, total int64, step string)

// tell reports, if anybody wants to know.
func (p Progress) tell(done, total int64, step string) {
	if p != nil {
		p(done, total, step)
	}
}

// progressInterval is how often a paced Progress passes reports on, at most.
const progressInterval = 200 * time.Millisecond

// Paced returns a Progress for work of many small steps: it passes a report on a
// few times a second, and to nobody if p is nil. One goroutine may use it.
func (p Progress) Paced() Progress {
	if p == nil {
		return func(int64, int64, string) {}
	}
	var last time.Time
	return func(done, total int64, step string) {
		if now := time.Now(); now.Sub(last) >= progressInterval {
			last = now
			p(done, total, step)
		}
	}
}
