package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/fs/repair"
)

// errRepaired ends a repair that left no errors; what was done has been printed.
var errRepaired = errors.New("the volume had errors, which were repaired")

// repairResult is what --repair --json prints.
type repairResult struct {
	// Mended are what was done to the files of the database beforehand.
	Mended []string `json:"mended,omitempty"`
	// Before and After are check.Reports; After is missing if nothing was changed.
	Before any            `json:"before"`
	Repair *repair.Report `json:"repair,omitempty"`
	After  any            `json:"after,omitempty"`
}

// repair checks a store that is not mounted, repairs it and checks it again.
func (a *app) repair(ctx context.Context, req ops.CheckRequest, mode repair.Mode) error {
	path, secret, err := a.unlockUnmounted(ctx, "repaired")
	if err != nil {
		return err
	}
	defer secret.Wipe()
	open := session.InspectToRepair
	if mode == repair.Plan {
		open = session.Inspect
	}
	i, err := open(ctx, path, secret, session.Options{Logger: a.logger(slog.LevelWarn)})
	if err != nil {
		return err
	}
	err = a.repairOpen(ctx, i, req, mode)
	if closeErr := i.Close(); closeErr != nil && (err == nil || errors.Is(err, errRepaired)) {
		err = closeErr
	}
	return err
}

func (a *app) repairOpen(ctx context.Context, i *session.Inspection, req ops.CheckRequest, mode repair.Mode) error {
	result := repairResult{Mended: i.Mended}
	if err := a.unlessJSON(func() error { return a.writeLines("repaired: store: ", i.Mended) }); err != nil {
		return err
	}
	before, err := a.checkOpen(ctx, i, req)
	if err != nil {
		return err
	}
	result.Before = before.Report
	if err := a.unlessJSON(func() error { return a.writeCheck(before) }); err != nil {
		return err
	}
	if before.Errors+before.Warnings == 0 {
		if err := a.ifJSON(result); err != nil || len(i.Mended) == 0 {
			return err
		}
		return errRepaired
	}
	bar := a.progress()
	result.Repair, err = i.Repair(ctx, mode, bar.step)
	bar.close()
	err = errors.Join(err, a.unlessJSON(func() error { return a.writeRepair(result.Repair, mode) }))
	if err != nil || mode == repair.Plan || result.Repair.Transactions == 0 && len(i.FileErrors) == 0 {
		err = errors.Join(err, a.ifJSON(result))
		if err == nil && before.Errors+before.Warnings > 0 {
			err = errProblems
		}
		return err
	}
	i.Reopen()
	after, err := a.checkOpen(ctx, i, req)
	if err != nil {
		return errors.Join(err, a.ifJSON(result))
	}
	result.After = after.Report
	if err := errors.Join(a.ifJSON(result), a.unlessJSON(func() error { return a.writeCheck(after) })); err != nil {
		return err
	}
	if after.Errors+after.Warnings > 0 {
		return errProblems
	}
	return errRepaired
}

// checkOpen checks a store that is open in this process.
func (a *app) checkOpen(ctx context.Context, i *session.Inspection, req ops.CheckRequest) (ops.CheckResult, error) {
	bar := a.progress()
	defer bar.close()
	return ops.RunCheck(ctx, i.Material(), req, ops.CheckOptions{KeystoreError: i.KeystoreError, FileErrors: i.FileErrors, HeaderError: i.HeaderError, Progress: bar.step})
}

func (a *app) writeRepair(r *repair.Report, mode repair.Mode) error {
	verb := "repaired"
	if mode == repair.Plan {
		verb = "to repair"
	}
	lines := make([]string, len(r.Actions))
	for n := range r.Actions {
		lines[n] = r.Actions[n].String()
	}
	if err := a.writeLines(verb+": ", lines); err != nil {
		return err
	}
	if r.Omitted > 0 {
		_, err := fmt.Fprintf(a.out, "and %d more\n", r.Omitted)
		return err
	}
	return nil
}

func (a *app) writeLines(prefix string, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.out, prefix+printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// ifJSON prints a result if it was asked for as JSON.
func (a *app) ifJSON(result any) error {
	if !a.json {
		return nil
	}
	return a.show(result, nil)
}

// unlessJSON writes text if no JSON was asked for.
func (a *app) unlessJSON(write func() error) error {
	if a.json {
		return nil
	}
	return write()
}
