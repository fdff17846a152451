package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/bench/drives"
	"ssefs/cmd/ssefs/internal/bench/report"
	"ssefs/cmd/ssefs/internal/bench/run"
	"ssefs/cmd/ssefs/internal/bench/workload"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/mounts"
	"ssefs/crypto"
)

// benchmark is what `ssefs bench` is asked for.
type benchmark struct {
	rounds    int
	scale     workload.Scale
	workloads []string
	policy    string
	sources   string
}

func (a *app) benchCommand() *cobra.Command {
	b := benchmark{scale: workload.Full()}
	var quick bool
	var names []string
	for _, w := range workload.All() {
		names = append(names, w.Name)
	}
	cmd := &cobra.Command{
		Use:   "bench [DIR]",
		Short: "Measure how fast a drive is on this machine",
		Long: `Make a drive in a new directory below DIR (by default where temporary files go), measure it
beside the plain directory, and remove it. What is read back is checked. Needs up to 4 GB
of space for a while, and several minutes. No other drive is touched, but as root all that
the kernel has cached of disks is dropped now and then.

The workloads are ` + strings.Join(names, ", ") + `.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := os.TempDir()
			if len(args) > 0 {
				dir = args[0]
			}
			if quick {
				b.rounds, b.scale = 1, workload.Quick()
			}
			return a.bench(cmd.Context(), dir, b)
		},
	}
	f := cmd.Flags()
	f.IntVar(&b.rounds, "rounds", 3, "how often everything is measured; the medians are shown")
	f.BoolVar(&quick, "quick", false, "small sizes and one round: shows in a minute whether everything works, not how fast")
	f.StringSliceVar(&b.workloads, "workload", nil, "only workloads with one of these `NAMES` in theirs")
	f.StringVar(&b.policy, "policy", "AES256", "encrypt by `POLICY`: none, AES256 or KMS")
	f.StringVar(&b.sources, "sources", "", "the source tree in `DIR` instead of Go's own")
	mustComplete(cmd, "workload", names...)
	mustComplete(cmd, "policy", "none", "AES256", "KMS")
	return a.jsonFlag(cmd)
}

// bench measures in a directory of its own below dir, which it removes.
func (a *app) bench(ctx context.Context, dir string, b benchmark) (err error) {
	if _, err := crypto.ParsePolicy(b.policy); err != nil {
		return exit.With(exit.Usage, err)
	}
	if b.rounds < 1 {
		return exit.Errorf(exit.Usage, "--rounds is at least 1, not %d", b.rounds)
	}
	tell := func(format string, args ...any) { a.note(format, args...) }
	chosen, err := run.Select(workload.All(), b.workloads, tell)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	// Mount points are compared with what the kernel calls them.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	inMemory, err := drives.OnTmpfs(dir)
	if err != nil {
		return err
	}
	setting := report.Setting{Backing: run.Disk}
	if inMemory {
		setting.Backing = run.Tmpfs
	}
	work, err := os.MkdirTemp(dir, "ssefs-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if err := mounts.CheckFUSE(a.uid, work, mounts.Private); err != nil {
		return err
	}
	prepared := filepath.Join(work, "prepared")
	if err := os.Mkdir(prepared, 0o700); err != nil {
		return err
	}
	r, err := run.Do(ctx, run.Plan{
		Rounds: b.rounds, Scale: b.scale, Workloads: chosen, Tell: tell, Prepared: workload.Prepare(prepared, b.sources),
		Places: []run.Place{{Setting: setting, Dir: work}},
		Candidates: []run.Candidate{
			{Drive: drives.SSEFS("ssefs", binary, b.policy), Role: report.Subject, Version: version},
			{Drive: drives.Raw{}, Role: report.Reference},
		},
	})
	if err != nil {
		return err
	}
	if a.json {
		err = r.WriteJSON(a.out)
	} else {
		err = r.WriteTable(a.out)
	}
	if n := len(r.Failures); err == nil && n > 0 {
		err = fmt.Errorf("%s of the benchmark failed", plural(n, "part"))
	}
	return err
}
