package drives

import (
	"os/exec"
	"path/filepath"
)

// SSEFS is a drive of ssefs as a binary makes it, with a bucket of the given policy.
func SSEFS(title, binary, policy string) Served {
	return Served{
		Title: title,
		Command: func(p Paths) *exec.Cmd {
			return exec.Command(binary, "mount", "--foreground", "--create",
				"--key-file", filepath.Join(p.Work, "key"), "--log-file", filepath.Join(p.Work, "daemon.log"),
				"--default-policy", policy, p.Store, p.Point)
		},
		Subdir: "bench",
	}
}
