package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"ssefs/cmd/ssefs/internal/daemon"
	"ssefs/cmd/ssefs/internal/exit"
	"ssefs/cmd/ssefs/internal/ops"
	"ssefs/cmd/ssefs/internal/session"
	"ssefs/fs/repair"
)

// fsckName is the name of the command that answers with the codes of fsck(8).
const fsckName = "fsck"

func (a *app) fsckCommand() *cobra.Command {
	var req ops.CheckRequest
	var salvageDir string
	var mend, dryRun bool
	cmd := &cobra.Command{
		Use:   fsckName + " [STORE]",
		Short: "Check a volume for damage, repair it, or copy out what is left of it",
		Long: `Check every record of a volume: that it is there, authentic, current, and agrees with the
others. With --data the contents of all files are read too. Nothing is changed. A mounted
volume is checked as it is at that moment, while it stays in use.

With --repair, a volume that is not mounted is made consistent again. What cannot be
authenticated is dropped, and what has lost its name gets a number for one in lost+found of
its bucket. Bytes of files that cannot be read stay unreadable: they are listed, with exit
code 4, until the file is removed or written over. Copy the store, or salvage it, before a
repair. It can be interrupted and run again. With --dry-run it only says what it would do.

With --salvage DIR, all that can still be read of a store is copied to DIR, a new or an empty
directory: buckets, directories and files with their attributes, and under lost+found what has
lost its name. It works with a database that is too damaged to be opened otherwise, and writes
nothing into the store, which must not be mounted. Bytes that cannot be read are holes; which
they are is printed, and written to DIR/salvage-report.txt.

Exit codes are those of fsck(8): 0 clean, 1 errors found and repaired, 4 errors are left or the
copy is not complete, 8 the check could not be carried out, 16 the command line is wrong, 32
interrupted.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.nameStore(args); err != nil {
				return fsckCode(err)
			}
			if cmd.Flags().Changed("salvage") {
				if mend || dryRun || req.Contents {
					return exit.Errorf(exit.FsckUsage, "--salvage goes with none of --repair, --dry-run and --data")
				}
				return fsckCode(a.salvage(cmd.Context(), salvageDir))
			}
			switch {
			case dryRun && !mend:
				return exit.Errorf(exit.FsckUsage, "--dry-run needs --repair")
			case dryRun:
				return fsckCode(a.repair(cmd.Context(), req, repair.Plan))
			case mend:
				return fsckCode(a.repair(cmd.Context(), req, repair.Carry))
			}
			return fsckCode(a.fsck(cmd.Context(), req))
		},
	}
	cmd.Flags().BoolVar(&req.Contents, "data", false, "read and verify the contents of all files too")
	cmd.Flags().BoolVar(&mend, "repair", false, "repair what can be")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "with --repair: only say what would be done")
	cmd.Flags().StringVar(&salvageDir, "salvage", "", "copy what can still be read to `DIR`")
	return a.jsonFlag(a.volumeFlags(cmd))
}

// errProblems ends a check that found errors; what they are has been printed.
var errProblems = errors.New("the volume has errors")

// fsckCode translates an error to the codes of fsck(8). A store too damaged to be opened has errors.
func fsckCode(err error) error {
	code := exit.FsckOperational
	switch {
	case errors.Is(err, context.Canceled):
		code = exit.FsckCancelled
	case errors.Is(err, errRepaired):
		code = exit.FsckRepaired
	case errors.Is(err, errProblems), errors.Is(err, errIncomplete), exit.Of(err) == exit.Damaged:
		code = exit.FsckErrors
	case exit.Of(err) == exit.Usage:
		code = exit.FsckUsage
	}
	return exit.With(code, err)
}

func (a *app) fsck(ctx context.Context, req ops.CheckRequest) error {
	result, err := a.check(ctx, req)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.show(result.Report, nil); err != nil {
			return err
		}
	} else if err := a.writeCheck(result); err != nil {
		return err
	}
	if result.Errors+result.Warnings > 0 {
		return errProblems
	}
	return nil
}

func (a *app) writeCheck(r ops.CheckResult) error {
	for _, line := range append(r.Problems, r.Notes...) {
		if _, err := fmt.Fprintln(a.out, printable(line)); err != nil {
			return err
		}
	}
	verdict := "clean"
	if r.Errors+r.Warnings > 0 {
		verdict = plural(r.Errors, "error") + ", " + plural(r.Warnings, "warning")
	}
	_, err := fmt.Fprintf(a.out, "%s: %s\n", verdict, r.Summary)
	return err
}

// check has the daemon check a mounted volume; a store that is not mounted is opened here, without the volume in it,
// which damage may keep from opening.
func (a *app) check(ctx context.Context, req ops.CheckRequest) (ops.CheckResult, error) {
	var result ops.CheckResult
	var t *target
	var err error
	if a.store == "" {
		t, err = a.find(ctx, nil)
	} else {
		t, err = a.findServed(ctx, a.store)
	}
	if err != nil {
		return result, err
	}
	if t != nil {
		err := t.Call(ctx, ops.Check, req, &result)
		if closeErr := t.close(); err == nil {
			err = closeErr
		}
		return result, err
	}
	if err := daemon.Harden(); err != nil {
		return result, err
	}
	path, err := filepath.Abs(a.store)
	if err != nil {
		return result, err
	}
	secret, err := a.unlockSecret(ctx, path)
	if err != nil {
		return result, err
	}
	defer secret.Wipe()
	i, err := session.Inspect(ctx, path, secret, session.Options{Logger: a.logger(slog.LevelWarn)})
	if err != nil {
		return result, err
	}
	result, err = a.checkOpen(ctx, i, req)
	if closeErr := i.Close(); err == nil {
		err = closeErr
	}
	return result, err
}
