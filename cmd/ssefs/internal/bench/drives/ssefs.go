package drives

import (
	"os/exec"
	"path/filepath"
)

// SSEFS is a drive of ssefs as a binary makes it, with a bucket of the given policy. More arguments of `ssefs mount` go in
// extra.
func SSEFS(title, binary, policy string, extra ...string) Served {
	return Served{
		Title: title,
		Command: func(p Paths) *exec.Cmd {
			args := []string{"mount", "--foreground", "--create", "--default-policy", policy,
				"--key-file", filepath.Join(p.Work, "key"), "--log-file", filepath.Join(p.Work, "daemon.log"), p.Store, p.Point}
			return exec.Command(binary, append(args, extra...)...)
		},
		Subdir: "bench",
	}
}
