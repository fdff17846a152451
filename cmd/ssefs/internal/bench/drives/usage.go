package drives

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// ticksPerSecond is what the kernel counts processor time in for /proc, on every architecture that Go runs on.
const ticksPerSecond = 100

func (u Usage) add(v Usage) Usage {
	return Usage{
		CPU: u.CPU + v.CPU, Written: u.Written + v.Written, Reads: u.Reads + v.Reads, Space: u.Space + v.Space,
		PeakAnon: max(u.PeakAnon, v.PeakAnon),
	}
}

// usageOf reads what a running process has used. What only root may know stays zero for others.
func usageOf(pid int) (Usage, error) {
	var u Usage
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	if u.CPU, err = parseCPU(stat); err != nil {
		return u, err
	}
	io, err := os.ReadFile(dir + "/io")
	if errors.Is(err, os.ErrPermission) {
		return u, nil
	}
	if err != nil {
		return u, err
	}
	u.Written = field(io, "write_bytes:")
	u.Reads = field(io, "syscr:")
	return u, nil
}

// parseCPU adds user and system time of a line of /proc/PID/stat.
func parseCPU(stat []byte) (time.Duration, error) {
	// The name of the program, in brackets, may hold anything.
	i := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[i+1:]))
	const user, system = 11, 12 // the 14th and 15th; the bracket closes the second
	if i < 0 || len(fields) <= system {
		return 0, fmt.Errorf("/proc/PID/stat: unexpected line %q", stat)
	}
	var ticks int64
	for _, f := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// field returns the number after a label at the start of a line, 0 if there is none.
func field(text []byte, label string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			n, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			v, _ := strconv.ParseInt(n, 10, 64) // 0 for what is no number
			return v
		}
	}
	return 0
}

// sampleEvery is how often the memory of a process is looked at.
const sampleEvery = 50 * time.Millisecond

// sampler watches the anonymous memory of a process. What is mapped from files counts as resident too, but is the page
// cache's.
type sampler struct {
	pid  int
	most atomic.Int64
	quit chan struct{}
	done chan struct{}
}

func startSampler(pid int) *sampler {
	s := &sampler{pid: pid, quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		ticker := time.NewTicker(sampleEvery)
		defer ticker.Stop()
		for {
			s.peak()
			select {
			case <-s.quit:
				return
			case <-ticker.C:
			}
		}
	}()
	return s
}

// peak looks at the memory and returns the most that was seen.
func (s *sampler) peak() int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/status")
	if err == nil { // else it has ended
		now := field(status, "RssAnon:") << 10
		for old := s.most.Load(); now > old && !s.most.CompareAndSwap(old, now); old = s.most.Load() {
		}
	}
	return s.most.Load()
}

// stop ends the watch and returns the most that was seen.
func (s *sampler) stop() int64 {
	close(s.quit)
	<-s.done
	return s.most.Load()
}
