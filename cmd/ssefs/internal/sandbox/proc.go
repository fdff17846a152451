package sandbox

import (
	"fmt"
	"strings"

	"ssefs/cmd/ssefs/internal/mounts"
)

// showsProcesses returns an error if /proc is mounted so that it shows a process to those only who may trace it: in the
// sandbox the groups of callers could not be looked up, and grants to groups would be refused.
func showsProcesses(list []mounts.Mount) error {
	proc, ok := mounts.At(list, processes)
	if !ok {
		return nil
	}
	for option := range strings.SplitSeq(proc.Super, ",") {
		switch value, ok := strings.CutPrefix(option, "hidepid="); {
		case !ok, value == "off", value == "0":
		default:
			return fmt.Errorf("%w: /proc hides processes (%s), so that grants to groups could not be checked", ErrUnavailable, option)
		}
	}
	return nil
}
