package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/secret"
	"ssefs/kms"
)

func (a *app) kmsScheduleDeletionCommand() *cobra.Command {
	req := ops.KeyRequest{Days: kms.DefaultDeletionDays}
	var yes bool
	cmd := &cobra.Command{
		Use:   "schedule-deletion KEY",
		Short: "Delete a key some days from now",
		Long: fmt.Sprintf(`Delete a key for good, %d to %d days from now. Its files can be neither opened nor created from this
moment on; until the day comes 'ssefs kms cancel-deletion' brings them back. Then the key's material is
destroyed, and whoever deletes the key has deleted the files: how many depend on it is said first. A
backup of the keys that was made before still holds the material.`, kms.MinDeletionDays, kms.MaxDeletionDays),
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeKeys,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Key = args[0]
			if req.Days < kms.MinDeletionDays || req.Days > kms.MaxDeletionDays {
				return exit.Errorf(exit.Usage, "a key is deleted %d to %d days ahead", kms.MinDeletionDays, kms.MaxDeletionDays)
			}
			return a.with(cmd.Context(), nil, func(t *target) error { return a.scheduleDeletion(cmd.Context(), t, req, consentOf(yes)) })
		},
	}
	cmd.Flags().IntVar(&req.Days, "days", req.Days, "`DAYS` until the key is deleted")
	managedFlag(cmd, &req.Managed)
	yesFlag(cmd, &yes)
	return a.jsonFlag(a.volumeFlags(cmd))
}

func (a *app) scheduleDeletion(ctx context.Context, t *target, req ops.KeyRequest, c consent) error {
	var k ops.Key
	if err := t.Call(ctx, ops.KeyDescribe, req, &k); err != nil {
		return err
	}
	refused := k.Protected || k.Managed && !req.Managed || k.State == kms.PendingDeletion.String() || k.State == kms.Deleted.String()
	if !refused { // or there is nothing to think over
		day := time.Now().AddDate(0, 0, req.Days).Format(time.DateOnly)
		if err := a.thinkOver(ctx, t, c, k, fmt.Sprintf("Delete key %s on %s?", k.ID, day)); err != nil {
			return err
		}
	}
	if err := t.Call(ctx, ops.KeyScheduleDeletion, req, &k); err != nil {
		return err
	}
	return a.showKey(k)
}

// thinkOver says what depends on a key, and asks whether to go on.
func (a *app) thinkOver(ctx context.Context, t *target, c consent, k ops.Key, question string) error {
	var d ops.Dependents
	if err := t.Call(ctx, ops.KeyDependents, ops.KeyRequest{Key: k.ID}, &d); err != nil {
		return err
	}
	a.note("%s", dependents(d))
	return a.confirm(ctx, c, question)
}

// dependents says what depends on a key.
func dependents(d ops.Dependents) string {
	var b strings.Builder
	if d.Files == 0 {
		fmt.Fprintf(&b, "no file depends on key %s", d.KeyID)
	} else {
		verb := "depend"
		if d.Files == 1 {
			verb = "depends"
		}
		fmt.Fprintf(&b, "%s %s on key %s:", plural(int(d.Files), "file"), verb, d.KeyID)
		for i, f := range d.Buckets {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, " %d in bucket %s", f.Files, printable(f.Bucket))
		}
	}
	if len(d.Policies) > 0 {
		fmt.Fprintf(&b, "; new files of %s would be refused", strings.Join(d.Policies, ", "))
	}
	return b.String()
}

// consent is whether a person at the terminal is asked before something is done that is hard to take back.
type consent uint8

const (
	askFirst consent = iota
	given            // --yes
)

func consentOf(yes bool) consent {
	if yes {
		return given
	}
	return askFirst
}

func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do it without asking on the terminal")
}

// errNotConfirmed is returned when the answer was no.
var errNotConfirmed = errors.New("not done")

// confirm asks whether to go on. Without a terminal nobody can be asked, and it goes on.
func (a *app) confirm(ctx context.Context, c consent, question string) error {
	if c == given {
		return nil
	}
	answer, err := a.asker.Confirm(ctx, question+" Type yes: ")
	switch {
	case errors.Is(err, secret.ErrNone):
		return nil
	case err != nil:
		return err
	case !answer:
		return errNotConfirmed
	}
	return nil
}
