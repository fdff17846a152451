package daemon

import (
	"os"
	"runtime"
)

// makeProcessorsForWaiting gives Go's scheduler a processor of its own (GOMAXPROCS) for each thread that may wait in the
// kernel for a request, unless the environment says how many there are.
//
// A thread in a system call keeps its processor, and where none is idle the runtime's monitor takes it away after 20 us. With as
// many threads waiting as there are processors it did that between any two requests: each then began with a search for
// a processor, mostly in another thread, and the monitor never slept. Processors beyond those of the machine cost nothing
// while they belong to threads that wait.
func makeProcessorsForWaiting(waiting int) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + waiting)
	}
}
