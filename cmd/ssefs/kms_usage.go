package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/interval"
	"ssefs/cmd/ssefs/internal/ops"
)

// usageReport is what kms usage prints as JSON.
type usageReport struct {
	Usage []ops.KeyUsage `json:"usage"`
	Uses  uint64         `json:"uses"`
	Calls uint64         `json:"calls"`
	// Cost is that of the calls, in the currency of the price that was given.
	Cost *float64 `json:"cost,omitempty"`
}

func (a *app) kmsUsageCommand() *cobra.Command {
	var since string
	var price float64
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Show how often keys were used, and what that would cost",
		Long: `Show how often customer master keys were used, by day (UTC), key, bucket, user and operation. USES are
data keys made or opened; CALLS are how often the key itself was needed for that, which is what a cloud service
charges for. Bucket keys make them few. Counts older than a month may be summed up by month or year.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var req ops.UsageRequest
			var err error
			if since != "" {
				if req.Since, err = interval.ParseTime(since, time.Now(), -1); err != nil {
					return exit.With(exit.Usage, err)
				}
			}
			priced := cmd.Flags().Changed("price-per-10k")
			if priced && !(price >= 0) {
				return exit.With(exit.Usage, errors.New("a price is not negative"))
			}
			return a.with(cmd.Context(), nil, func(t *target) error {
				report := usageReport{Usage: []ops.KeyUsage{}}
				if err := t.Call(cmd.Context(), ops.Usage, req, &report.Usage); err != nil {
					return err
				}
				for _, u := range report.Usage {
					report.Uses += u.Uses
					report.Calls += u.Calls
				}
				if priced {
					cost := price * float64(report.Calls) / 10_000
					report.Cost = &cost
				}
				return a.showUsage(report)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "from this day on: a `TIME` such as 2027-01-31 or 30d")
	f.Float64Var(&price, "price-per-10k", 0, "the `PRICE` of 10,000 calls, to tell the cost")
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) showUsage(r usageReport) error {
	return a.show(r, func(w io.Writer) {
		row(w, "DAY", "KEY", "BUCKET", "USER", "OPERATION", "USES", "CALLS")
		for _, u := range r.Usage {
			row(w, u.Day, u.KeyID, u.Bucket, whom(u.UID), u.Op, u.Uses, u.Calls)
		}
		row(w, "total", "", "", "", "", r.Uses, r.Calls)
		if r.Cost != nil {
			row(w, "cost", "", "", "", "", "", strconv.FormatFloat(*r.Cost, 'f', -1, 64))
		}
	})
}

// whom names a user of keys.
func whom(uid int64) string {
	if uid < 0 {
		return "the drive"
	}
	return fmt.Sprintf("uid %d", uid)
}
