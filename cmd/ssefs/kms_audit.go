package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
)

func (a *app) kmsAuditCommand() *cobra.Command {
	var verify bool
	var chain string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show and verify the audit log of keys",
		Long: `Show what was done to keys (chain keys), how they were used and what was refused (chain uses, where
uses are summed up every quarter of an hour and refusals stand one by one). Each record is sealed to the one
before: one that was changed, removed or moved is found, which ends the command with exit code 7.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chains := []string{ops.ChainKeys, ops.ChainUses}
			if chain != "" {
				chains = []string{chain}
			}
			return a.with(cmd.Context(), nil, func(t *target) error {
				read, err := readChains(cmd.Context(), t, chains, ops.AuditRequest{Count: verify})
				if err != nil {
					return err
				}
				if err := a.showAudit(read, ops.AuditRequest{Count: verify}); err != nil {
					return err
				}
				for _, c := range read {
					if c.Broken != "" {
						return exit.Errorf(exit.Damaged, "%s", c.Broken)
					}
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&verify, "verify", false, "only verify the chains")
	f.StringVar(&chain, "chain", "", "one `CHAIN` only: keys or uses")
	mustComplete(cmd, "chain", ops.ChainKeys, ops.ChainUses)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func readChains(ctx context.Context, t *target, names []string, req ops.AuditRequest) ([]ops.AuditChain, error) {
	var chains []ops.AuditChain
	for _, name := range names {
		req.Chain = name
		var c ops.AuditChain
		if err := t.Call(ctx, ops.Audit, req, &c); err != nil {
			return nil, err
		}
		chains = append(chains, c)
	}
	return chains, nil
}

func (a *app) showAudit(chains []ops.AuditChain, req ops.AuditRequest) error {
	return a.show(chains, func(w io.Writer) {
		if req.Count {
			row(w, "CHAIN", "RECORDS", "VERIFIED")
			for _, c := range chains {
				row(w, c.Chain, c.Count, yesNo(c.Broken == ""))
			}
			return
		}
		row(w, "RECORD", "TIME", "EVENT", "BY", "KEY", "DETAIL")
		for _, c := range chains {
			for _, r := range c.Records {
				row(w, fmt.Sprintf("%s %d", c.Chain, r.Seq), r.Time, r.Event, whom(r.UID), r.KeyID, detail(r))
			}
		}
	})
}

// detail is the rest of a record in one cell.
func detail(r ops.AuditRecord) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if r.Operation != "" {
		add("%s", r.Operation)
	}
	if r.Bucket != "" {
		add("bucket %s", r.Bucket)
	}
	if r.Inode != 0 {
		add("inode %d", r.Inode)
	}
	if r.Uses != 0 {
		add("%d uses, %d calls", r.Uses, r.Calls)
	}
	if r.Detail != "" {
		add("%s", r.Detail)
	}
	if r.Error != "" {
		add("%s", r.Error)
	}
	return strings.Join(parts, ", ")
}
