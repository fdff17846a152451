package run

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"ssefs/cmd/ssefs/internal/bench/workload"
)

// Select returns the workloads with one of names in theirs, all if there are none, without those that need programs which
// are not installed.
func Select(all []workload.Workload, names []string, tell func(format string, args ...any)) ([]workload.Workload, error) {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(w workload.Workload) bool { return strings.Contains(w.Name, name) }) {
			return nil, fmt.Errorf("there is no workload %q", name)
		}
	}
	var chosen []workload.Workload
	for _, w := range all {
		if names != nil && !slices.ContainsFunc(names, func(name string) bool { return strings.Contains(w.Name, name) }) {
			continue
		}
		missing := slices.DeleteFunc(slices.Clone(w.Tools), func(tool string) bool {
			_, err := exec.LookPath(tool)
			return err == nil
		})
		if len(missing) > 0 {
			tell("%s is left out: it needs %s", w.Name, strings.Join(missing, ", "))
			continue
		}
		chosen = append(chosen, w)
	}
	return chosen, nil
}
