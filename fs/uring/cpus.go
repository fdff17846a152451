package uring

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// possibleFile lists the processors that the machine may ever have.
const possibleFile = "/sys/devices/system/cpu/possible"

// queues returns how many queues the kernel has: one for each possible
// processor, numbered like it.
func queues() (int, error) {
	b, err := os.ReadFile(possibleFile)
	if err != nil {
		return 0, err
	}
	return countCPUs(string(b))
}

// countCPUs reads a list such as "0-3". With gaps in it the kernel counts fewer
// queues than its processors' numbers need, and io_uring is better left alone.
func countCPUs(list string) (int, error) {
	first, last, isRange := strings.Cut(strings.TrimSpace(list), "-")
	if !isRange {
		last = first
	}
	n, err := strconv.Atoi(last)
	if err != nil || first != "0" || n < 0 || n >= 1<<16 {
		return 0, fmt.Errorf("the processors' numbers are not from 0 on without gaps: %q", strings.TrimSpace(list))
	}
	return n + 1, nil
}
