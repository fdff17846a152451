// Command benchpeers measures ssefs side by side with its peers and with what sets its limits. scripts/bench builds it
// with all that it needs and runs it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := command().ExecuteContext(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "scripts/bench",
		Short:         "Measure ssefs side by side with other encrypted drives",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return compare(cmd.Context(), o) },
	}
	shared := cmd.PersistentFlags()
	shared.StringVar(&o.bin, "bin", "", "the `DIR` with the binaries ssefs, nulldrive and loopback")
	shared.BoolVar(&o.quick, "quick", false, "small sizes and one round: shows whether everything works, not how fast")
	shared.StringVar(&o.backing, "backing", "", "what lies below the drives: tmpfs, disk or both (default both, tmpfs with --quick and for scale)")
	shared.StringVar(&o.tmpfs, "tmpfs-dir", "/dev/shm", "a `DIR` on tmpfs")
	shared.StringVar(&o.disk, "disk-dir", "/var/tmp", "a `DIR` on the disk to measure")
	shared.StringVar(&o.haltPoll, "halt-poll", "keep", "polling of idle guest processors: on, off, both, or keep it as it is")
	shared.StringVar(&o.out, "out", "", "write the results, and a chart for each setting, to `DIR`")
	f := cmd.Flags()
	f.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	f.StringSliceVar(&o.workloads, "workload", nil, "only workloads with one of these `NAMES` in theirs")
	f.StringSliceVar(&o.drives, "drives", nil, "only these drives")
	f.BoolVar(&o.all, "all", false, "with encfs and cryfs, and with KMS and none buckets")
	f.StringVar(&o.sources, "sources", "", "the source tree in `DIR` instead of Go's own")
	cmd.AddCommand(scaleCommand(&o))
	f.StringArrayVar(&o.also, "also", nil, "another ssefs binary to measure, or a script that runs one in another way, as `NAME=PATH`")
	return cmd
}
