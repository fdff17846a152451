package uring

import (
	"sync/atomic"
	"time"
)

// Sizes of a queue. One ring is enough while handlers do not block; the others
// take the requests that come meanwhile.
const (
	firstRings = 4
	// MaxRings is how many rings a queue grows to.
	MaxRings = 64
)

// How soon a stuck queue is noticed: it has to be found stuck twice in a row.
const (
	watchInterval = 2 * time.Millisecond
	stuckTimes    = 2
	// quietTimes is after how many looks that found nothing the watch ends.
	quietTimes = 50
)

// queue is one of the kernel's queues, for the processor of the same number, and
// the rings that serve it.
//
// A request that finds no ring free waits until one is committed. When handlers
// wait for something that takes long, or even for that request, all the others
// of the processor would wait with them. So a queue whose rings are in handlers,
// all but one or all, none of which has ended for a few milliseconds, gets as
// many again.
type queue struct {
	t      *Transport
	number int
	size   atomic.Int32  // registered rings
	busy   atomic.Int32  // of these, in handlers
	served atomic.Uint64 // handlers that have ended

	last  uint64 // served, when last looked at; used by the watch, as is stuck
	stuck int    // how often it was found stuck in a row
}

// begin counts a request in, and has the queue watched if few rings are left.
func (q *queue) begin() {
	if q.busy.Add(1) >= q.size.Load()-1 {
		q.t.watchOut()
	}
}

func (q *queue) end() {
	q.busy.Add(-1)
	q.served.Add(1)
}

// short reports whether the queue has one ring left, or none.
func (q *queue) short() bool { return q.busy.Load() >= q.size.Load()-1 }

// look tells whether the queue is short of rings, and makes it grow if it is
// stuck.
func (q *queue) look() (short bool) {
	served := q.served.Load()
	if !q.short() || served != q.last {
		q.last, q.stuck = served, 0
		return q.short()
	}
	if q.stuck++; q.stuck >= stuckTimes {
		q.stuck = 0
		q.grow()
	}
	return true
}

// grow doubles the queue's rings.
func (q *queue) grow() {
	size := int(q.size.Load())
	start := make(chan struct{})
	close(start)
	for range min(size, MaxRings-size) {
		started := make(chan error, 1)
		err := q.t.spawn(q, start, started)
		if err == nil {
			err = <-started
		}
		if err != nil {
			q.t.shortOfRings(q, err)
			return
		}
	}
}
