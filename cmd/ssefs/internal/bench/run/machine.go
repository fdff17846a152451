package run

import (
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"ssefs/cmd/ssefs/internal/bench/report"
)

// Machine describes this machine, as far as it tells.
func Machine() report.Machine {
	m := report.Machine{Processors: runtime.NumCPU(), Go: runtime.Version()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	cpu, _ := os.ReadFile("/proc/cpuinfo") // empty where there is none
	for line := range strings.Lines(string(cpu)) {
		if label, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(label) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	return m
}
